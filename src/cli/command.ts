/** What all commands are made of: where they stand, their common options, the examples in their help. */
import { Command } from 'commander'
import type { CliIo } from './context.js'
import { errorLine } from './errors.js'

/** The words before the command: `mail-proxy [instance] [tenant] …`. */
export interface Place {
  readonly io: CliIo
  readonly instance: string
  /** null: the command speaks of all tenants. */
  readonly tenant: string | null
}

export type TenantPlace = Place & { readonly tenant: string }

/** A program whose output goes to `io` and which never exits by itself. Commands added later inherit that. */
export function createProgram(name: string, io: CliIo): Command {
  return bareCommand(name)
    .exitOverride()
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .configureOutput({
      writeOut: text => io.out(text),
      writeErr: text => io.err(text),
      getOutHelpWidth: () => io.terminal.columns || 100,
      getErrHelpWidth: () => io.terminal.columns || 100,
      outputError: (text, write) => write(`${errorLine(text.replace(/^error: /, ''))}\n`),
    })
}

/** A command, as are those below it, without commander's own `help`, and with its examples below the help. */
function bareCommand(name?: string): Command {
  const command = new Command(name).helpCommand(false).addHelpText('after', ({ command: shown }) => {
    const lines = examplesOf(shown)
    return lines.length === 0 ? '' : `\nExamples:\n${lines.map(line => `  ${line}\n`).join('')}`
  })
  command.createCommand = bareCommand
  return command
}

const EXAMPLES = new WeakMap<Command, readonly string[]>()

/** Lines shown below the help; they must run as they stand. What a line does may follow it as ` # …`. */
export function withExamples(command: Command, lines: readonly string[]): Command {
  EXAMPLES.set(command, lines)
  return command
}

/** Those given, else the first of each command below. */
export function examplesOf(command: Command): readonly string[] {
  return EXAMPLES.get(command) ?? command.commands.flatMap(each => examplesOf(each).slice(0, 1))
}

export function withJson(command: Command): Command {
  return command.option('--json', 'answer as JSON')
}

/** The words of a command from the program on, as in `mail-proxy shop tenants add`. */
export function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}
