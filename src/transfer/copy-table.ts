/** Copies one table, page by page, and proves each page: what the target gives back is compared with what was read. */
import { createHash } from 'node:crypto'
import { type Row, rowsParam } from '../db/db.js'
import { type Column, nextRange, type Range, readRange, type Side } from './read-pages.js'
import { quoted, type Table } from './tables.js'

/** Two tables with the same have the same rows. */
export interface Digest {
  readonly rows: number
  readonly sha256: string
}

/** `copied` is told how many rows each page brought. Throws when the target does not hold what was read. */
export async function copyTable(
  source: Side,
  target: Side,
  table: Table,
  columns: readonly Column[],
  copied: (rows: number) => void,
): Promise<Digest> {
  const read = createHash('sha256')
  const written = createHash('sha256')
  let rows = 0
  let range: Range | null = null
  for (;;) {
    range = await nextRange(source, table, columns, range?.upTo ?? null)
    if (range === null) break
    const page = await readRange(source, table, columns, range)
    await insert(target, table, columns, page)
    absorb(read, columns, page)
    absorb(written, columns, await readRange(target, table, columns, range))
    rows += page.length
    copied(page.length)
  }
  const digest = read.digest('hex')
  const [counted] = await target.read({
    sql: `select count(*) as n from ${table.name} ${table.only === undefined ? '' : `where ${table.only}`}`,
    params: [],
  })
  if (written.digest('hex') !== digest || Number(counted?.n) !== rows) {
    throw new Error(`the rows of ${table.name} arrived altered: ${Number(counted?.n)} of ${rows} are there`)
  }
  return { rows, sha256: digest }
}

async function insert(target: Side, table: Table, columns: readonly Column[], page: readonly Row[]): Promise<void> {
  // Octets have no form of their own in JSON.
  const given = columns.map(({ name, type }) => `"${name}" ${type === 'bytea' ? 'text' : type}`).join(', ')
  const taken = columns.map(({ name, type }) => (type === 'bytea' ? `decode("${name}", 'base64')` : `"${name}"`))
  const statement = {
    sql: `insert into ${table.name} (${quoted(columns.map(({ name }) => name))})
      select ${taken.join(', ')} from @rows($1: ${given}) page`,
    params: [rowsParam(page.map(row => mapBytes(row, bytes => Buffer.from(bytes).toString('base64'))))],
  }
  await target.read(statement).catch(error => {
    throw new Error(`the rows of ${table.name} were not taken: ${(error as Error).message}`, { cause: error })
  })
}

function absorb(hash: ReturnType<typeof createHash>, columns: readonly Column[], page: readonly Row[]): void {
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
  for (const row of page) {
    const plain = mapBytes(row, digest)
    hash.update(`${JSON.stringify(columns.map(({ name }) => plain[name] ?? null))}\n`)
  }
}

function mapBytes(row: Row, map: (bytes: Uint8Array) => string): Row {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, value instanceof Uint8Array ? map(value) : value]),
  )
}
