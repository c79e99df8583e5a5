/**
 * Tables and lists of fields. On a terminal the widest column is cut to the width there is; in a pipe nothing is cut
 * and nothing coloured, so that grep and awk see all of it. Programs are better served with --json.
 */
import Table from 'cli-table3'
import type { CliIo } from '../context.js'
import { paint, printable } from './text.js'

export interface Column<T> {
  readonly title: string
  readonly of: (row: T) => string | number | null | undefined
  readonly align?: 'right'
  /** Never cut: a part of it would say nothing, as of a date. */
  readonly whole?: boolean
  /** The last column: too long a text runs on in the terminal's next line. */
  readonly runsOn?: boolean
  /** Applied after cutting, so that no colour is cut in two. */
  readonly paint?: (text: string, row: T) => string
}

const GAP = 2
/** A column is not cut below this many characters. */
const NARROWEST = 8

/** Rows under their titles; `none` stands for an empty list. */
export function table<T>(io: CliIo, rows: readonly T[], columns: readonly Column<T>[], none: string): string {
  if (rows.length === 0) return `${none}\n`
  const cells = rows.map(row => columns.map(column => cell(column.of(row))))
  const widths = columns.map(({ title }, i) =>
    cells.reduce((most, each) => Math.max(most, widthOf(each[i]!)), title.length),
  )
  if (io.terminal.stdout && io.terminal.columns > 0) narrow(widths, columns, io.terminal.columns)
  const drawn = plainTable(columns.map(({ align }) => align ?? 'left'))
  drawn.push(columns.map((column, i) => paint(io, 'bold', cut(column.title, widths[i]!))))
  for (const [r, row] of rows.entries()) {
    drawn.push(
      columns.map((column, i) => {
        const text = cut(cells[r]![i]!, widths[i]!)
        return column.paint?.(text, row) ?? text
      }),
    )
  }
  return lines(drawn)
}

export type Field = readonly [
  label: string,
  value: string | number | boolean | null | undefined,
  paint?: (text: string) => string,
]

/** Labels and values, one a line; values that are undefined are left out. */
export function fields(io: CliIo, pairs: readonly Field[]): string {
  const drawn = plainTable(['left', 'left'])
  for (const [label, value, painted = (text: string) => text] of pairs) {
    if (value !== undefined) drawn.push([paint(io, 'bold', label), painted(cell(value))])
  }
  return lines(drawn)
}

function cell(value: string | number | boolean | null | undefined): string {
  if (value === null || value === undefined || value === '') return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return typeof value === 'number' ? String(value) : printable(value)
}

/** Takes what is too much from the widest columns, down to the narrowest that is still readable. */
function narrow(widths: number[], columns: readonly Column<never>[], available: number): void {
  const counted = widths.map((width, i) => (columns[i]!.runsOn ? NARROWEST : width))
  let tooMuch = counted.reduce((sum, width) => sum + width + GAP, -GAP) - available
  while (tooMuch > 0) {
    const cuttable = widths.map((width, i) => (columns[i]!.whole || columns[i]!.runsOn ? 0 : width))
    const widest = cuttable.indexOf(Math.max(...cuttable))
    if (cuttable[widest]! <= NARROWEST) return
    widths[widest]! -= 1
    tooMuch -= 1
  }
}

function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  let kept = ''
  let room = width - 1
  for (const character of text) {
    room -= widthOf(character)
    if (room < 0) break
    kept += character
  }
  return `${kept}…`
}

/** In columns of a terminal, where East Asian characters and emoji take two and accents of their own none. */
function widthOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length
  let width = 0
  for (const character of text) width += WIDE.test(character) ? 2 : NO_WIDTH.test(character) ? 0 : 1
  return width
}

const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u
const NO_WIDTH = /\p{Mn}|\p{Me}|[\u200b-\u200d]/u

function plainTable(colAligns: ('left' | 'right')[]): InstanceType<typeof Table> {
  const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '' }
  const more = { 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '' }
  return new Table({
    chars: { ...none, ...more, 'right-mid': '', middle: ' '.repeat(GAP) },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns,
  })
}

function lines(drawn: { toString(): string }): string {
  return drawn
    .toString()
    .split('\n')
    .map(line => `${line.trimEnd()}\n`)
    .join('')
}
