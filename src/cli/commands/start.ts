/** `mail-proxy start <instance>`: a named instance, from its folder's config.ini too; in the foreground or on its own. */
import type { Command } from 'commander'
import { startInBackground } from '../background.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { CliError } from '../errors.js'
import { isNewInstance, readToken, tokenPath } from '../instance.js'
import { show } from '../output/show.js'
import { findProcess } from '../running.js'
import { type CreateService, runsAlready, serveUntilSignal } from '../serving.js'
import { settingsOfInstance } from '../settings.js'
import { reachable } from '../welcome.js'
import { addServingOptions, type ServingOptions, servingArguments, toFlags } from './serve.js'

export interface StartOptions extends ServingOptions {
  readonly background?: boolean
  readonly quiet?: boolean
  readonly json?: boolean
}

export function addStart(program: Command, io: CliIo, createService: CreateService): void {
  const command = addServingOptions(program.command('start'))
    .argument('<instance>', 'name of the instance; a new name makes a new one')
    .description('serve an instance; a new one gets a folder, a port and an admin token of its own')
    .option('-b, --background', 'come back once it serves; its log goes into its folder')
    .option('--quiet', 'do not show the token of a new instance')
    .action(async (instance: string, options: StartOptions) => {
      if (options.background) await startOnItsOwn(io, instance, options)
      else await serveHere(io, instance, options, createService)
    })
  withExamples(withJson(command), [
    'mail-proxy start shop --background',
    'mail-proxy start shop --host 0.0.0.0 --port 8025',
    'mail-proxy start shop --database-url postgresql://mail@db.example.com/mail',
  ])
}

async function serveHere(
  io: CliIo,
  instance: string,
  options: StartOptions,
  createService: CreateService,
): Promise<void> {
  const loaded = settingsOfInstance(io, instance, toFlags(options))
  const { dir } = loaded.config.instance
  refuseSecond(io, instance, dir)
  const isNew = dir !== null && isNewInstance(dir)
  await serveUntilSignal(loaded, io, createService, { isNew, quiet: options.quiet ?? false, alone: true })
}

/** Also what a restart does once the old process is gone. */
export async function startOnItsOwn(io: CliIo, instance: string, options: StartOptions): Promise<void> {
  // Read here too, so that a wrong value is told at once and by its own name.
  const { config } = settingsOfInstance(io, instance, toFlags(options))
  const { dir } = config.instance
  if (dir === null) throw new CliError('an instance without a folder cannot run in the background')
  refuseSecond(io, instance, dir)
  const isNew = isNewInstance(dir)
  const { pid, url } = await startInBackground(io, dir, ['start', instance, '--quiet', ...servingArguments(options)])
  const answer = { instance, pid, url: reachable(url), folder: dir }
  show(io, options, answer, () => {
    const tokenLine = isNew && readToken(dir) !== null ? `admin token in ${tokenPath(dir)}\n` : ''
    return `${instance} serves on ${answer.url} (pid ${pid})\n${tokenLine}`
  })
}

function refuseSecond(io: CliIo, instance: string, dir: string | null): void {
  const running = findProcess(io, dir)
  if (running !== null && running.pid !== io.pid) throw runsAlready(instance, running)
}
