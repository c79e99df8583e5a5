import { describe, expect, it } from 'vitest'
import type { CliIo } from '../context.js'
import { type Column, fields, table } from './table.js'

const io = (columns: number) =>
  ({
    env: { NO_COLOR: '1' },
    terminal: { stdin: false, stdout: columns > 0, stderr: false, columns },
  }) as unknown as CliIo

interface Row {
  readonly a: string
  readonly b: string
}
const rows: readonly Row[] = [
  { a: 'short', b: 'a text that is much longer than there is room for' },
  { a: '漢字漢字漢字漢字漢字', b: 'x' },
]
const drawn = (width: number, more: Partial<Column<Row>> = {}) =>
  table(
    io(width),
    rows,
    [
      { title: 'A', of: each => each.a },
      { title: 'B', of: each => each.b, ...more },
    ],
    'none',
  )

/** As a terminal counts: an East Asian character takes two columns. */
const widthOf = (line: string) => [...line].reduce((sum, each) => sum + (/\p{Script=Han}/u.test(each) ? 2 : 1), 0)

describe('a table', () => {
  it('is cut to the terminal, wide characters counted as two', () => {
    const lines = drawn(30).trimEnd().split('\n')
    expect(Math.max(...lines.map(widthOf))).toBeLessThanOrEqual(30)
    expect(lines[1]).toMatch(/^short .*…$/)
    expect(lines[2]).toContain('漢字')
  })

  it('is whole in a pipe', () => {
    expect(drawn(0)).toContain(rows[0]!.b)
  })

  it('keeps a column whole that would say nothing in part', () => {
    expect(drawn(60, { whole: true })).toContain(rows[0]!.b)
    expect(drawn(60, { whole: true })).toContain('漢字漢字…')
  })

  it('lets a last column run on, and leaves the others room beside its beginning', () => {
    const lines = drawn(40, { runsOn: true }).trimEnd().split('\n')
    expect(lines[1]).toMatch(/room for$/)
    expect(lines[2]).toMatch(/^漢字漢字漢字漢字漢字 /)
  })

  it('shows what came from outside without its control characters', () => {
    expect(fields(io(80), [['label', 'a\u001b[31mb\nc']])).toBe('label  a�[31mb⏎c\n')
  })
})
