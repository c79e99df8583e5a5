/** `mail-proxy stop <instance>`: lets what is in flight end, then ends the process. */
import type { Command } from 'commander'
import { stopProcess } from '../background.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import type { Running } from '../instance.js'
import { show } from '../output/show.js'
import { findProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'

export interface StopOptions {
  readonly force?: boolean
  readonly json?: boolean
}

export function addStop(program: Command, io: CliIo): void {
  const command = program
    .command('stop')
    .argument('<instance>', 'name of the instance')
    .description('stop an instance; what is in flight may end first')
    .option('-f, --force', 'kill it when it has not ended in time; nothing is lost, what was in flight may be in doubt')
    .action(async (instance: string, options: StopOptions) => {
      const { config } = settingsOfKnownInstance(io, instance)
      const running = findProcess(io, config.instance.dir)
      const how = running === null ? 'not_running' : await stopAndTell(io, instance, running, config.queue, options)
      show(io, options, { instance, result: how, pid: running?.pid ?? null }, () =>
        running === null ? `${instance} does not run\n` : `${instance} ${how} (pid ${running.pid})\n`,
      )
    })
  withExamples(withJson(command), ['mail-proxy stop shop', 'mail-proxy stop shop --force'])
}

/** What a stop may take beyond the time that messages in flight have, ms. */
const MARGIN_MS = 15_000

export async function stopAndTell(
  io: CliIo,
  instance: string,
  running: Running,
  { stopTimeoutMs }: { readonly stopTimeoutMs: number },
  { force = false }: StopOptions,
): Promise<'stopped' | 'killed'> {
  if (io.terminal.stderr) io.err(`stopping ${instance} (pid ${running.pid}) …\n`)
  return stopProcess(io, running, { withinMs: stopTimeoutMs + MARGIN_MS, force })
}
