/** `mail-proxy restart <instance>`: stops it if it runs, then starts it in the background. */
import type { Command } from 'commander'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { findProcess } from '../running.js'
import { settingsOfKnownInstance } from '../settings.js'
import { addServingOptions } from './serve.js'
import { type StartOptions, startOnItsOwn } from './start.js'
import { stopAndTell } from './stop.js'

export function addRestart(program: Command, io: CliIo): void {
  const command = addServingOptions(program.command('restart'))
    .argument('<instance>', 'name of the instance')
    .description('stop an instance and start it in the background; flags of its last start must be given again')
    .option('-f, --force', 'kill it when it has not ended in time')
    .action(async (instance: string, options: StartOptions & { force?: boolean }) => {
      const { config } = settingsOfKnownInstance(io, instance)
      const running = findProcess(io, config.instance.dir)
      if (running !== null) await stopAndTell(io, instance, running, config.queue, options)
      await startOnItsOwn(io, instance, options)
    })
  withExamples(withJson(command), ['mail-proxy restart shop'])
}
