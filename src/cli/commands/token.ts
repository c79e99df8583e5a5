/** `mail-proxy <instance> token`: shows the admin token, or replaces it. */
import type { Command } from 'commander'
import { migrate } from '../../db/migrate.js'
import { systemClock } from '../../lib/clock.js'
import { replaceToken } from '../admin-token.js'
import { refuseOldSchema } from '../api.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { withInstanceDatabase } from '../database.js'
import { CliError } from '../errors.js'
import { readToken, tokenPath } from '../instance.js'
import { lookAtProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

export function addToken(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('token')
    .description('show the admin token')
    .option('-r, --regenerate', 'make a new token; the old one ends at once')
    .action(async (options: { regenerate?: boolean; json?: boolean }) => {
      const token = options.regenerate ? await regenerate(io, instance) : show(io, instance)
      io.out(options.json ? `${JSON.stringify({ token })}\n` : `${token}\n`)
    })
  withExamples(withJson(command), [`mail-proxy ${instance} token`, `mail-proxy ${instance} token --regenerate`])
}

function show(io: CliIo, instance: string): string {
  const { config } = settingsOfKnownInstance(io, instance)
  const token = config.server.apiToken ?? readToken(folderOf(config.instance.dir))
  if (token === null) {
    throw new CliError(
      `no token is kept in ${tokenPath(folderOf(config.instance.dir))}: look where the instance was first started, or make a new one with --regenerate`,
    )
  }
  return token
}

async function regenerate(io: CliIo, instance: string): Promise<string> {
  const { config, sources } = settingsOfKnownInstance(io, instance)
  if (config.server.apiToken !== null) {
    throw new CliError(
      `the token is set by the ${sources.get('server.apiToken')} (GMP_API_TOKEN, api_token): change it there`,
    )
  }
  await refuseOldSchema(config)
  const token = await withInstanceDatabase(config, { exclusive: false }, async db => {
    await migrate(db)
    return replaceToken(db, folderOf(config.instance.dir))
  })
  await untilKnown(io, config.instance.dir, token)
  return token
}

/** A service remembers a hash for up to a second: the command that follows this one must not be refused meanwhile. */
async function untilKnown(io: CliIo, dir: string | null, token: string): Promise<void> {
  const { state, process } = await lookAtProcess(io, dir)
  if (state !== 'running' || process === null) return
  for (let tries = 0; tries < 30; tries += 1) {
    const answer = await fetch(`${process.url}/status`, { headers: { 'x-api-token': token } }).catch(() => null)
    if (answer?.status !== 401) return
    await systemClock.sleep(100)
  }
}

function folderOf(dir: string | null): string {
  if (dir === null) throw new CliError('the instance has no folder')
  return dir
}
