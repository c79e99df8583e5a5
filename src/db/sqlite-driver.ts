/**
 * Opens SQLite through the runtime's own node:sqlite where it comes without a warning (Node 24 and later) and is new enough,
 * else through @photostructure/sqlite, which has the same API and ships its binary inside the package.
 */

import type { Param } from './db.js'

export interface SqliteStatement {
  all(...params: readonly Param[]): Record<string, unknown>[]
}

/** Answers each row as an array. */
export interface SqliteArrayStatement {
  all(...params: readonly Param[]): unknown[][]
  columns(): readonly { readonly name: string }[]
}

export interface SqliteConnection {
  exec(sql: string): void
  prepare(sql: string): SqliteStatement
  close(): void
}

/** SQLite's answer to `pragma wal_checkpoint`, in pages. */
export interface Checkpoint {
  /** 1: another makes one. */
  readonly busy: number
  readonly log: number
  /** Of the log, those that are in the database. */
  readonly checkpointed: number
}

/** `noop`: makes none, and tells the same. */
export function prepareCheckpoint(connection: SqliteConnection, mode: 'passive' | 'noop'): () => Checkpoint {
  const statement = connection.prepare(`pragma wal_checkpoint(${mode})`)
  return () => statement.all()[0] as unknown as Checkpoint
}

interface SqliteModule {
  DatabaseSync: new (path: string, options: { readOnly: boolean }) => SqliteConnection
}

export async function openDriver(path: string, readOnly: boolean): Promise<SqliteConnection> {
  const { DatabaseSync } = await loadModule()
  return new DatabaseSync(path, { readOnly })
}

export function prepareArrays(connection: SqliteConnection, sql: string): SqliteArrayStatement {
  const statement = connection.prepare(sql) as unknown as SqliteArrayStatement & { setReturnArrays(on: boolean): void }
  statement.setReturnArrays(true)
  return statement
}

async function loadModule(): Promise<SqliteModule> {
  const major = Number(process.versions.node.split('.')[0])
  // A variable, so that the compiler does not look for types that Node 20's do not have.
  const builtIn = 'node:sqlite'
  const isGood = major >= 24 && keepsLog(process.versions.sqlite)
  return (await import(isGood ? builtIn : '@photostructure/sqlite')) as SqliteModule
}

/**
 * Whether this SQLite loses nothing when one connection copies the log while another begins it anew, as our threads and
 * commands may: from 3.51.3 on (https://sqlite.org/wal.html#walresetbug).
 */
export function keepsLog(version: string | undefined): boolean {
  const [major = 0, minor = 0, patch = 0] = (version ?? '').split('.').map(Number)
  return major * 1e6 + minor * 1e3 + patch >= 3_051_003
}
