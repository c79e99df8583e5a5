/**
 * Reads a table in pages along its primary key, so that memory is bounded by the page and the largest row, not by the
 * table. Works on both databases.
 */
import type { Param, Row, Statement } from '../db/db.js'
import { quoted, type Table } from './tables.js'

export interface Column {
  readonly name: string
  /** As PostgreSQL calls it: bigint, smallint, text, bytea. */
  readonly type: string
}

export interface Side {
  readonly dialect: 'sqlite' | 'postgres'
  read(statement: Statement): Promise<Row[]>
}

/** After the first and up to and including the second; null: no bound. */
export interface Range {
  readonly after: readonly Param[] | null
  readonly upTo: readonly Param[]
}

/** Octets of text and bytes that a page has at least, unless the table ends before. */
const PAGE_BYTES = 4_000_000
const PAGE_ROWS = 2_000

/** The next page of the source; null: there is none. */
export async function nextRange(
  source: Side,
  table: Table,
  columns: readonly Column[],
  after: readonly Param[] | null,
): Promise<Range | null> {
  const wide = columns.filter(({ type }) => type === 'text' || type === 'bytea')
  // A length stands in the head of its row: the contents themselves are not read for it.
  const weight = wide.map(({ name }) => `coalesce(octet_length("${name}"), 0)`).join(' + ') || '0'
  const { where, params } = bounds(source, table, { after, upTo: null })
  const rows = await source.read({
    sql: `select ${quoted(table.key)}, ${weight} as weight from ${table.name} ${where}
      order by ${ordering(source, table, columns)} limit ${PAGE_ROWS}`,
    params,
  })
  let sum = 0
  for (const [i, row] of rows.entries()) {
    sum += Number(row.weight)
    if (sum >= PAGE_BYTES || i === rows.length - 1) {
      return { after, upTo: table.key.map(name => row[name] as Param) }
    }
  }
  return null
}

export async function readRange(
  side: Side,
  table: Table,
  columns: readonly Column[],
  range: Range,
): Promise<readonly Row[]> {
  const { where, params } = bounds(side, table, range, columns)
  return side.read({
    sql: `select ${quoted(columns.map(({ name }) => name))} from ${table.name} ${where}
      order by ${ordering(side, table, columns)}`,
    params,
  })
}

function bounds(
  side: Side,
  table: Table,
  { after, upTo }: { readonly after: readonly Param[] | null; readonly upTo: readonly Param[] | null },
  columns: readonly Column[] = [],
): { where: string; params: Param[] } {
  const conditions: string[] = table.only === undefined ? [] : [table.only]
  const params: Param[] = []
  for (const [sign, values] of [['>', after] as const, ['<=', upTo] as const]) {
    if (values === null) continue
    const places = values.map((_, i) => `$${params.length + i + 1}`)
    params.push(...values)
    conditions.push(`(${ordering(side, table, columns)}) ${sign} (${places.join(', ')})`)
  }
  return { where: conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`, params }
}

/** SQLite orders text by its octets. PostgreSQL does so only when it is told. */
function ordering({ dialect }: Side, { key }: Table, columns: readonly Column[]): string {
  const isText = (name: string) => columns.some(column => column.name === name && column.type === 'text')
  return key.map(name => (dialect === 'postgres' && isText(name) ? `"${name}" collate "C"` : `"${name}"`)).join(', ')
}
