/**
 * The thread that owns one SQLite connection. Units that arrive together share one COMMIT (group commit: one fsync for
 * all) and are answered after it; a failed COMMIT fails them all. Of one that fails nothing stands, and the others run once
 * more without it: that is rare, and a savepoint each made SQLite keep what each page had been before each unit.
 * Loaded by path from sqlite.ts; speaks only the messages below. The first one says whether the file could be opened: null,
 * or a WireFailure, after which the thread ends.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { Param } from './db.js'
import { type Checkpoints, createCheckpoints } from './sqlite-checkpoints.js'
import { SqliteCode, sqliteCode } from './sqlite-code.js'
import { openDriver, prepareArrays, type SqliteArrayStatement, type SqliteConnection } from './sqlite-driver.js'

/** Statements go by number, so that a query's text crosses to the thread once. */
export interface WireStatement {
  readonly sql: number
  readonly params: readonly Param[]
  /** Of @each: the statement runs once for each, with these values behind the params. */
  readonly runs?: readonly (readonly Param[])[]
}
export interface WireUnit {
  readonly id: number
  readonly statements: readonly WireStatement[]
}
export interface WireRequest {
  readonly define?: readonly { readonly sql: number; readonly text: string }[]
  readonly units: readonly WireUnit[]
  /** Set on the last request: the connection is closed and the thread ends. */
  readonly close?: boolean
}
/**
 * All values of all rows behind each other. In an array made to its length at once, as the driver's rows are, V8 writes and
 * reads each value as a property with its key: of a claimed row 1.7 and 3.0 µs in place of 0.4 and 0.6.
 */
export interface WireRows {
  readonly columns: readonly string[]
  readonly values: readonly unknown[]
}
export interface WireFailure {
  readonly message: string
  /** SQLite's primary result code; null: no failure of SQLite. */
  readonly code: number | null
}
export type WireAnswer =
  | { readonly id: number; readonly results: readonly WireRows[] }
  | { readonly id: number; readonly error: WireFailure }

interface Prepared {
  readonly statement: SqliteArrayStatement
  /** Read when it first answers rows. */
  columns: readonly string[]
}

const NO_ROWS: WireRows = { columns: [], values: [] }
const ONCE = [[]]

/** One transaction holds at most this many units: the answer to the first must not wait for an endless stream. */
const MAX_UNITS_PER_COMMIT = 2_000

/** How long a lock of another program is waited for, ms. */
const LOCK_WAIT_MS = 5_000

const { path, readOnly } = workerData as { path: string; readOnly: boolean }
const port = parentPort as MessagePort
const texts = new Map<number, string>()
const prepared = new Map<number, Prepared>()
/** When a lock had been waited for in vain, monotonic ms; null: the next one is waited for. */
let inVainSince: number | null = null
let db: SqliteConnection
let checkpoints: Checkpoints | null = null
try {
  db = await open()
  if (!readOnly) checkpoints = createCheckpoints(db, path)
  port.on('message', (request: WireRequest) => serve(request))
  port.postMessage(null)
} catch (error) {
  port.postMessage(failureOf(error))
}

async function open(): Promise<SqliteConnection> {
  const connection = await openDriver(path, readOnly)
  if (readOnly) {
    connection.exec(`pragma busy_timeout = ${LOCK_WAIT_MS}; pragma query_only = on`)
  } else {
    // page_size before the first table: 8 KB pages hold a 2 KB message without overflow pages (20 % faster inserts).
    // temp_store: what a statement may have to undo would stand in a file that is made and removed for it.
    connection.exec(`
      pragma page_size = 8192;
      pragma busy_timeout = ${LOCK_WAIT_MS};
      pragma journal_mode = wal;
      pragma synchronous = full;
      pragma foreign_keys = on;
      pragma cache_size = -24576;
      pragma temp_store = memory;
      pragma journal_size_limit = 67108864;
    `)
  }
  return connection
}

function serve(first: WireRequest): void {
  const units: WireUnit[] = []
  let close = take(first, units)
  while (!close && units.length < MAX_UNITS_PER_COMMIT) {
    const more = receiveMessageOnPort(port) as { message: WireRequest } | undefined
    if (more === undefined) break
    close = take(more.message, units)
  }
  if (units.length > 0) port.postMessage(readOnly ? units.map(runAlone) : runTogether(units))
  if (close) void end()
  else if (units.length > 0) checkpoints?.committed()
}

async function end(): Promise<void> {
  await checkpoints?.close()
  prepared.clear()
  db.close()
  port.close()
}

function take(request: WireRequest, units: WireUnit[]): boolean {
  for (const { sql, text } of request.define ?? []) texts.set(sql, text)
  for (const unit of request.units) units.push(unit)
  return request.close === true
}

function runTogether(units: readonly WireUnit[]): WireAnswer[] {
  const answers: WireAnswer[] = []
  try {
    begin()
  } catch (error) {
    return units.map(unit => failed(unit, error))
  }
  for (const unit of units) {
    try {
      answers.push({ id: unit.id, results: unit.statements.map(run) })
    } catch (error) {
      // Disk full and I/O errors roll all of it back by themselves, and would again.
      if (!rollback()) return units.map(each => failed(each, error))
      return [failed(unit, error), ...runTogether(units.filter(each => each !== unit))]
    }
  }
  try {
    db.exec('commit')
  } catch (error) {
    rollback()
    return units.map(unit => failed(unit, error))
  }
  return answers
}

/**
 * After a lock that was waited for in vain the next ones are not waited for, for as long: of all who want to write each would
 * wait its own time after the one before it. Then again, for a try that does not wait may always meet one of many short locks.
 */
function begin(): void {
  if (inVainSince !== null && performance.now() - inVainSince >= LOCK_WAIT_MS) waitForLocks()
  try {
    db.exec('begin immediate')
  } catch (error) {
    if (inVainSince === null && sqliteCode(error) === SqliteCode.busy) {
      inVainSince = performance.now()
      db.exec('pragma busy_timeout = 0')
    }
    throw error
  }
  if (inVainSince !== null) waitForLocks()
}

function waitForLocks(): void {
  inVainSince = null
  db.exec(`pragma busy_timeout = ${LOCK_WAIT_MS}`)
}

/** Whether there was something to roll back. */
function rollback(): boolean {
  try {
    db.exec('rollback')
    return true
  } catch {
    return false
  }
}

function runAlone(unit: WireUnit): WireAnswer {
  try {
    return { id: unit.id, results: unit.statements.map(run) }
  } catch (error) {
    return failed(unit, error)
  }
}

function run({ sql, params, runs = ONCE }: WireStatement): WireRows {
  const known = prepared.get(sql) ?? prepare(sql)
  const { statement } = known
  const values: unknown[] = []
  let width = 0
  for (const more of runs) {
    for (const row of statement.all(...params, ...more)) {
      width = row.length
      for (const value of row) values.push(value)
    }
  }
  if (width === 0) return NO_ROWS
  // The columns of a `*` change with the schema.
  if (known.columns.length !== width) known.columns = statement.columns().map(({ name }) => name)
  return { columns: known.columns, values }
}

function prepare(sql: number): Prepared {
  const known = { statement: prepareArrays(db, texts.get(sql) ?? ''), columns: [] }
  prepared.set(sql, known)
  return known
}

function failed(unit: WireUnit, error: unknown): WireAnswer {
  return { id: unit.id, error: failureOf(error) }
}

function failureOf(error: unknown): WireFailure {
  return { message: (error as Error).message, code: sqliteCode(error) }
}
