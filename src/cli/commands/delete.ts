/** `mail-proxy delete <instance>`: removes the folder of an instance that does not run, with all it keeps. */
import { existsSync, lstatSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { lockAlone } from '../../db/sqlite.js'
import { withApi } from '../api.js'
import { createAsk } from '../ask.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, showDatabase } from '../database.js'
import { CliError, errorLine } from '../errors.js'
import { folderExists, instanceFolder } from '../instance.js'
import { show } from '../output/show.js'
import { findProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

export function addDelete(program: Command, io: CliIo): void {
  const command = program
    .command('delete')
    .argument('<instance>', 'name of the instance')
    .description('remove an instance that does not run: its folder with database, key, token and log')
    .option('-y, --yes', 'do not ask')
    .action(async (instance: string, options: { yes?: boolean; json?: boolean }) => {
      const dir = instanceFolder(instance, io.env, io.home)
      if (!folderExists(dir)) throw new CliError(`there is no instance ${instance} (${dir})`)
      if (lstatSync(dir).isSymbolicLink()) {
        throw new CliError(`${dir} is a symbolic link to ${realpathSync(dir)}: remove both by hand`)
      }
      const { database, inside, waits, problem } = await whatIsThere(io, instance, dir)
      if (!options.yes) {
        const lost = waits === null ? `what it holds (${problem})` : `${waits} waiting messages`
        const yes = await createAsk(io).confirm(`Remove ${dir} for good, with ${lost}?`, '--yes')
        if (!yes) throw new CliError('nothing was removed')
      }
      await removeUnserved(dir, inside)
      show(io, options, { instance, removed: dir, database_kept: database }, () => {
        const kept = database === null ? '' : `; the database ${database} is as it was`
        return `${instance} is removed${kept}\n`
      })
    })
  withExamples(withJson(command), ['mail-proxy delete shop', 'mail-proxy delete shop --yes'])
}

interface Found {
  /** A database that lies elsewhere and stays; null: it goes with the folder. */
  readonly database: string | null
  /** SQLite file that goes with the folder; null: there is none. */
  readonly inside: string | null
  /** null: cannot be told, and `problem` says why. */
  readonly waits: number | null
  readonly problem?: string
}

async function whatIsThere(io: CliIo, instance: string, dir: string): Promise<Found> {
  // By the folder itself: with a config.ini that cannot be read it must still be possible to remove it.
  const running = findProcess(io, dir)
  if (running !== null)
    throw new CliError(`${instance} runs (pid ${running.pid}): \`mail-proxy stop ${instance}\` first`)
  let database: string | null = null
  let inside: string | null = join(dir, 'mail_service.db')
  try {
    const { config } = settingsOfKnownInstance(io, instance)
    const isInside = config.database.dialect === 'sqlite' && config.database.url.startsWith(`${dir}/`)
    database = isInside ? null : showDatabase(config)
    inside = isInside ? config.database.url : null
    if (!databaseMayExist(config)) return { database, inside, waits: 0 }
    const { pending_messages: waits } = await withApi(io, instance, api =>
      api.call<{ pending_messages: number }>('GET', '/status'),
    )
    return { database, inside, waits }
  } catch (error) {
    return { database, inside, waits: null, problem: errorLine(error).slice('Error: '.length) }
  }
}

/** A service whose pid file is gone still holds its database. */
async function removeUnserved(dir: string, database: string | null): Promise<void> {
  const lock = database !== null && existsSync(database) ? await lockAlone(database) : null
  try {
    rmSync(dir, { recursive: true, force: true })
  } finally {
    lock?.release()
  }
}
