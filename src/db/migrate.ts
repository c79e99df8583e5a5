/**
 * Brings a database to this code's schema. Migrations are append-only with the same numbers on both dialects; each is
 * one unit, so a crash between two leaves a whole older schema. A schema newer than the code is refused.
 */
import { ConfigError } from '../lib/errors.js'
import type { Db, Statement } from './db.js'
import { initial } from './migrations/001-initial.js'

/** The table that makes a SQLite file a backup (src/backup/file.ts). */
export const BACKUP_TABLE = 'backup'

const MIGRATIONS: readonly (readonly string[])[] = [initial]

export interface MigrationStatus {
  readonly current: number
  readonly latest: number
}

/** The schema of this version. */
export const LATEST_SCHEMA = MIGRATIONS.length

export async function migrationStatus(db: Db): Promise<MigrationStatus> {
  const latest = LATEST_SCHEMA
  const exists = await db.read(
    db.dialect === 'sqlite'
      ? { sql: "select 1 from sqlite_master where type = 'table' and name = 'meta'", params: [] }
      : { sql: "select 1 where to_regclass('meta') is not null", params: [] },
  )
  if (exists.length === 0) return { current: 0, latest }
  const [row] = await db.read({ sql: "select value from meta where key = 'schema_version'", params: [] })
  return { current: Number(row?.value ?? 0), latest }
}

/** Applies what is missing and answers the state afterwards. Several processes may call it at once. */
export async function migrate(db: Db): Promise<MigrationStatus> {
  let status = await migrationStatus(db)
  refuseNewer(status)
  if (await isBackup(db)) throw new ConfigError(BACKUP)
  if (status.current === 0 && (await hasForeignTables(db))) {
    // Unless another process has just made them.
    status = await migrationStatus(db)
    if (status.current === 0) throw new ConfigError(FOREIGN)
  }
  while (status.current < status.latest) {
    let failure: unknown
    await db.write(stepTo(db, status.current + 1)).catch(error => {
      failure = error
    })
    const next = await migrationStatus(db)
    // Another process was first with this step: ours failed on what it made.
    if (next.current <= status.current)
      throw failure ?? new Error(`migration ${status.current + 1} did not take effect`)
    status = next
  }
  return status
}

/** It holds the key, and it is older than the world: it comes back through `restore`, which takes care of both. */
const BACKUP =
  'this file is a backup and no database to serve: bring it back with `mail-proxy <instance> restore <file>`'

async function isBackup(db: Db): Promise<boolean> {
  if (db.dialect !== 'sqlite') return false
  const rows = await db.read({
    sql: "select 1 from sqlite_master where type = 'table' and name = $1",
    params: [BACKUP_TABLE],
  })
  return rows.length > 0
}

/** The predecessor's tables have the same names: filling in beside them would end in a mixture of both. */
const FOREIGN =
  'the database holds tables of another program (the Python mail-proxy?): give this service a database of its own with GMP_DB_PATH'

async function hasForeignTables(db: Db): Promise<boolean> {
  const rows = await db.read(
    db.dialect === 'sqlite'
      ? {
          sql: "select 1 from sqlite_master where type = 'table' and name in ('messages', 'tenants', 'accounts')",
          params: [],
        }
      : { sql: "select 1 where to_regclass('messages') is not null or to_regclass('tenants') is not null", params: [] },
  )
  return rows.length > 0
}

export function refuseNewer({ current, latest }: MigrationStatus): void {
  if (current <= latest) return
  throw new ConfigError(
    `the database has schema ${current}, newer than this version knows (${latest}): start the newer version of mail-proxy`,
  )
}

function stepTo(db: Db, version: number): Statement[] {
  const statements: Statement[] = []
  // Two processes starting at once: the second waits here, then fails on the version below and looks again.
  if (db.dialect === 'postgres') statements.push({ sql: 'select pg_advisory_xact_lock(7305829)', params: [] })
  if (version === 1)
    statements.push({ sql: 'create table if not exists meta (key text primary key, value text not null)', params: [] })
  for (const sql of MIGRATIONS[version - 1] ?? [])
    statements.push({ sql, params: [], answerWithinMs: Number.POSITIVE_INFINITY })
  statements.push({
    sql: `insert into meta (key, value) values ('schema_version', $1)
      on conflict (key) do update set value = excluded.value`,
    params: [String(version)],
  })
  return statements
}
