/** Text as a terminal may show it: what came from outside must not steer the terminal. */
import { styleText } from 'node:util'
import type { CliIo } from '../context.js'

/** Control characters beyond ASCII's first 32, line separators and what turns the writing direction. */
export const STEERING = /[\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** What steers, and the control characters of a line, become visible. */
export function printable(text: string): string {
  return text
    .replace(STEERING, '�')
    .replace(/[\x00-\x1f]/g, character => (character === '\n' ? '⏎' : character === '\t' ? ' ' : '�'))
}

export type Colour = 'green' | 'red' | 'yellow' | 'cyan' | 'gray' | 'bold'

/** Colours only on a terminal, and never where NO_COLOR is set (no-color.org) or the terminal is dumb. */
export function paint({ terminal, env }: Pick<CliIo, 'terminal' | 'env'>, colour: Colour, text: string): string {
  const plain = !terminal.stdout || (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb'
  return plain ? text : styleText(colour, text, { validateStream: false })
}

/** The colour of a message's status or of a state in general. */
export function paintState(io: Pick<CliIo, 'terminal' | 'env'>, state: string): string {
  const colour = STATE_COLOURS[state]
  return colour === undefined ? state : paint(io, colour, state)
}

const STATE_COLOURS: Readonly<Record<string, Colour>> = {
  sent: 'green',
  yes: 'green',
  ok: 'green',
  running: 'green',
  active: 'green',
  error: 'red',
  failed: 'red',
  in_doubt: 'red',
  paused: 'red',
  deferred: 'yellow',
  warning: 'yellow',
  suspended: 'yellow',
  sending: 'cyan',
  cancelled: 'gray',
  stopped: 'gray',
}

/** Unix seconds as local time; '-' for none. */
export function time(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return '-'
  const at = new Date(seconds * 1000)
  const two = (n: number) => String(n).padStart(2, '0')
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** As a shell takes it for one word: ids may hold spaces and signs that mean something there. */
export function shellWord(text: string): string {
  return /^[\w@.+:=/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** `in 5 min` or `5 min ago`. */
export function fromNow(seconds: number, now = Date.now()): string {
  const ahead = seconds - now / 1000
  return ahead >= 0 ? `in ${duration(ahead)}` : `${duration(-ahead)} ago`
}

/** `1 message`, `1,204 messages`. */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString('en')} ${n === 1 ? one : many}`
}

/** 75 → `1 min 15 s`: the two largest units. */
export function duration(seconds: number): string {
  const parts: string[] = []
  let rest = Math.max(0, Math.round(seconds))
  for (const [unit, size] of UNITS) {
    const n = Math.floor(rest / size)
    if (n > 0 || (unit === 's' && parts.length === 0)) parts.push(`${n} ${unit}`)
    rest -= n * size
    if (parts.length === 2) break
  }
  return parts.join(' ')
}

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const
