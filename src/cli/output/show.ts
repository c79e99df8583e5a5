/** The three forms of an answer: for people, for programs, for spreadsheets. */
import { stringify } from 'csv-stringify/sync'
import type { CliIo } from '../context.js'
import { STEERING } from './text.js'

export interface Format {
  readonly json?: boolean
  readonly csv?: boolean
}

/** One line of JSON an answer, or the text. `text` is made only when it is wanted. */
export function show(io: CliIo, { json }: Format, value: unknown, text: () => string): void {
  io.out(json ? jsonText(value, io.terminal.stdout ? 2 : undefined) : text())
}

/** With the end of a line. What a terminal would obey and JSON leaves as it is, a mail's text may hold: it is escaped. */
export function jsonText(value: unknown, indent?: number): string {
  return `${JSON.stringify(value, null, indent).replace(STEERING, unicodeEscape)}\n`
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** RFC 4180; a cell that a spreadsheet would run as a formula is made text. Of several pages only the first has a header. */
export function csv(
  columns: readonly string[],
  rows: readonly Readonly<Record<string, unknown>>[],
  { header = true }: { readonly header?: boolean } = {},
): string {
  const cells = rows.map(row => columns.map(column => plain(row[column])))
  const lines = header ? [[...columns], ...cells] : cells
  return stringify(lines, { escape_formulas: true, record_delimiter: 'windows' })
}

function plain(value: unknown): string {
  if (value === null || value === undefined) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
