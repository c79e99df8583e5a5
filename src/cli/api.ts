/**
 * The way of every command to the service: its HTTP API when the instance runs, the same handlers on its database when
 * it does not. So both agree about what is right, what is refused and what stands in the command log.
 */
import type { Config } from '../config.js'
import { DatabaseTaken } from '../db/db.js'
import { migrationStatus } from '../db/migrate.js'
import { systemClock } from '../lib/clock.js'
import { createLogger } from '../lib/logger.js'
import type { CliIo } from './context.js'
import { databaseMayExist, withInstanceDatabase } from './database.js'
import { CliError, UsageError } from './errors.js'
import { type Running, readToken } from './instance.js'
import { lookAtProcess, type Seen } from './running.js'
import { settingsOfKnownInstance } from './settings.js'

export interface Api {
  /** service: the instance runs and was asked. database: it does not run on this machine. */
  readonly via: 'service' | 'database'
  readonly config: Config
  /** The answer of the API; rejects with ApiError when it is a refusal. */
  call<T = Record<string, unknown>>(method: Method, path: string, given?: Given): Promise<T>
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface Given {
  /** undefined and null are left out. */
  readonly query?: Readonly<Record<string, string | number | boolean | null | undefined>>
  readonly body?: unknown
  /** The question has "no" for an answer (`ok: false` with status 200), as a test of a login does. */
  readonly acceptNo?: boolean
}

/** The service said no; the message is its own sentence. */
export class ApiError extends CliError {
  override name = 'ApiError'
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    /** The whole answer: a refused submission tells about each message. */
    readonly answer: Readonly<Record<string, unknown>>,
  ) {
    super(message)
  }
}

/** Works with the API of an instance that is there, running or not. */
export async function withApi<T>(io: CliIo, instance: string, work: (api: Api) => Promise<T>): Promise<T> {
  const { config } = settingsOfKnownInstance(io, instance)
  const { state, process } = await lookOnceStarted(io, config)
  if (process !== null && state === 'running') return work(serviceApi(config, process.url, tokenOf(config)))
  const house = await openHouse(io, config)
  if ('url' in house) return work(serviceApi(config, house.url, tokenOf(config)))
  try {
    return await work(databaseApi(config, house.app))
  } finally {
    await house.close()
  }
}

const ASK_MS = 120_000

function serviceApi(config: Config, url: string, token: string | null): Api {
  return {
    via: 'service',
    config,
    async call<T>(method: Method, path: string, { query, body, acceptNo = false }: Given = {}) {
      const response = await fetch(`${url}${target(path, query)}`, {
        method,
        headers: {
          ...(token === null ? {} : { 'x-api-token': token }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(ASK_MS),
      }).catch(error => {
        throw new CliError(`${url} does not answer (${reasonOf(error)}): is the instance stopping?`, { cause: error })
      })
      return judge<T>(response.status, await response.text(), url, acceptNo)
    },
  }
}

function databaseApi(config: Config, app: House['app']): Api {
  return {
    via: 'database',
    config,
    async call<T>(method: Method, path: string, { query, body, acceptNo = false }: Given = {}) {
      const response = await app.inject({
        method,
        url: target(path, query),
        ...(body === undefined
          ? {}
          : { payload: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      })
      return judge<T>(response.statusCode, response.body, 'the database', acceptNo)
    },
  }
}

/**
 * One that starts is waited for. Its flags may name another database than the configuration does, so that a command must
 * not go to that one meanwhile.
 */
async function lookOnceStarted(io: CliIo, { instance: { dir, name } }: Config): Promise<Seen> {
  const until = systemClock.monotonic() + WAIT_MS
  for (;;) {
    const seen = await lookAtProcess(io, dir)
    if (seen.process === null || seen.state !== 'starting') return seen
    if (systemClock.monotonic() >= until) throw holdsOn(name, seen.process)
    await systemClock.sleep(RETRY_MS)
  }
}

function holdsOn(name: string, { pid, url }: Running, cause?: unknown): CliError {
  const what = url === '' ? 'is still starting' : `does not answer on ${url} and holds its database`
  const todo = `try again in a while, else mail-proxy restart ${name} --force`
  return new CliError(`${name} (pid ${pid}) ${what}: ${todo}`, { cause })
}

type House = Awaited<ReturnType<typeof import('../service.js')['openOffline']>>

/** A database that another process just took may be that of a service which is starting: then its address. */
async function openHouse(io: CliIo, config: Config): Promise<House | { url: string }> {
  await refuseOldSchema(config)
  // Loaded only here: with a running instance a command answers in a third of the time.
  const { openOffline } = await import('../service.js')
  const log = createLogger({ level: 'error', format: 'text', write: line => io.err(line) })
  const began = systemClock.monotonic()
  for (;;) {
    try {
      return await openOffline(config, log)
    } catch (error) {
      if (!(error instanceof DatabaseTaken)) throw error
      await systemClock.sleep(RETRY_MS)
      const { state, process } = await lookOnceStarted(io, config)
      if (process !== null && state === 'running') return process
      const waited = systemClock.monotonic() - began
      if (process !== null && waited >= WAIT_MS) throw holdsOn(config.instance.name, process, error)
      if (waited >= COMMAND_MS) throw error
    }
  }
}

/** Another command has the database for so long, most of the time. */
const COMMAND_MS = 10_000
/** One that hangs takes seconds to say nothing. */
const WAIT_MS = 3_000
const RETRY_MS = 200

/** An operator decides when a schema changes: other processes of the older version may be at work on it. */
export async function refuseOldSchema(config: Config): Promise<void> {
  if (!databaseMayExist(config)) return
  const { current, latest } = await withInstanceDatabase(config, { exclusive: false }, migrationStatus)
  if (current !== 0 && current < latest) {
    const { name } = config.instance
    throw new CliError(
      `the database has schema ${current} and this version needs ${latest}: start the instance, or run \`mail-proxy ${name} migrate\``,
    )
  }
}

function tokenOf({ server, instance }: Config): string | null {
  // Without one it may be served without authentication; if not, its own answer says what is missing.
  return server.apiToken ?? (instance.dir === null ? null : readToken(instance.dir))
}

function judge<T>(status: number, text: string, from: string, acceptNo: boolean): T {
  let answer: Record<string, unknown>
  try {
    answer = JSON.parse(text)
  } catch (cause) {
    throw new CliError(`${from} answered ${status} with something that is not JSON: is it a mail-proxy?`, { cause })
  }
  if (status < 400 && (acceptNo || answer.ok !== false)) return answer as T
  const code = String(answer.code ?? 'unknown')
  const sentence = String(answer.error ?? `the service answered ${status}`)
  const hint = code === 'unauthorized' ? `; the token of this machine is kept in ${TOKEN_HINT}` : ''
  throw new ApiError(`${sentence}${hint}`, status, code, answer)
}

const TOKEN_HINT = 'the instance folder or given by GMP_API_TOKEN (see `mail-proxy <instance> token`)'

/** A part that is empty, `.` or `..` would make it the path of something else. */
function target(path: string, query: Given['query']): string {
  if (
    path
      .split('/')
      .slice(1)
      .some(part => part === '' || part === '.' || part === '..')
  ) {
    throw new UsageError('an id cannot be empty, "." or ".."')
  }
  return `${path}${queryText(query)}`
}

function queryText(query: Given['query'] = {}): string {
  const given = new URLSearchParams()
  for (const [key, value] of Object.entries(query))
    if (value !== undefined && value !== null) given.set(key, String(value))
  return given.size === 0 ? '' : `?${given}`
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { code?: string }; message: string }
  return cause?.code ?? message
}
