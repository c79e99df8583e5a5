/** Fresh databases for tests: SQLite in a temporary folder, PostgreSQL as a database of one embedded server a run. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Db } from '../../src/db/db.js'
import { migrate } from '../../src/db/migrate.js'
import { openPostgres } from '../../src/db/postgres.js'
import { openSqlite } from '../../src/db/sqlite.js'
import { createPostgresDatabase } from './postgres-server.js'
import { silentLog } from './silent-log.js'

export interface TempDb {
  readonly db: Db
  readonly url: string
  /** Folder for files beside the database (journal, attachments). */
  readonly dir: string
  drop(): Promise<void>
}

export const dialects = ['sqlite', 'postgres'] as const

/** Migrated and empty. `clock: 'process'` lets a fake clock move @now on PostgreSQL too. */
export async function openTempDb(dialect: (typeof dialects)[number], { migrated = true } = {}): Promise<TempDb> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-'))
  const url = dialect === 'sqlite' ? join(dir, 'mail_service.db') : await createPostgresDatabase()
  const db =
    dialect === 'sqlite'
      ? await openSqlite(url)
      : await openPostgres(url, { clock: 'process', poolSize: 5, log: silentLog })
  if (migrated) await migrate(db)
  return {
    db,
    url,
    dir,
    async drop() {
      await db.close()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
