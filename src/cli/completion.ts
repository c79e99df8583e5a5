/**
 * What can follow the words typed so far, from the tree of commands itself: commands, options, their values, names of
 * instances, ids of tenants and accounts. A new command needs nothing here; its placeholders (`<account>`, `<file>`)
 * say what stands there.
 */
import type { Command, Option } from 'commander'

export interface Candidate {
  readonly value: string
  readonly about?: string
}

/** In place of candidates: here stands the path of a file, which the shell knows best. */
export const FILES = 'files'

/** The three programs of the command line. */
export interface Programs {
  root(): Command
  ofInstance(instance: string): Command
  ofTenant(instance: string, tenant: string): Command
}

/** Ids that begin with `prefix`; empty when they cannot be had. */
export interface Ids {
  instances(prefix: string): readonly string[]
  tenants(instance: string, prefix: string): Promise<readonly string[]>
  accounts(instance: string, tenant: string | null, prefix: string): Promise<readonly string[]>
}

/** Where the words lead: whose tenants and accounts are meant. */
interface Scope {
  readonly instance: string | null
  readonly tenant: string | null
}

/** `words`: all behind the program's name up to the cursor; the last, maybe empty, is the one being typed. */
export async function complete(
  words: readonly string[],
  programs: Programs,
  ids: Ids,
): Promise<readonly Candidate[] | typeof FILES> {
  const typed = joinValues(words)
  const before = typed.slice(0, -1)
  const found = await candidates(before, typed.at(-1) ?? '', programs, ids)
  return found === FILES ? FILES : found.filter(each => each.value.startsWith(typed.at(-1) ?? ''))
}

async function candidates(
  before: readonly string[],
  current: string,
  programs: Programs,
  ids: Ids,
): Promise<readonly Candidate[] | typeof FILES> {
  const root = programs.root()
  const [first, second, third] = before
  if (first === undefined) {
    const own = await follow(root, [], current, { instance: null, tenant: null }, ids)
    const instances = current.startsWith('-') ? [] : named(ids.instances(current), 'instance')
    return own === FILES ? FILES : [...own, ...instances]
  }
  if (first.startsWith('-') || subcommand(root, first) !== undefined) {
    return follow(root, before, current, { instance: null, tenant: null }, ids)
  }
  const ofInstance = programs.ofInstance(first)
  const scope = { instance: first, tenant: null }
  if (second === undefined) {
    const own = await follow(ofInstance, [], current, scope, ids)
    const tenants = current.startsWith('-') ? [] : named(await ids.tenants(first, current), 'tenant')
    return own === FILES ? FILES : [...own, ...tenants]
  }
  if (second === '--tenant' || second === '-t') {
    if (third === undefined) return named(await ids.tenants(first, current), 'tenant')
    return follow(programs.ofTenant(first, third), before.slice(3), current, { instance: first, tenant: third }, ids)
  }
  if (second.startsWith('-') || subcommand(ofInstance, second) !== undefined) {
    return follow(ofInstance, before.slice(1), current, scope, ids)
  }
  return follow(programs.ofTenant(first, second), before.slice(2), current, { instance: first, tenant: second }, ids)
}

/** Goes down from `program` along the words, then tells what can stand where they end. */
async function follow(
  program: Command,
  words: readonly string[],
  current: string,
  scope: Scope,
  ids: Ids,
): Promise<readonly Candidate[] | typeof FILES> {
  let command = program
  let at: Scope = scope
  let given = 0
  let waits: Option | undefined
  let onlyArguments = false
  const used = new Set<string>()
  for (const word of words) {
    if (waits !== undefined) {
      at = narrowed(at, kindOf(waits), word)
      waits = undefined
    } else if (word === '--') {
      onlyArguments = true
    } else if (!onlyArguments && word.startsWith('-')) {
      const option = findOption(command, word.split('=', 1)[0]!)
      if (option === undefined) continue
      used.add(option.name())
      if (option.required && !word.includes('=')) waits = option
    } else {
      const deeper = given === 0 ? subcommand(command, word) : undefined
      if (deeper !== undefined) {
        command = deeper
        used.clear()
        continue
      }
      at = narrowed(at, command.registeredArguments[given]?.name(), word)
      given += 1
    }
  }
  if (waits !== undefined) return values(waits.argChoices, kindOf(waits), current, at, ids)
  if (!onlyArguments && current.startsWith('-')) {
    const [name = '', value] = current.split(/=(.*)/s)
    const option = value === undefined ? undefined : findOption(command, name)
    if (option === undefined || value === undefined) return options(command, used)
    const found = await values(option.argChoices, kindOf(option), value, at, ids)
    return found === FILES ? FILES : found.map(each => ({ ...each, value: `${name}=${each.value}` }))
  }
  const commands = given === 0 ? subcommands(command) : []
  const argument = command.registeredArguments[given] ?? lastIfVariadic(command)
  // A new one must not be called like one that is there.
  const wanted = argument === undefined || command.name() === 'add' ? undefined : argument
  const own = wanted === undefined ? [] : await values(wanted.argChoices, wanted.name(), current, at, ids)
  if (own === FILES) return FILES
  const found = [...commands, ...own]
  return found.length === 0 && current === '' && argument === undefined ? options(command, used) : found
}

async function values(
  choices: readonly string[] | undefined,
  name: string | undefined,
  prefix: string,
  { instance, tenant }: Scope,
  ids: Ids,
): Promise<readonly Candidate[] | typeof FILES> {
  if (choices !== undefined) return choices.map(value => ({ value }))
  if (name === 'instance') return named(ids.instances(prefix), 'instance')
  if (instance !== null && name === 'tenant') return named(await ids.tenants(instance, prefix), 'tenant')
  if (instance !== null && name === 'account') return named(await ids.accounts(instance, tenant, prefix), 'account')
  return /file|path|dir|folder/.test(name ?? '') ? FILES : []
}

function options(command: Command, used: ReadonlySet<string>): Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .filter(option => option.long !== undefined && (option.variadic || !used.has(option.name())))
    .map(option => ({ value: option.long!, about: option.description }))
}

function subcommands(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map(each => ({ value: each.name(), about: each.description() }))
}

function subcommand(command: Command, word: string): Command | undefined {
  return command.commands.find(each => each.name() === word || each.aliases().includes(word))
}

function findOption(command: Command, word: string): Option | undefined {
  return command.options.find(each => each.long === word || each.short === word)
}

/** What its value is: as its placeholder says, or its name, as in `--account <id>`. */
function kindOf(option: Option): string | undefined {
  return KINDS.has(option.name()) ? option.name() : /[<[]([^>\].]+)/.exec(option.flags)?.[1]
}

const KINDS: ReadonlySet<string> = new Set(['instance', 'tenant', 'account'])

function narrowed(scope: Scope, name: string | undefined, word: string): Scope {
  return name === 'instance' || name === 'tenant' ? { ...scope, [name]: word } : scope
}

function lastIfVariadic({ registeredArguments: all }: Command) {
  return all.at(-1)?.variadic ? all.at(-1) : undefined
}

function named(values: readonly string[], about: string): Candidate[] {
  return values.map(value => ({ value, about }))
}

/** bash takes `--option=value` apart into three words; `joined` is how every other shell has them. */
function joinValues(words: readonly string[]): readonly string[] {
  const joined: string[] = []
  for (const [i, word] of words.entries()) {
    const before = joined.at(-1)
    const isApart = word === '=' && before?.startsWith('--') && !before.includes('=')
    if (isApart || (words[i - 1] === '=' && before?.endsWith('='))) joined[joined.length - 1] = `${before}${word}`
    else joined.push(word)
  }
  return joined
}
