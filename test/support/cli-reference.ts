/** The chapter of docs/cli.md on each command, from the commands themselves. */
import type { Argument, Command, Option } from 'commander'
import { examplesOf, pathOf } from '../../src/cli/command.js'
import { commandsUnder, documentedPrograms, isLeaf } from './cli-tree.js'

const TITLES = ['Instances', 'One instance', 'One tenant']

/** Markdown, the same at every run. */
export function cliReference(): string {
  const blocks = documentedPrograms().flatMap((program, i) => [
    `## ${TITLES[i]}`,
    sentence(program.description()),
    examples(program),
    ...commandsUnder(program).slice(1).filter(isLeaf).flatMap(section),
  ])
  return `${blocks.filter(block => block !== '').join('\n\n')}\n`
}

function section(command: Command): string[] {
  const words = command.registeredArguments.map(word).join(' ')
  const path = placed(pathOf(command))
  const aliases = command.aliases().length === 0 ? '' : ` Also: \`${command.aliases().join('`, `')}\`.`
  return [
    `### \`${path}\``,
    `\`${path}${words === '' ? '' : ` ${words}`} [options]\``,
    `${sentence(command.description())}${aliases}`,
    table(command),
    examples(command),
  ]
}

/** Arguments and options. */
function table(command: Command): string {
  const rows = [
    ...command.registeredArguments.map(each => [word(each), about(each.description, each.argChoices)]),
    ...command
      .createHelp()
      .visibleOptions(command)
      .filter(option => option.long !== '--help')
      .map(option => [option.flags, about(option.description, option.argChoices, defaultOf(option))]),
  ]
  if (rows.length === 0) return ''
  return ['| Argument or option | |', '| --- | --- |', ...rows.map(([name, text]) => `| \`${name}\` | ${text} |`)].join(
    '\n',
  )
}

function examples(command: Command): string {
  const lines = examplesOf(command)
  return lines.length === 0 ? '' : `\`\`\`sh\n${lines.join('\n')}\n\`\`\``
}

function word(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`
  return argument.required ? `<${name}>` : `[${name}]`
}

function about(text: string, choices: readonly string[] | undefined, fallback = ''): string {
  const values = choices === undefined ? '' : `: ${choices.map(each => `\`${each}\``).join(', ')}`
  return `${text}${values}${fallback}`.replaceAll('|', '\\|').replaceAll('<', '\\<')
}

function defaultOf({ defaultValue, negate }: Option): string {
  // An option that may be repeated begins with none.
  if (defaultValue === undefined || negate || (Array.isArray(defaultValue) && defaultValue.length === 0)) return ''
  return ` (${defaultValue} unless given)`
}

/** The names of the examples are placeholders in a heading. */
function placed(path: string): string {
  return path
    .replace(/^mail-proxy shop acme/, 'mail-proxy <instance> <tenant>')
    .replace(/^mail-proxy shop/, 'mail-proxy <instance>')
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`
}
