/**
 * What a fault test plays in: an SMTP sink and a report sink that outlive the service, a ledger of what each was told,
 * and processes of the service on one database, started, killed and started again.
 */

import { type Ledger, openLedger } from './ledger.js'
import { learnSecrets } from './output.js'
import { createPostgresDatabase } from './postgres-server.js'
import { type ServiceProcess, startProcess, tempDir } from './process.js'
import { TEST_KEY, testSecret } from './secrets.js'
import { type SinkOptions, type SmtpSink, startSink } from './smtp-sink.js'

export const TOKEN = testSecret('admin-token')

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: any
}

export interface World {
  readonly sink: SmtpSink
  readonly ledger: Ledger
  readonly databaseUrl: string
  readonly dir: string
  /** The process started last. */
  readonly process: ServiceProcess
  /** Answers of a submission that sent it away, to be tried again. */
  readonly refusals: readonly Answer[]
  start(env?: Readonly<Record<string, string>>): Promise<ServiceProcess>
  call(method: string, path: string, body?: unknown, to?: ServiceProcess): Promise<Answer>
  /** An account `main` of the default tenant on the sink, plain, unless fields say otherwise. */
  account(fields?: Readonly<Record<string, unknown>>): Promise<void>
  /**
   * Submits one message an id until the service has answered for each, however often it dies meanwhile: what a client
   * with an outbox does. Enters the ids into the ledger. `stop` gives up what was never answered.
   */
  submit(ids: readonly string[], options?: SubmitOptions): Promise<void>
  /** Resolves when every queued message has its final report acknowledged. */
  drained(timeoutMs?: number): Promise<void>
  close(): Promise<void>
}

export interface SubmitOptions {
  readonly fields?: Readonly<Record<string, unknown>>
  /** Asked anew for each try; the process started last unless told. */
  readonly to?: () => ServiceProcess
  readonly stop?: AbortSignal
}

export interface WorldOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly sink?: SinkOptions
  /** In place of a fresh database of the dialect. */
  readonly databaseUrl?: string
  /** The service's main.js, in place of the one in dist. */
  readonly main?: string
  /** As in `ProcessOptions`. */
  readonly within?: readonly string[]
}

const FAST: Record<string, string> = {
  GMP_API_TOKEN: TOKEN,
  GMP_SEND_LOOP_INTERVAL: '0.1',
  GMP_RETRY_DELAYS: '0.2',
  GMP_MAX_RETRIES: '20',
  GMP_PROBE_FIRST: '0.2',
  GMP_PROBE_MAX: '0.5',
  GMP_LEASE_SECONDS: '2',
  GMP_SYNC_TIMEOUT: '1',
  GMP_MIN_FREE_MB: '1',
  GMP_ENCRYPTION_KEY: TEST_KEY,
}

export async function openWorld(dialect: 'sqlite' | 'postgres', options: WorldOptions = {}): Promise<World> {
  const { dir, remove } = await tempDir()
  const sink = await startSink({ record: 'messages', ...options.sink })
  const ledger = await openLedger(sink)
  const databaseUrl =
    options.databaseUrl ?? (dialect === 'postgres' ? await createPostgresDatabase() : `${dir}/data/mail_service.db`)
  const processes: ServiceProcess[] = []
  const refusals: Answer[] = []
  const last = () => {
    const process = processes.at(-1)
    if (process === undefined) throw new Error('no process was started')
    return process
  }

  const call: World['call'] = async (method, path, body, to = last()) => {
    const headers: Record<string, string> = { 'X-API-Token': TOKEN }
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    learnSecrets(body)
    const text = body === undefined ? undefined : JSON.stringify(body)
    const response = await fetch(`${to.url}${path}`, {
      method,
      headers,
      body: text,
      signal: AbortSignal.timeout(20_000),
    })
    return { status: response.status, headers: response.headers, body: await response.json() }
  }

  const submit: World['submit'] = async (ids, { fields = {}, to = last, stop } = {}) => {
    let open = ids
    while (open.length > 0 && stop?.aborted !== true) {
      const messages = open.map(id => ({ ...MESSAGE, id, ...fields }))
      // No answer: the process died, and nobody knows whether before or after the commit. Same ids, once more.
      const process = to()
      const answer = await call('POST', '/commands/add-messages', { messages }, process).catch(() => null)
      if (answer === null || answer.status === 503) {
        if (answer !== null) refusals.push(answer)
        await pause(30)
        continue
      }
      const rejected: { id: string; code: string }[] = answer.body.rejected ?? []
      // These two say that an earlier try, whose answer was lost, was heard.
      const odd = rejected.find(({ code }) => code !== 'already_sent' && code !== 'in_progress')
      if (odd !== undefined || !Array.isArray(answer.body.rejected)) {
        const refusal = JSON.stringify(odd ?? answer.body)
        throw new Error(`refused: ${answer.status} ${refusal}\n${process.output().slice(-3000)}`)
      }
      for (const id of open) ledger.queued.add(id)
      open = []
    }
  }

  return {
    sink,
    ledger,
    databaseUrl,
    dir,
    refusals,
    get process() {
      return last()
    },
    async start(env = {}) {
      const own = { ...FAST, GMP_DB_PATH: databaseUrl, GMP_CLIENT_SYNC_URL: `${ledger.reports.url}/reports` }
      const all = { ...own, ...options.env, ...env }
      const process = await startProcess({
        dir,
        main: options.main,
        within: options.within,
        env: all,
        startTimeoutMs: 120_000,
      })
      processes.push(process)
      return process
    },
    call,
    async account(fields = {}) {
      const given = { id: 'main', tenant_id: 'default', host: sink.host, port: sink.port, use_tls: false, ...fields }
      const { status, body } = await call('POST', '/account', given)
      if (status !== 200) throw new Error(`account: ${status} ${JSON.stringify(body)}`)
    },
    submit,
    async drained(timeoutMs = 60_000) {
      await until('every final report', () => ledger.waiting().length === 0, timeoutMs).catch(error => {
        const waiting = ledger.waiting()
        const tail = processes.at(-1)?.output().slice(-3000)
        throw new Error(`${waiting.length} wait, as ${waiting.slice(0, 5)}\n${tail}`, { cause: error })
      })
    },
    async close() {
      for (const process of processes) {
        // A frozen one could not be waited for.
        process.kill('SIGKILL')
        await process.exited
      }
      await ledger.close()
      await sink.close()
      await remove()
    },
  }
}

/** What a submission needs beside its id. */
export const MESSAGE = {
  tenant_id: 'default',
  account_id: 'main',
  from: 'sender@example.com',
  to: 'one@example.net',
  subject: 'Subject',
  body: 'Body',
}

/** Polls until the check answers something truthy; rejects with what it last saw. */
export async function until<T>(what: string, check: () => Promise<T> | T, timeoutMs = 30_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs
  let last: unknown
  while (performance.now() < deadline) {
    try {
      last = await check()
      if (last) return last as never
    } catch (error) {
      last = error
    }
    await pause(20)
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}; last ${String(last)}`)
}

export function pause(ms: number): Promise<void> {
  return new Promise(done => setTimeout(done, ms))
}

/** `prefix0` … */
export function idsOf(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`)
}

/** Repeatable randomness (mulberry32): the seed is printed, and GMP_TEST_SEED plays it again. */
export function seeded(what: string): () => number {
  let state = Number(process.env.GMP_TEST_SEED ?? Date.now()) >>> 0
  console.log(`${what}: GMP_TEST_SEED=${state}`)
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
