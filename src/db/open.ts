/** Opens the database that the configuration names. On SQLite the process proves first that it is alone. */
import { closeSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Config } from '../config.js'
import { makeDirectory } from '../lib/directory.js'
import { ConfigError } from '../lib/errors.js'
import type { Log } from '../lib/log.js'
import type { Db } from './db.js'
import { lockAlone, openSqlite } from './sqlite.js'

export interface OpenOptions {
  readonly log: Log
  /** True for a service; false for a command that only looks or changes a record beside a running service. */
  readonly exclusive: boolean
  /** `process` in tests that move the time; see dialect.ts. */
  readonly clock?: 'database' | 'process'
}

export async function openDatabase(config: Pick<Config, 'database'>, options: OpenOptions): Promise<Db> {
  const { url, dialect, poolSize, answerTimeoutMs } = config.database
  if (dialect === 'postgres') {
    // Loaded where it is needed: the driver takes 60 ms, which every command would pay.
    const { openPostgres } = await import('./postgres.js')
    return openPostgres(url, { poolSize, answerTimeoutMs, log: options.log, clock: options.clock ?? 'database' })
  }
  makeDirectory(dirname(url), 'the directory of the database (GMP_DB_PATH)')
  makePrivateFile(url)
  const lock = options.exclusive ? await lockAlone(url) : null
  try {
    const db = await openSqlite(url)
    return {
      ...db,
      async close() {
        await db.close()
        lock?.release()
      },
    }
  } catch (error) {
    lock?.release()
    throw error
  }
}

/** Messages are nobody else's to read, whatever the folder lets through; SQLite's other files take over the mode. */
function makePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'a', 0o600))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const todo = 'it has to be a file that this user may write'
    throw new ConfigError(`the database (GMP_DB_PATH): ${path} cannot be opened (${code}): ${todo}`, { cause: error })
  }
}
