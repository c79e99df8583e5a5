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
  const widths = columns.map((column, i) => Math.max(column.title.length, ...cells.map(each => [...each[i]!].length)))
  if (io.terminal.stdout && io.terminal.columns > 0) narrow(widths, io.terminal.columns)
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

/** Labels and values, one a line; values that are undefined are left out. */
export function fields(
  io: CliIo,
  pairs: readonly (readonly [label: string, value: string | number | boolean | null | undefined])[],
): string {
  const drawn = plainTable(['left', 'left'])
  for (const [label, value] of pairs) {
    if (value !== undefined) drawn.push([paint(io, 'bold', label), cell(value)])
  }
  return lines(drawn)
}

function cell(value: string | number | boolean | null | undefined): string {
  if (value === null || value === undefined || value === '') return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return typeof value === 'number' ? String(value) : printable(value)
}

/** Takes what is too much from the widest columns, down to the narrowest that is still readable. */
function narrow(widths: number[], available: number): void {
  let tooMuch = widths.reduce((sum, width) => sum + width + GAP, -GAP) - available
  while (tooMuch > 0) {
    const widest = widths.indexOf(Math.max(...widths))
    if (widths[widest]! <= NARROWEST) return
    widths[widest]! -= 1
    tooMuch -= 1
  }
}

function cut(text: string, width: number): string {
  const characters = [...text]
  return characters.length <= width ? text : `${characters.slice(0, width - 1).join('')}…`
}

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
