/**
 * Every SQL fragment that differs between SQLite and PostgreSQL, each with its reason. Queries are written once with
 * these macros and expanded (and remembered) here:
 *
 *   @rows($1: id text, n bigint)   a row source from one JSON parameter (an array of objects with these keys), or from a
 *                                  column of JSON
 *   @each(id text, n bigint)       the statement's own rows, each of which it treats by itself
 *   @keys($1)                      a row source with one column `key` from one JSON parameter, an array of whole numbers
 *   @now($2)                       the database's time in epoch ms; SQLite has no better clock than the process's ($2)
 *   @least(a, b)                   the smaller of two scalars
 *   @skip_locked / @for_update / @for_share   row locks; SQLite has one writer at a time and needs none
 *   @materialized                  keeps PostgreSQL from evaluating a locking CTE twice
 *   @identity                      an ever growing primary key that is never reused
 *   @unlogged                      a table that a crash of PostgreSQL empties; SQLite has none
 *   @roomy                         of a table whose rows are updated again and again: PostgreSQL leaves half of each page free, so that
 *                                  a new version finds room beside the old one and needs no index entry; SQLite updates in place
 *   @json_text(a)                  a text as JSON
 *   @bytes                         the type of a column of octets
 *   @key                           a primary key that is another table's; SQLite's own row number, without a second tree
 */

import { remember } from '../lib/remember.js'

export type DialectName = 'sqlite' | 'postgres'

export interface DialectOptions {
  /**
   * Whose clock @now is. `database` (PostgreSQL only) makes limits and leases of many instances agree whatever the
   * skew between their machines; `process` lets a test move the time.
   */
  readonly clock: 'database' | 'process'
}

const ROWS = /@rows\((\$\d+|[a-z]+\.[a-z]+):\s*([^)]+)\)/g
const EACH = /@each\(([^)]+)\)/g
const KEYS = /@keys\((\$\d+)\)/g
const NOW = /@now\((\$\d+)\)/g

export function createExpander(dialect: DialectName, options: DialectOptions): (sql: string) => string {
  return remember(dialect === 'sqlite' ? expandSqlite : sql => expandPostgres(sql, options))
}

/**
 * `column in (query)`, with the query run once and first. Left to join them, PostgreSQL put the keys given into the innermost of
 * three loops where its statistics were of a time when the tables were empty: 500 of 1,200 messages took more than a minute
 * to remove.
 */
export function among(dialect: DialectName, column: string, query: string): string {
  return dialect === 'postgres' ? `${column} = any(array(${query}))` : `${column} in (${query})`
}

export interface Column {
  readonly name: string
  readonly type: string
}

/** The columns of a statement's @each, in the order in which they are taken; null: it has none. */
export function eachColumns(sql: string): readonly Column[] | null {
  const [found] = sql.matchAll(EACH)
  return found === undefined ? null : columns(found[1]!)
}

function columns(list: string): Column[] {
  return list.split(',').map(column => {
    const [name, type] = column.trim().split(/\s+/)
    if (name === undefined || type === undefined) throw new Error(`@rows and @each want "name type", got "${column}"`)
    return { name, type }
  })
}

function expandSqlite(sql: string): string {
  return (
    bindEach(sql)
      // One JSON parameter, which crosses to the database thread as a single string: what is many rows is an @each.
      .replace(ROWS, (_, param: string, list: string) => {
        // JSON already tells numbers from text, so the declared types serve PostgreSQL only.
        const fields = columns(list).map(({ name }) => `value->>'${name}' as ${name}`)
        return `(select ${fields.join(', ')} from json_each(${param}))`
      })
      // @rows would parse an object for each key: a report acknowledged took 4 µs in place of 3.
      .replace(KEYS, '(select value as key from json_each($1))')
      // The driver binds every number as a float, and a bucket is a quotient of whole numbers.
      .replace(NOW, 'cast($1 as integer)')
      .replaceAll('@least', 'min')
      .replaceAll('@json_text', 'json_quote')
      .replaceAll('@skip_locked', '')
      .replaceAll('@for_update', '')
      .replaceAll('@for_share', '')
      .replaceAll('@materialized', 'materialized')
      .replaceAll('@identity', 'integer primary key autoincrement')
      .replaceAll('@key', 'integer primary key')
      .replaceAll('@unlogged ', '')
      .replaceAll('@roomy', '')
      .replaceAll('@bytes', 'blob')
      // Of a bare parameter here SQLite plans by its value, and therefore anew at each run: more than half of a claim.
      .replace(/\blimit (\$\d+)/g, 'limit $1 + 0')
      // $1 is a named parameter in SQLite; ?1 is the numbered one.
      .replace(/\$(\d+)/g, '?$1')
  )
}

/**
 * A statement with @each runs once for so many rows, bound behind the parameters; what the last run does not bind is null.
 * One row a run would pay each time for what RETURNING and the sequence set up. Of an update of 50 rows each costs 7.0 µs
 * by runs of 16, 5.3 by 32 and 4.7 by 50, but a run is as long for a single one.
 */
export const EACH_ROWS = 32

/** Half of what it takes to write the rows as JSON, to parse them, and to parse each of them again for its columns. */
function bindEach(sql: string): string {
  return sql.replace(EACH, (_, list: string) => {
    const names = columns(list).map(({ name }, at) => `column${at + 1} as ${name}`)
    const from = lastParam(sql) + 1
    // Only the first by its number, which the others count on from: the driver asks for the name of each parameter that it
    // binds, and SQLite looks through all that have one. Numbered, a settle's update cost 12.7 µs a row in place of 7.0.
    const row = (first: string) => `(${names.map((_, column) => (column === 0 ? first : '?')).join(', ')})`
    const values = Array.from({ length: EACH_ROWS }, (_, at) => row(at === 0 ? `$${from}` : '?')).join(', ')
    // The first column of a given row is never null.
    return `(select ${names.join(', ')} from (values ${values}) where column1 is not null)`
  })
}

function lastParam(sql: string): number {
  return Math.max(0, ...[...sql.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number)))
}

/**
 * A bound that is none, and that the planner cannot know: it then reckons with 10 rows in place of 100. With 100 it looked up
 * each row of the index of claims among those given, and a settle of 50 cost the server 127 µs a row in place of 55.
 */
const FEW = 'limit (select 1000000000)'

function expandPostgres(sql: string, { clock }: DialectOptions): string {
  return (
    sql
      // All rows at once, an array a column behind the parameters.
      .replace(EACH, (_, list: string) => {
        const from = lastParam(sql) + 1
        const fields = columns(list)
        const arrays = fields.map(({ type }, at) => `$${from + at}::${type}[]`)
        const names = fields.map(({ name }) => name)
        return `(select * from unnest(${arrays.join(', ')}) as given(${names.join(', ')}) ${FEW})`
      })
      .replace(ROWS, (_, param: string, list: string) => {
        const fields = columns(list).map(({ name, type }) => `${name} ${type}`)
        return `(select * from json_to_recordset(${param}::json) as given(${fields.join(', ')}) ${FEW})`
      })
      .replace(KEYS, '(select value::bigint as key from json_array_elements_text($1::json))')
      // The parameter stays in the text, unread, so that both databases take the same list.
      .replace(
        NOW,
        clock === 'database'
          ? 'coalesce((extract(epoch from clock_timestamp()) * 1000)::bigint, $1::bigint)'
          : '$1::bigint',
      )
      .replaceAll('@least', 'least')
      .replaceAll('@json_text', 'to_json')
      .replaceAll('@skip_locked', 'for update skip locked')
      .replaceAll('@for_update', 'for update')
      .replaceAll('@for_share', 'for share')
      .replaceAll('@materialized', 'materialized')
      .replaceAll('@identity', 'bigint generated by default as identity primary key')
      .replaceAll('@key', 'bigint primary key')
      .replaceAll('@unlogged', 'unlogged')
      .replaceAll('@roomy', 'with (fillfactor = 50)')
      .replaceAll('@bytes', 'bytea')
  )
}
