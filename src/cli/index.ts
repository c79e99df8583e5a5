/**
 * The command line: `mail-proxy <command> …`, `mail-proxy <instance> <command> …` and
 * `mail-proxy <instance> <tenant> <command> …`. Answers the exit code: 0 done, 1 failed, 2 called wrongly, 130 broken
 * off. Errors are one line on stderr.
 */
import { CommanderError } from 'commander'
import { FlagError } from '../load-config.js'
import type { CliIo } from './context.js'
import { ExitWith, errorLine, Interrupted, UsageError } from './errors.js'
import { programFor } from './program.js'
import type { CreateService } from './serving.js'

export async function runCli(
  argv: readonly string[],
  io: CliIo,
  createService: CreateService = createRealService,
): Promise<number> {
  try {
    const { program, rest } = programFor(argv, io, createService)
    await program.parseAsync([...rest], { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return exitCodeOf(error)
    if (error instanceof ExitWith) return error.code
    io.err(`${errorLine(error)}\n`)
    if (error instanceof Interrupted) return 130
    return error instanceof UsageError || error instanceof FlagError ? 2 : 1
  }
}

function exitCodeOf({ code }: CommanderError): number {
  // Commands alone, without a word of what to do: their help was shown, and nothing was done.
  return code === 'commander.helpDisplayed' || code === 'commander.version' ? 0 : 2
}

// Loaded only by the commands that serve: the others answer at once.
const createRealService: CreateService = async (config, log, prepared) => {
  const { createService } = await import('../service.js')
  return createService(config, log, prepared)
}
