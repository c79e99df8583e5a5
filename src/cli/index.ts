/**
 * The command line: `mail-proxy <command> …` and `mail-proxy <instance> <command> …`. Answers the exit code: 0 done,
 * 1 failed, 2 called wrongly. Errors are one line on stderr.
 */
import { Command, CommanderError } from 'commander'
import { VERSION } from '../lib/version.js'
import { FlagError } from '../load-config.js'
import { addBackup } from './commands/backup.js'
import { addInfo } from './commands/info.js'
import { addMigrate } from './commands/migrate.js'
import { addRestore } from './commands/restore.js'
import { addServe } from './commands/serve.js'
import { addStart } from './commands/start.js'
import { addToken } from './commands/token.js'
import { addTransfer } from './commands/transfer.js'
import type { CliIo } from './context.js'
import { errorLine, UsageError } from './errors.js'
import { COMMAND_NAMES, instanceFolder } from './instance.js'
import type { CreateService } from './serving.js'

export async function runCli(
  argv: readonly string[],
  io: CliIo,
  createService: CreateService = createRealService,
): Promise<number> {
  try {
    const [first] = argv
    const isRoot = first === undefined || first.startsWith('-') || (COMMAND_NAMES as readonly string[]).includes(first)
    const program = isRoot ? rootProgram(io, createService) : instanceProgram(io, first)
    await program.parseAsync(isRoot ? [...argv] : argv.slice(1), { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return exitCodeOf(error)
    io.err(`${errorLine(error)}\n`)
    return error instanceof UsageError || error instanceof FlagError ? 2 : 1
  }
}

function rootProgram(io: CliIo, createService: CreateService): Command {
  const program = prepare(new Command('mail-proxy'), io)
    .description('Durable mail queue between applications and their SMTP accounts')
    .version(VERSION, '-V, --version')
    .addHelpText(
      'after',
      '\nOne instance: mail-proxy <instance> token|info|migrate|backup|restore|transfer (mail-proxy <instance> --help)',
    )
  addServe(program, io, createService)
  addStart(program, io, createService)
  return program
}

function instanceProgram(io: CliIo, instance: string): Command {
  // A name that cannot be one is refused before its commands are looked at.
  instanceFolder(instance, io.env, io.home)
  const program = prepare(new Command(`mail-proxy ${instance}`), io)
  addInfo(program, io, instance)
  addToken(program, io, instance)
  addMigrate(program, io, instance)
  addBackup(program, io, instance)
  addRestore(program, io, instance)
  addTransfer(program, io, instance)
  return program
}

/** Must come before the commands are added: they inherit it. */
function prepare(program: Command, io: CliIo): Command {
  return program.exitOverride().configureOutput({
    writeOut: text => io.out(text),
    writeErr: text => io.err(text),
    outputError: (text, write) => write(`${errorLine(text.replace(/^error: /, ''))}\n`),
  })
}

function exitCodeOf({ code }: CommanderError): number {
  return code === 'commander.helpDisplayed' || code === 'commander.version' ? 0 : 2
}

// Loaded only by the commands that serve: the others answer at once.
const createRealService: CreateService = async (config, log) => {
  const { createService } = await import('../service.js')
  return createService(config, log)
}
