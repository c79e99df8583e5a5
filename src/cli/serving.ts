/**
 * The life of a serving process: prepare the database, start the service, wait for a signal, stop. The process ends by
 * itself only when it cannot start as configured; a PostgreSQL that is away is waited for.
 */
import { dirname } from 'node:path'
import type { Config } from '../config.js'
import { DatabaseTaken, DatabaseUnavailable, type Db } from '../db/db.js'
import { migrate } from '../db/migrate.js'
import { openDatabase } from '../db/open.js'
import { systemClock } from '../lib/clock.js'
import { makeDirectory } from '../lib/directory.js'
import { ConfigError } from '../lib/errors.js'
import type { Log } from '../lib/log.js'
import { createLogger } from '../lib/logger.js'
import { VERSION } from '../lib/version.js'
import type { LoadedConfig } from '../load-config.js'
import { openTracer } from '../tracing/open.js'
import type { Tracer } from '../tracing/tracer.js'
import { makeFirstToken } from './admin-token.js'
import type { CliIo } from './context.js'
import { CliError, errorLine } from './errors.js'
import { keepFirstSettings } from './first-settings.js'
import { type Running, removeRunning, tokenPath, writeRunning } from './instance.js'
import { noteStarting } from './running.js'
import { reachable, welcome } from './welcome.js'

/** The part of the service that the command line knows. */
export interface Service {
  start(): Promise<{ url: string }>
  stop(): Promise<void>
}

/** What a process has made ready. The service closes the database, from its start on. */
export interface Prepared {
  readonly db: Db
  readonly tracer: Tracer
}

export type CreateService = (config: Config, log: Log, prepared: Prepared) => Service | Promise<Service>

export interface ServingWay {
  /** The instance has no folder yet: its config.ini is written, so that it keeps its port. */
  readonly isNew: boolean
  /** A token made now is not shown. */
  readonly quiet: boolean
  /** Refuses to start beside another process of the same folder; false for several on one PostgreSQL. */
  readonly alone: boolean
}

/** Serves until SIGTERM or SIGINT. A second signal ends the process at once. */
export async function serveUntilSignal(
  loaded: LoadedConfig,
  io: CliIo,
  createService: CreateService,
  way: ServingWay = { isNew: false, quiet: false, alone: false },
): Promise<void> {
  const { config, warnings } = loaded
  const { openStdout } = await import('../lib/stdout.js')
  const log = createLogger({ ...config.logging, write: openStdout() })
  for (const warning of warnings) log.warning(warning)
  const stopping = new AbortController()
  const deaf = [
    io.onSignal(signal => {
      if (stopping.signal.aborted) io.exitNow(signal === 'SIGINT' ? 130 : 143)
      log.info(`Stopping on ${signal}`)
      stopping.abort()
    }),
    // What nobody caught belongs to one message or request. Its lease or time-out brings that back, so the others are
    // not made to wait for a restart.
    io.onUncaught(error => log.error(`Uncaught: ${describe(error)}`)),
  ]
  const { database, instance } = config
  const { dir, name } = instance
  let isNoted = false
  try {
    if (database.dialect === 'sqlite')
      makeDirectory(dirname(database.url), 'the directory of the database (GMP_DB_PATH)')
    const other = dir === null ? null : noteStarting(io, dir)
    isNoted = true
    if (way.alone && other !== null) throw runsAlready(name, other)
    const until = systemClock.monotonic() + (other === null ? COMMAND_MS : 0)
    for (;;) {
      try {
        const prepared = await prepareDatabase(config, log, stopping.signal)
        if (prepared === null) return
        return await runService(loaded, io, log, createService, { ...way, ...prepared }, stopping.signal)
      } catch (error) {
        if (!(error instanceof DatabaseTaken) || systemClock.monotonic() >= until) throw error
        await systemClock.sleep(LOOK_MS, stopping.signal)
        if (stopping.signal.aborted) return
      }
    }
  } finally {
    if (isNoted && dir !== null) removeRunning(dir, io.pid)
    for (const stopListening of deaf) stopListening()
  }
}

async function runService(
  loaded: LoadedConfig,
  io: CliIo,
  log: Log,
  createService: CreateService,
  { isNew, quiet, db, madeToken }: ServingWay & PreparedDatabase,
  stop: AbortSignal,
): Promise<void> {
  const { config } = loaded
  const { dir, name } = config.instance
  const tracer = await closingOnFailure(db, () => openTracer(io.env, log))
  const service = await closingOnFailure(db, () => createService(config, log, { db, tracer }))
  let url: string
  try {
    url = (await service.start()).url
  } catch (error) {
    await service.stop().catch(() => {
      // It never started; what matters is why.
    })
    throw explainStart(error, config)
  }
  log.info(`mail-proxy ${VERSION} instance ${name} listens on ${url}`, { version: VERSION, instance: name, url })
  if (dir !== null) writeRunning(dir, { pid: io.pid, url, mark: io.processes.markOf(io.pid) })
  if (isNew && dir !== null) keepFirstSettings(dir, loaded, url)
  if (madeToken !== null && dir !== null && !quiet) io.err(welcome(madeToken, tokenPath(dir), url))
  try {
    await aborted(stop)
  } finally {
    await service.stop()
    await tracer.close()
    log.info('Stopped')
  }
}

/** What a second start of a named instance is told. */
export function runsAlready(name: string, { pid, url }: Running): CliError {
  const how = url === '' ? 'is starting already' : `runs already on ${reachable(url)}`
  return new CliError(`${name} ${how} (pid ${pid})`)
}

/** A command on a stopped instance has its database for so long, most of the time. No reason to fail a start. */
const COMMAND_MS = 10_000
const LOOK_MS = 200

interface PreparedDatabase {
  readonly db: Db
  /** The admin token if it was just made. */
  readonly madeToken: string | null
}

/** Opens the database, brings its schema up to date and makes the admin token where one is needed; null: `stop` came. */
async function prepareDatabase(config: Config, log: Log, stop: AbortSignal): Promise<PreparedDatabase | null> {
  for (let tries = 1; ; tries += 1) {
    try {
      const db = await openDatabase(config, { log, exclusive: true })
      const madeToken = await closingOnFailure(db, () => prepare(db, config))
      if (!stop.aborted) return { db, madeToken }
      await db.close()
      return null
    } catch (error) {
      if (!isPassing(error, config)) throw error
      const waitMs = Math.min(30_000, 1000 * 2 ** Math.min(tries - 1, 5))
      log.warning(`The database cannot be reached, next try in ${waitMs / 1000} s: ${errorText(error)}`)
      await systemClock.sleep(waitMs, stop)
      if (stop.aborted) return null
    }
  }
}

async function prepare(db: Db, { server, instance }: Config): Promise<string | null> {
  await migrate(db)
  if (server.apiToken !== null || server.insecureNoAuth || instance.dir === null) return null
  return await makeFirstToken(db, instance.dir)
}

async function closingOnFailure<T>(db: Db, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await db.close()
    throw error
  }
}

/** SQLSTATE 28…: who we say we are is refused, 3D000: no such database. Waiting mends neither. */
function isPassing(error: unknown, { database }: Config): boolean {
  if (database.dialect === 'sqlite' || !(error instanceof DatabaseUnavailable)) return false
  const code = (error.cause as { code?: unknown } | undefined)?.code
  return typeof code !== 'string' || !/^(28|3D)/.test(code)
}

function explainStart(error: unknown, { server: { host, port } }: Config): unknown {
  switch ((error as NodeJS.ErrnoException | null)?.code) {
    case 'EADDRINUSE':
      return new CliError(
        `port ${port} on ${host} is in use: stop what listens there, or choose another port with --port, GMP_PORT or port in config.ini's [server]`,
        { cause: error },
      )
    case 'EACCES':
      return new CliError(`port ${port} may not be used by this user: choose one above 1023 with --port or GMP_PORT`, {
        cause: error,
      })
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new ConfigError(`${host} is no address of this machine: set --host or GMP_HOST`, { cause: error })
    default:
      return error
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}

function errorText(error: unknown): string {
  return errorLine(error).slice('Error: '.length)
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
