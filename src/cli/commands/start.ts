/** `mail-proxy start <instance>`: a named instance in the foreground, from its folder's config.ini too. */
import type { Command } from 'commander'
import type { CliIo } from '../context.js'
import { type CreateService, serveUntilSignal } from '../serving.js'
import { settingsOfInstance } from '../settings.js'
import { addServingOptions, type ServingOptions, toFlags } from './serve.js'

export function addStart(program: Command, io: CliIo, createService: CreateService): void {
  addServingOptions(program.command('start'))
    .argument('<instance>', 'name of the instance; a new name makes a new one')
    .description('serve an instance in the foreground')
    .action(async (instance: string, options: ServingOptions) => {
      await serveUntilSignal(settingsOfInstance(io, instance, toFlags(options)), io, createService)
    })
}
