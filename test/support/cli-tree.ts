/** The commands of the command line as they are, for tests and for docs/cli.md. The instance is `shop`, the tenant `acme`. */
import type { Command } from 'commander'
import { instanceProgram, programFor, rootProgram, tenantProgram } from '../../src/cli/program.js'
import { cliEnds } from './cli-io.js'

/** Says nothing and reaches nothing. */
const { io: nowhere } = cliEnds()

const createService = () => {
  throw new Error('nothing is served here')
}

/** The three programs, in the order of the help. */
export function documentedPrograms(): readonly Command[] {
  const place = { io: nowhere, instance: 'shop' }
  return [
    rootProgram(nowhere, createService),
    instanceProgram({ ...place, tenant: null }),
    tenantProgram({ ...place, tenant: 'acme' }),
  ]
}

/** The command itself and all below it that help shows. */
export function commandsUnder(command: Command): readonly Command[] {
  return [command, ...command.createHelp().visibleCommands(command).flatMap(commandsUnder)]
}

export function isLeaf(command: Command): boolean {
  return command.commands.length === 0
}

/** Takes a line of a shell to its command without running it; answers that command's path, `help` for a --help. */
export async function parseLine(line: string): Promise<string> {
  const argv = wordsOf(line)
  const { program, rest } = programFor(argv, nowhere, createService)
  let reached = ''
  for (const command of commandsUnder(program)) {
    if (isLeaf(command)) {
      command.action(() => {
        reached = command.name()
      })
    }
  }
  try {
    await program.parseAsync([...rest], { from: 'user' })
  } catch (error) {
    if ((error as { code?: string }).code === 'commander.helpDisplayed') return 'help'
    throw error
  }
  return reached
}

/** What a shell hands to mail-proxy: without the variables before it, pipes, redirections and comments. */
function wordsOf(line: string): string[] {
  const command = /mail-proxy (.*)/s.exec(line)?.[1] ?? ''
  const words: string[] = []
  for (const [token] of command.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"|<>()#&;])+|[|<>()#&;]/g)) {
    if (/^[|<>()#&;]$/.test(token)) break
    words.push(token.replace(/'([^']*)'|"([^"]*)"/g, (_, single, double) => single ?? double))
  }
  return words
}
