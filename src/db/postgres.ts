/**
 * PostgreSQL behind the Db port: a pool for units and reads (postgres-unit.ts), one connection for LISTEN/NOTIFY.
 */
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { Log } from '../lib/log.js'
import { remember } from '../lib/remember.js'
import { DatabaseFull, DatabaseUnavailable, type Db, type Row, SealingKeyChanged, type Statement } from './db.js'
import { createExpander, type DialectOptions, eachColumns } from './dialect.js'
import { isKeyFence } from './key-fence.js'
import { asArrays } from './postgres-arrays.js'
import { runUnit } from './postgres-unit.js'

const CHANNEL = 'gmp_wake'
/** A deadlock or a serialization failure undid the unit wholly; the same unit may simply be sent again. */
const UNDONE = new Set(['40001', '40P01'])
const MAX_TRIES = 8
const NOT_NULL = '23502'
/** By any number that no other advisory lock has. */
const ONE_AT_A_TIME: Statement = { sql: 'select pg_advisory_xact_lock(7304112)', params: [] }
/** Of its transaction alone, which SET LOCAL would refuse: it is none that BEGIN began. */
const RELAXED: Statement = { sql: "select set_config('synchronous_commit', 'off', true)", params: [] }

/**
 * Plans are cached by name, often from a time when the tables were small or not yet analysed, and then a sequential scan
 * or a hash of the whole table stays for as long as the connection lives. Every statement here is a lookup of a few rows
 * through an index: this says so. Without it end to end fell from 1,670 to 530 messages/s as the table grew (measured).
 */
const PLANNER = ['seqscan', 'hashjoin', 'mergejoin', 'bitmapscan']
  .map(way => `-c enable_${way}=off`)
  .concat('-c jit=off')

/** A path that was cut is noticed on this side too after some 20 s, where nothing is being waited for. */
const KEPT_ALIVE = { keepAlive: true, keepAliveInitialDelayMillis: 10_000 }

/** How long connecting may take at most. */
const CONNECT_MS = 10_000

/** How long a stop waits for farewells: over a path that was cut there is none. */
const CLOSE_MS = 1_000

/** A unit leaves in one write. Should the line be cut in the middle of it, its rows are free again after some 10 s. */
const CUT_OFF = ['-c tcp_keepalives_idle=4', '-c tcp_keepalives_interval=2', '-c tcp_keepalives_count=3']

export interface PostgresOptions extends DialectOptions {
  readonly poolSize: number
  /** How long an answer may take, 60 s unless given. */
  readonly answerTimeoutMs?: number
  readonly log: Log
}

pg.types.setTypeParser(pg.types.builtins.INT8, Number)
pg.types.setTypeParser(pg.types.builtins.NUMERIC, Number)

export async function openPostgres(url: string, options: PostgresOptions): Promise<Db> {
  const expand = createExpander('postgres', options)
  const columnsOf = remember(sql => eachColumns(sql) ?? [])
  const limitMs = options.answerTimeoutMs ?? 60_000
  const connectMs = Math.min(limitMs, CONNECT_MS)
  const pool = new pg.Pool({
    connectionString: url,
    max: options.poolSize,
    ...KEPT_ALIVE,
    connectionTimeoutMillis: connectMs,
    application_name: 'genro-mail-proxy',
    options: [...PLANNER, ...CUT_OFF].join(' '),
  })
  pool.on('connect', client => {
    // A lent connection tells its death to whoever waits for an answer; without a listener it would also be uncaught.
    client.on('error', () => {})
  })
  // Without a listener an idle connection that dies would end the process.
  pool.on('error', error => options.log.warning(`PostgreSQL connection lost: ${error.message}`))
  const listener = createListener(url, connectMs, options.log)

  const run = async (unit: readonly Statement[]): Promise<Row[][]> => {
    // Before there is a connection: what cannot be sent at all says nothing of the database.
    const sent = unit.map(({ sql, params, rows }) => ({
      sql: expand(sql),
      params: rows === undefined ? params : [...params, ...asArrays(columnsOf(sql), rows)],
    }))
    const client = await connect(pool)
    let broken: Error | undefined
    try {
      return await within(runUnit(client, sent), limitOf(unit, limitMs))
    } catch (error) {
      const known = asError(error)
      // A connection whose state is unknown is thrown away; after an error of the database it is as before the unit.
      if (known instanceof DatabaseUnavailable && !(known instanceof SealingKeyChanged)) broken = known
      throw known
    } finally {
      client.release(broken)
    }
  }

  // Undone units that begin anew at once would undo each other again: one at a time they come through.
  const write = (first: readonly Statement[], unit: readonly Statement[]): Promise<Row[][]> =>
    again(async isRepeat => {
      const before = isRepeat ? [...first, ONE_AT_A_TIME] : first
      return (await run([...before, ...unit])).slice(before.length)
    })

  return {
    dialect: 'postgres',
    write: unit => write([], unit),
    writeRelaxed: unit => write([RELAXED], unit),
    read: async statement => (await run([statement]))[0]!,
    recordsVersion: () => null,
    notify(payload) {
      run([{ sql: 'select pg_notify($1, $2)', params: [CHANNEL, payload] }]).catch(() => {
        // A hint: the others find the work by polling.
      })
    },
    onNotify: heard => listener.listen(heard),
    async close() {
      await Promise.race([Promise.all([listener.close(), pool.end()]), pause(CLOSE_MS, null, { ref: false })])
    },
  }
}

function limitOf(unit: readonly Statement[], limitMs: number): number {
  const own = unit.flatMap(({ answerWithinMs }) => answerWithinMs ?? [])
  return own.includes(Number.POSITIVE_INFINITY) ? Number.POSITIVE_INFINITY : Math.min(limitMs, ...own)
}

/**
 * Rejects when there is no answer in time: half-open, a connection would keep its unit waiting for as long as the system
 * tries, a quarter of an hour, and a lease with it. Whether the unit was applied nobody knows then, as with any that breaks.
 */
function within<T>(answer: Promise<T>, limitMs: number): Promise<T> {
  if (limitMs === Number.POSITIVE_INFINITY) return answer
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`PostgreSQL did not answer within ${limitMs / 1000} s: connection timeout`))
    const timer = setTimeout(late, limitMs)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

async function again<T>(work: (isRepeat: boolean) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work(tries > 1)
    } catch (error) {
      const code = (error as { cause?: { code?: string } }).cause?.code
      if (tries >= MAX_TRIES || code === undefined || !UNDONE.has(code)) throw error
    }
  }
}

async function connect(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect()
  } catch (error) {
    throw asError(error, true)
  }
}

/** SQLSTATE classes of a server that is away, going away or out of room: 08 connection, 53 resources, 57P shutdown. */
function asError(error: unknown, connecting = false): Error {
  const { code, message } = error as { code?: string; message: string }
  if (code === NOT_NULL && isKeyFence(message)) return new SealingKeyChanged(message, { cause: error })
  const away =
    connecting ||
    code === undefined ||
    /^(08|53|57P)/.test(code) ||
    code === '25006' ||
    /^E[A-Z]+$/.test(code) ||
    /terminat|Connection ended|timeout/i.test(message)
  // 53100: disk_full.
  if (code === '53100') return new DatabaseFull(message, { cause: error })
  return away ? new DatabaseUnavailable(message, { cause: error }) : new Error(message, { cause: error })
}

/** Keeps one LISTEN connection open, reconnecting once a second while the server is away. */
function createListener(url: string, limitMs: number, log: Log) {
  let client: pg.Client | null = null
  let closed = false
  let retry: NodeJS.Timeout | undefined
  const listeners: ((payload: string) => void)[] = []

  const open = async () => {
    if (closed) return
    const next = new pg.Client({
      connectionString: url,
      ...KEPT_ALIVE,
      connectionTimeoutMillis: limitMs,
      query_timeout: limitMs,
      application_name: 'genro-mail-proxy listen',
    })
    let isLost = false
    const lost = () => {
      if (isLost) return
      isLost = true
      if (client === next) client = null
      clearTimeout(retry)
      if (!closed) retry = setTimeout(open, 1000)
    }
    next.on('error', error => log.warning(`PostgreSQL LISTEN connection lost: ${error.message}`))
    next.on('end', lost)
    next.on('notification', ({ payload }) => {
      for (const heard of listeners) heard(payload ?? '')
    })
    try {
      await next.connect()
      await next.query(`listen ${CHANNEL}`)
      client = next
      if (closed) await next.end()
    } catch {
      lost()
      next.end().catch(() => {})
    }
  }

  return {
    listen(heard: (payload: string) => void) {
      listeners.push(heard)
      if (listeners.length === 1) void open()
    },
    async close() {
      closed = true
      clearTimeout(retry)
      await client?.end()
    },
  }
}
