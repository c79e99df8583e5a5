/** A database opened for the length of one command. */
import { existsSync } from 'node:fs'
import type { Config } from '../config.js'
import { DatabaseUnavailable, type Db } from '../db/db.js'
import { openDatabase } from '../db/open.js'
import { createLogger } from '../lib/logger.js'
import { CliError } from './errors.js'

/** Opens, works and closes. `exclusive` is for what must not happen beside a running service. */
export async function withInstanceDatabase<T>(
  config: Config,
  { exclusive }: { readonly exclusive: boolean },
  work: (db: Db) => Promise<T>,
): Promise<T> {
  // A command's answer goes to stdout; what the database says of itself only disturbs there.
  const log = createLogger({ level: 'error', format: 'text', write: () => {} })
  try {
    const db = await openDatabase(config, { log, exclusive })
    try {
      return await work(db)
    } finally {
      await db.close()
    }
  } catch (error) {
    throw explainAway(error, config)
  }
}

/** Says which PostgreSQL does not answer: its driver tells only what befell the connection. */
export function explainAway(error: unknown, config: Pick<Config, 'database'>): unknown {
  if (!(error instanceof DatabaseUnavailable) || config.database.dialect === 'sqlite') return error
  const what = `the database ${showDatabase(config)} cannot be reached (${error.message})`
  return new CliError(`${what}: is its server up, and are address, user and password right?`, { cause: error })
}

/** False for a SQLite file that is yet to be made: a command that only looks must not make it. */
export function databaseMayExist({ database }: Config): boolean {
  return database.dialect === 'postgres' || existsSync(database.url)
}

/** The database's address without its password. */
export function showDatabase({ database }: Pick<Config, 'database'>): string {
  if (database.dialect === 'sqlite') return database.url
  const url = new URL(database.url)
  if (url.password !== '') url.password = '***'
  // Parameters may carry a password or a key's path too.
  url.search = ''
  return url.toString()
}
