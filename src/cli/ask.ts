/**
 * What a command still needs to know: from its flags, else asked for where a person sits at a terminal, else an error
 * that names the flag. Questions go to stderr, so that stdout stays the answer alone.
 */
import { readFileSync } from 'node:fs'
import { text as readAll } from 'node:stream/consumers'
import type { CliIo } from './context.js'
import { CliError, Interrupted, UsageError } from './errors.js'

export interface Question {
  /** As the error names it: `--host`, `<tenant>`. */
  readonly flag: string
  readonly label: string
  readonly initial?: string
  /** An empty answer is one, and means "not set". */
  readonly optional?: boolean
  /** Why the text is wrong; undefined: it is right. */
  check?(text: string): string | undefined
}

export interface Choice<T extends string> {
  readonly value: T
  readonly label: string
  readonly hint?: string
}

export interface Ask {
  /** A person can be asked. */
  readonly possible: boolean
  text(question: Question): Promise<string>
  /** Typed unseen. */
  secret(question: Question): Promise<string>
  choose<T extends string>(question: Question, choices: readonly Choice<T>[]): Promise<T>
  /** `question` is a whole sentence; without a terminal the error says that `flag` answers yes. Enter takes `initial`. */
  confirm(question: string, flag: string, options?: { readonly initial?: boolean }): Promise<boolean>
  /** A line between the questions. */
  tell(line: string): Promise<void>
}

/** Loaded for a question only: it takes 40 ms, which every command and completion would pay. */
const prompts = () => import('@clack/prompts')

export function createAsk({ stdin, stderr, terminal }: Pick<CliIo, 'stdin' | 'stderr' | 'terminal'>): Ask {
  const possible = terminal.stdin && terminal.stderr
  const ends = { input: stdin, output: stderr }
  const needTerminal = (flag: string) => {
    if (!possible) throw new UsageError(`${flag} is missing`)
  }
  const answered = <T>(answer: T): Exclude<T, symbol> => {
    // Nothing but the prompts' mark of a question that was left is a symbol.
    if (typeof answer === 'symbol') throw new Interrupted()
    return answer as Exclude<T, symbol>
  }
  const check = (question: Question) => (given: string | undefined) => {
    const value = given?.trim() || question.initial || ''
    if (value === '') return question.optional ? undefined : 'this is needed'
    return question.check?.(value)
  }

  return {
    possible,
    async text(question) {
      needTerminal(question.flag)
      const { text } = await prompts()
      const answer = await text({
        ...ends,
        message: question.optional ? `${question.label} (may stay empty)` : question.label,
        placeholder: question.initial,
        defaultValue: question.initial ?? '',
        validate: check(question),
      })
      return answered(answer).trim()
    },
    async secret(question) {
      needTerminal(question.flag)
      const { password } = await prompts()
      const answer = await password({ ...ends, message: question.label, validate: check(question) })
      return answered(answer) ?? ''
    },
    async choose(question, choices) {
      needTerminal(question.flag)
      const options = choices.map(({ value, label, hint }) => ({ value: value as string, label, hint }))
      const { autocomplete, select } = await prompts()
      const shown = { ...ends, message: question.label, options, initialValue: question.initial }
      const answer = choices.length > 6 ? await autocomplete(shown) : await select(shown)
      return answered(answer) as (typeof choices)[number]['value']
    },
    async confirm(question, flag, { initial = false } = {}) {
      if (!possible) throw new UsageError(`this needs a yes: add ${flag}`)
      const { confirm } = await prompts()
      return answered(await confirm({ ...ends, message: question, initialValue: initial }))
    },
    async tell(line) {
      if (!possible) return
      const { log } = await prompts()
      log.info(wrapped(line, (terminal.columns || 80) - MARGIN), { output: stderr })
    },
  }
}

/** What stands before a line of text between questions. */
const MARGIN = 3

/** Lines of at most `width` characters, broken between words. */
function wrapped(text: string, width: number): string {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const line = lines.at(-1)
    if (line === undefined || line.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = `${line} ${word}`
  }
  return lines.join('\n')
}

/** A secret that does not stand on the command line, where every user of the machine can read it. `-` is stdin. */
export async function secretFromFile(io: Pick<CliIo, 'stdin'>, path: string): Promise<string> {
  let content: string
  try {
    content = path === '-' ? await readAll(io.stdin) : readFileSync(path, 'utf8')
  } catch (cause) {
    throw new CliError(`${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause })
  }
  const secret = content.replace(/\r?\n$/, '')
  if (secret === '') throw new UsageError(`${path === '-' ? 'standard input' : path} is empty`)
  return secret
}
