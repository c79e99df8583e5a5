/** `mail-proxy serve`: the instance `default` in the foreground, from flags and environment alone. */
import type { Command } from 'commander'
import { withExamples } from '../command.js'
import type { CliIo } from '../context.js'
import { type CreateService, serveUntilSignal } from '../serving.js'
import { type Flags, settingsFromEnvironment } from '../settings.js'

export function addServe(program: Command, io: CliIo, createService: CreateService): void {
  const command = addServingOptions(program.command('serve'))
    .description('serve in the foreground, configured by flags and environment')
    .action(async (options: ServingOptions) => {
      await serveUntilSignal(settingsFromEnvironment(io, toFlags(options)), io, createService)
    })
  withExamples(command, ['mail-proxy serve', 'GMP_DB_PATH=/data/mail.db mail-proxy serve --host 0.0.0.0 --port 8000'])
}

export interface ServingOptions {
  readonly host?: string
  readonly port?: string
  readonly role?: string
  readonly databaseUrl?: string
  readonly insecureNoAuth?: boolean
  readonly release?: boolean
}

export function addServingOptions(command: Command): Command {
  return command
    .option('--host <address>', 'address to listen on')
    .option('-p, --port <number>', 'port to listen on')
    .option('--role <role>', 'all, api or worker')
    .option('--database-url <url>', 'SQLite file or postgresql://…')
    .option('--release', 'let a database send that was found to be restored')
    .option('--insecure-no-auth', 'no authentication at all; only with a loopback --host')
}

export function toFlags(options: ServingOptions): Flags {
  const flags: Flags = {}
  if (options.host !== undefined) flags['server.host'] = options.host
  if (options.port !== undefined) flags['server.port'] = options.port
  if (options.role !== undefined) flags['server.role'] = options.role
  if (options.databaseUrl !== undefined) flags['database.url'] = options.databaseUrl
  if (options.insecureNoAuth === true) flags['server.insecureNoAuth'] = 'true'
  if (options.release === true) flags['database.release'] = 'true'
  return flags
}

/** The options as they would be typed again. */
export function servingArguments(options: ServingOptions): string[] {
  const typed: string[] = []
  if (options.host !== undefined) typed.push('--host', options.host)
  if (options.port !== undefined) typed.push('--port', options.port)
  if (options.role !== undefined) typed.push('--role', options.role)
  if (options.databaseUrl !== undefined) typed.push('--database-url', options.databaseUrl)
  if (options.insecureNoAuth === true) typed.push('--insecure-no-auth')
  if (options.release === true) typed.push('--release')
  return typed
}
