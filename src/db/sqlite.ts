/**
 * SQLite behind the Db port: one writer thread (group commit, see sqlite-worker.ts) and one reader thread on the same
 * WAL, so that a long listing does not hold up the queue; who shortens the WAL is in sqlite-checkpoints.ts. One process owns
 * the file, proved by lockAlone().
 */
import { accessSync, constants, existsSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { remember } from '../lib/remember.js'
import { whenTurnEnds } from '../lib/turn-end.js'
import {
  ConstraintViolated,
  DatabaseFull,
  DatabaseTaken,
  DatabaseUnavailable,
  type Db,
  type Param,
  type Row,
  type Rows,
  SealingKeyChanged,
  type Statement,
} from './db.js'
import { createExpander, EACH_ROWS, eachColumns } from './dialect.js'
import { isKeyFence } from './key-fence.js'
import { SqliteCode, sqliteCode } from './sqlite-code.js'
import { openDriver, type SqliteConnection } from './sqlite-driver.js'
import type { WireAnswer, WireFailure, WireRequest, WireRows, WireStatement, WireUnit } from './sqlite-worker.js'

/** Opens (and creates) the file. Rejects with a sentence when it cannot be opened. */
export async function openSqlite(path: string): Promise<Db> {
  const writer = await startThread(path, false)
  const reader = await startThread(path, true).catch(async error => {
    await writer.close()
    throw error
  })
  const records = createRecordsVersion()
  const write = (unit: readonly Statement[]) => records.count(unit, writer.run(unit))
  return {
    dialect: 'sqlite',
    write,
    writeRelaxed: write,
    read: async statement => (await reader.run([statement]))[0] ?? [],
    recordsVersion: records.current,
    notify: () => {},
    onNotify: () => {},
    async close() {
      await reader.close()
      await writer.close()
    },
  }
}

/** By its text, whether a statement writes tenants or accounts. Those that go by cascade go with their tenant. */
const WRITES_RECORDS = /\b(?:update|insert\s+into|delete\s+from)\s+(?:tenants|accounts)\b/i

function createRecordsVersion() {
  const writesRecords = remember(sql => WRITES_RECORDS.test(sql))
  let version = 0
  return {
    current: () => version,
    count<T>(unit: readonly Statement[], written: Promise<T>): Promise<T> {
      if (!unit.some(({ sql }) => writesRecords(sql))) return written
      version += 1
      return written.finally(() => {
        version += 1
      })
    },
  }
}

/** Times that the lock is tried, and the pause between two, random up to this many milliseconds. */
const LOCK_TRIES = 6
const LOCK_PAUSE_MS = 50

/**
 * Proves that no other process serves this database, by an exclusive transaction on a sidecar SQLite file: the kernel
 * drops the lock with the process, however it ends, so a crash leaves nothing to clean up. Rejects when it is taken.
 */
export async function lockAlone(path: string): Promise<{ release(): void }> {
  // Two that start at once may refuse each other: one has reserved the file, and the other's look at it keeps it from more.
  for (let tries = 1; ; tries++) {
    try {
      return await tryLockAlone(path)
    } catch (error) {
      if (!(error instanceof DatabaseTaken) || tries === LOCK_TRIES) throw error
      await pause(Math.random() * LOCK_PAUSE_MS)
    }
  }
}

async function tryLockAlone(path: string): Promise<{ release(): void }> {
  const file = `${path}-lock`
  let connection: SqliteConnection | undefined
  try {
    // Of a file that it may only read SQLite says that the transaction is exclusive, and lets others have it too.
    if (existsSync(file)) accessSync(file, constants.W_OK)
    connection = await openDriver(file, false)
    connection.exec('pragma locking_mode = exclusive; begin exclusive')
  } catch (cause) {
    connection?.close()
    const code = sqliteCode(cause)
    // Anything else, as a file that cannot be written or a full disk, is not another process.
    if (code !== SqliteCode.busy && code !== SqliteCode.locked) {
      const { message } = cause as Error
      throw new Error(`${path} cannot be served: its lock file has to be one that this user may write (${message})`, {
        cause,
      })
    }
    const todo = 'stop that one first, or wait where it is a command at work'
    throw new DatabaseTaken(`${path} is already served by another process: ${todo}`, { cause })
  }
  const held = connection
  return { release: () => held.close() }
}

interface Thread {
  run(unit: readonly Statement[]): Promise<Row[][]>
  close(): Promise<void>
}

// Tests load the sources; a thread needs JavaScript, so they use the built worker.
const workerUrl = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/db/sqlite-worker.js' : './sqlite-worker.js',
  import.meta.url,
)

/** Who waits for the answer to a unit. */
interface Waiting {
  readonly id: number
  resolve(rows: Row[][]): void
  reject(error: Error): void
}

/** What this side knows of a query's text. */
interface Known {
  readonly number: number
  readonly each: readonly string[] | null
}

function startThread(path: string, readOnly: boolean): Promise<Thread> {
  const expand = createExpander('sqlite', { clock: 'process' })
  return new Promise((resolve, reject) => {
    const worker = new Worker(workerUrl, { workerData: { path, readOnly } })
    /** In the order of their ids, as a rule also that of their answers. A Map would hold on to them (docs/decisions/0053). */
    const waiting: Waiting[] = []
    const known = new Map<string, Known>()
    let define: { sql: number; text: string }[] = []
    let units: WireUnit[] = []
    let nextUnit = 1
    let flushing = false
    let closed = false

    const fail = (error: Error) => {
      closed = true
      reject(error)
      for (const each of waiting.splice(0)) each.reject(new DatabaseUnavailable(error.message, { cause: error }))
    }
    worker.once('message', (opened: WireFailure | null) => {
      if (opened !== null) return reject(asError(opened, path))
      worker.on('message', (answers: WireAnswer[]) => {
        for (const answer of answers) settle(answer)
      })
      resolve({ run, close })
    })
    worker.on('error', fail)
    worker.on('exit', () => fail(new Error('the database is closed')))

    const settle = (answer: WireAnswer) => {
      const at = waiting.findIndex(({ id }) => id === answer.id)
      const [each] = waiting.splice(at, at === -1 ? 0 : 1)
      if ('results' in answer) each?.resolve(answer.results.map(asRows))
      else each?.reject(asError(answer.error, path))
    }

    const flush = () => {
      flushing = false
      const request: WireRequest = define.length > 0 ? { define, units } : { units }
      define = []
      units = []
      worker.postMessage(request)
    }

    const run = (unit: readonly Statement[]): Promise<Row[][]> => {
      if (closed) return Promise.reject(new DatabaseUnavailable('the database is closed'))
      const id = nextUnit++
      units.push({ id, statements: unit.map(toWire) })
      if (!flushing) {
        flushing = true
        // One message a turn of the event loop: each costs the thread a wake-up of some 20 µs.
        whenTurnEnds(flush)
      }
      return new Promise((resolve, reject) => waiting.push({ id, resolve, reject }))
    }

    const toWire = ({ sql: text, params, rows }: Statement): WireStatement => {
      const { number: sql, each } = knownOf(text)
      if (each === null || rows === undefined) return { sql, params }
      return { sql, params, runs: inRuns(rows, each) }
    }

    const knownOf = (text: string): Known => {
      let found = known.get(text)
      if (found === undefined) {
        found = { number: known.size, each: eachColumns(text)?.map(({ name }) => name) ?? null }
        known.set(text, found)
        define.push({ sql: found.number, text: expand(text) })
      }
      return found
    }

    const close = async () => {
      if (closed) return
      if (flushing) flush()
      closed = true
      const ended = new Promise<void>(done => worker.once('exit', () => done()))
      const last: WireRequest = { units: [], close: true }
      worker.postMessage(last)
      await ended
    }
  })
}

/** The values of EACH_ROWS rows, in the last run of those that are left, behind each other: pushed, for what WireRows tells. */
function inRuns(rows: Rows, columns: readonly string[]): Param[][] {
  const runs: Param[][] = []
  for (let from = 0; from < rows.length; from += EACH_ROWS) {
    const to = Math.min(rows.length, from + EACH_ROWS)
    const values: Param[] = []
    for (let at = from; at < to; at += 1) {
      const row = rows[at]!
      for (const column of columns) values.push(row[column] ?? null)
    }
    runs.push(values)
  }
  return runs
}

/**
 * With the columns' names in each row a claim would take twice as long to copy and to read. A row of many columns becomes a copy
 * of an object that has them all: given them one by one it becomes a dictionary, which takes 1 KB in place of 200 bytes and is
 * slow at each look.
 */
function asRows({ columns, values }: WireRows): Row[] {
  const empty = columns.length <= FEW_COLUMNS ? null : withAll(columns)
  const rows: Row[] = []
  for (let from = 0; from < values.length; from += columns.length) {
    const row: Row = empty === null ? {} : { ...empty }
    for (let at = 0; at < columns.length; at += 1) row[columns[at]!] = values[from + at]
    rows.push(row)
  }
  return rows
}

const FEW_COLUMNS = 12

function withAll(columns: readonly string[]): Row {
  return JSON.parse(`{${columns.map(column => `${JSON.stringify(column)}:null`).join(',')}}`) as Row
}

const IN_USE = 'another program has a transaction open on it, and has to end that'
const NOT_WRITABLE = 'the files of the database, their directory and its file system have to let this user write'
const DISK =
  'its disk has to work and must not be mounted read-only, and its files have to be allowed to grow (ulimit -f)'
/** What passes by itself or once somebody mends it. */
const PASSING = new Map<number, string>([
  [SqliteCode.busy, IN_USE],
  [SqliteCode.locked, IN_USE],
  [SqliteCode.readOnly, NOT_WRITABLE],
  [SqliteCode.ioError, DISK],
  [SqliteCode.cannotOpen, NOT_WRITABLE],
])

function asError({ message, code }: WireFailure, path: string): Error {
  if (code === SqliteCode.full) return new DatabaseFull(message)
  if (code === SqliteCode.constraint)
    return isKeyFence(message) ? new SealingKeyChanged(message) : new ConstraintViolated(message)
  const todo = code === null ? undefined : PASSING.get(code)
  return todo === undefined ? new Error(message) : new DatabaseUnavailable(`${path}: ${message}: ${todo}`)
}
