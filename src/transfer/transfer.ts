/**
 * Carries a whole SQLite database over to an empty PostgreSQL: ids, times, states and what is owed, in one transaction,
 * so that a transfer that ends half-way leaves nothing. The new database and, after it, the old one are marked: neither
 * sends before `--release`. The caller holds the lock of the source.
 */
import { CopyRefused } from '../backup/errors.js'
import { WAITING_SQL, type Waiting, waitingFrom } from '../backup/waiting.js'
import type { Db, Row } from '../db/db.js'
import { migrate, migrationStatus } from '../db/migrate.js'
import { loadPostgres, type RunStatement } from '../db/postgres-load.js'
import { needRelease, needReleaseStatement, releaseNeeded } from '../queue/release-mark.js'
import { copyTable, type Digest } from './copy-table.js'
import type { Column, Side } from './read-pages.js'
import { LEFT_BEHIND, TABLES } from './tables.js'

export interface TransferOptions {
  /** PostgreSQL URL of the target. */
  readonly to: string
  /** The two databases as the marks call them, without passwords. */
  readonly sourceName: string
  readonly targetName: string
  readonly now: Date
  /** Told as rows arrive. */
  progress(table: string, rows: number, of: number): void
}

export interface Transferred extends Waiting {
  readonly rows: number
  readonly tables: Readonly<Record<string, Digest>>
}

/** `target`: the same database as `to`. Throws CopyRefused when one of the two is not as it must be. */
export async function transfer(source: Db, target: Db, options: TransferOptions): Promise<Transferred> {
  const { to, sourceName, targetName, now } = options
  await checkSource(source, sourceName)
  await migrate(target)
  const before = await releaseNeeded(source)
  const at = now.toISOString()
  const done = await loadPostgres(to, async run => {
    await lockAndCheckEmpty(run, targetName)
    const digests = await copyAll(source, run, options)
    await goOnCounting(source, run)
    // Claims that a crash left: the file with the source's doubts does not travel, so all of them are in doubt.
    await run({ sql: "update leases set until = 0, epoch = 'transferred'", params: [] })
    await run(
      needReleaseStatement(
        `its rows were transferred at ${at} from ${sourceName}, which must not send any more${before === null ? '' : `; before that: ${before}`}`,
      ),
    )
    const waiting = waitingFrom((await run({ sql: WAITING_SQL, params: [] }))[0])
    await run({ sql: `analyze ${TABLES.map(({ name }) => name).join(', ')}`, params: [] })
    return { tables: digests, ...waiting }
  })
  // In this order: a crash in between leaves the old database as it was and the new one marked, so that one sends.
  const reason = `its rows were transferred at ${at} to ${targetName}, which goes on in its place: release this one only when that one is given up`
  await needRelease(source, reason).catch(error => {
    throw new Error(`all rows are in ${targetName}, but ${sourceName} could not be marked: never start it again`, {
      cause: error,
    })
  })
  return { rows: Object.values(done.tables).reduce((sum, { rows }) => sum + rows, 0), ...done }
}

async function checkSource(source: Db, name: string): Promise<void> {
  const { current, latest } = await migrationStatus(source)
  if (current === 0) throw new CopyRefused(`${name} holds no tables of mail-proxy yet`)
  if (current > latest) {
    throw new CopyRefused(
      `${name} has schema ${current}, newer than this version knows (${latest}): use the newer version`,
    )
  }
  if (current < latest) {
    throw new CopyRefused(`${name} has schema ${current} and this version needs ${latest}: run \`migrate\` first`)
  }
  const rows = await source.read({
    sql: "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'",
    params: [],
  })
  const known = new Set<string>([...TABLES.map(table => table.name), ...LEFT_BEHIND])
  const unknown = rows.map(row => row.name as string).filter(table => !known.has(table))
  if (unknown.length > 0) throw new CopyRefused(`${name} has tables that are not mail-proxy's: ${unknown.join(', ')}`)
}

async function lockAndCheckEmpty(run: RunStatement, name: string): Promise<void> {
  const names = [...TABLES.map(table => table.name), ...LEFT_BEHIND]
  // Whoever starts on it meanwhile waits and then finds the transferred rows, or gives up after GMP_DB_TIMEOUT.
  await run({ sql: `lock table ${names.join(', ')} in exclusive mode`, params: [] })
  for (const table of names) {
    const only = table === 'meta' ? `where "key" <> 'schema_version'` : ''
    const rows = await run({ sql: `select 1 from ${table} ${only} limit 1`, params: [] })
    if (rows.length > 0) {
      throw new CopyRefused(
        `${name} is not empty (there are rows in ${table}): give a database that was just made, and start nothing on it before`,
      )
    }
  }
}

async function copyAll(source: Db, run: RunStatement, { progress }: TransferOptions): Promise<Record<string, Digest>> {
  const from: Side = { dialect: 'sqlite', read: statement => source.read(statement) }
  const into: Side = { dialect: 'postgres', read: run }
  const digests: Record<string, Digest> = {}
  for (const table of TABLES) {
    const [total] = await source.read({ sql: `select count(*) as n from ${table.name}`, params: [] })
    let rows = 0
    digests[table.name] = await copyTable(from, into, table, await columnsOf(run, table.name), page => {
      rows += page
      progress(table.name, rows, Number(total?.n))
    })
  }
  return digests
}

/** Of the target: the source's must have the same, or reading them fails. */
async function columnsOf(run: RunStatement, table: string): Promise<Column[]> {
  const rows = await run({
    sql: `select column_name as name, data_type as type from information_schema.columns
      where table_schema = current_schema() and table_name = $1 order by ordinal_position`,
    params: [table],
  })
  return rows as unknown as Column[]
}

/** Keys go on after the highest that was ever given, also where its row is gone: none is given twice. */
async function goOnCounting(source: Db, run: RunStatement): Promise<void> {
  const rows: Row[] = await source.read({ sql: 'select name, seq from sqlite_sequence where seq > 0', params: [] })
  for (const { name, seq } of rows) {
    const key = TABLES.find(table => table.name === name)?.key[0]
    if (key === undefined) continue
    await run({
      sql: 'select setval(pg_get_serial_sequence($1, $2), $3)',
      params: [name as string, key, Number(seq)],
    })
  }
}
