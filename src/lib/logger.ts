/** Makes the lines of the log (spec section 8): text for people, JSON for collectors. */
import { systemClock } from './clock.js'
import type { Log, LogFields } from './log.js'

export type LogLevel = 'debug' | 'info' | 'warning' | 'error'

export interface LoggerOptions {
  readonly level: LogLevel
  readonly format: 'text' | 'json'
  /** Takes each whole line. */
  write(line: string): void
  /** Epoch milliseconds; default: the system's clock. */
  now?(): number
}

/** Field values under a name that matches are never written. */
const SECRET_NAME = /password|token|secret|key|auth/i
const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warning: 2, error: 3 }
const LONGEST_TEXT = 8192

export function createLogger(options: LoggerOptions): Log {
  const { level, format, write, now = systemClock.now } = options
  const lineOf = format === 'json' ? jsonLine : textLine
  const at = (each: LogLevel) => {
    if (RANK[each] < RANK[level]) return () => {}
    return (message: string, fields?: LogFields) => write(lineOf(now(), each, message, fields))
  }
  return { debug: at('debug'), info: at('info'), warning: at('warning'), error: at('error') }
}

function textLine(now: number, level: LogLevel, message: string): string {
  return `${localTime(now)} ${level.toUpperCase().padEnd(8)} ${escapeText(message)}\n`
}

function jsonLine(now: number, level: LogLevel, message: string, fields: LogFields = {}): string {
  const entry: Record<string, unknown> = {
    timestamp: new Date(now).toISOString(),
    level: level.toUpperCase(),
    message: cut(message),
  }
  for (const [name, value] of Object.entries(fields)) {
    if (Object.hasOwn(entry, name)) continue
    if (SECRET_NAME.test(name)) entry[name] = '***'
    else entry[name] = typeof value === 'string' ? cut(value) : value
  }
  // JSON escapes what is below 0x20; the rest of what a terminal obeys is escaped like it.
  return `${JSON.stringify(entry).replace(UNSAFE, unicodeEscape)}\n`
}

/** `2025-01-23 10:15:32,456` in the zone of the process. Lines come many a second. */
function localTime(now: number): string {
  const second = Math.floor(now / 1000)
  if (second !== lastTime.second) lastTime = { second, text: localSecond(now) }
  return `${lastTime.text},${String(Math.floor(now - second * 1000)).padStart(3, '0')}`
}

let lastTime = { second: Number.NaN, text: '' }

function localSecond(now: number): string {
  const at = new Date(now)
  const two = (n: number) => String(n).padStart(2, '0')
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** Control characters, line separators and those that turn the writing direction. */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g
const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function escapeText(text: string): string {
  return cut(text).replace(UNSAFE, character => SHORT[character] ?? unicodeEscape(character))
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function cut(text: string): string {
  return text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}…` : text
}
