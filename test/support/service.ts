/**
 * A whole service for scenario tests: real HTTP on port 0, a real database, real sockets to SMTP and report sinks.
 * `restartAs` and `kill`-like stories need a second process; see process.ts.
 */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Log } from '../../src/lib/log.js'
import { loadConfig } from '../../src/load-config.js'
import { createService, type Overrides, type Service } from '../../src/service.js'
import { learnSecrets } from './output.js'
import { createPostgresDatabase } from './postgres-server.js'
import { TEST_KEY, testSecret } from './secrets.js'
import { silentLog } from './silent-log.js'
import type { SmtpSink } from './smtp-sink.js'

export const ADMIN_TOKEN = testSecret('admin-token')

export interface TestService {
  readonly service: Service
  readonly url: string
  readonly databaseUrl: string
  readonly logs: readonly string[]
  /** Calls the API with the admin token, or the one given; answers status and body. */
  call(method: string, path: string, body?: unknown, token?: string): Promise<{ status: number; body: any }>
  /** An account on this sink; plain, no login, unless fields say otherwise. */
  account(sink: Pick<SmtpSink, 'port'>, fields?: Record<string, unknown>): Promise<void>
  send(...messages: Record<string, unknown>[]): Promise<any>
  message(id: string, tenantId?: string): Promise<any>
  /** Polls until the check answers something truthy; fails with what it last saw. */
  until<T>(what: string, check: () => Promise<T> | T, timeoutMs?: number): Promise<NonNullable<T>>
  stop(): Promise<void>
}

export interface TestServiceOptions {
  readonly dialect?: 'sqlite' | 'postgres'
  /** An existing database, for a second instance or a restart. */
  readonly databaseUrl?: string
  readonly env?: Record<string, string>
  /** The instance folder; who gives one removes it. A new one unless given. */
  readonly dir?: string
  readonly flags?: Parameters<typeof loadConfig>[0]['flags']
  readonly overrides?: Overrides
}

const FAST: Record<string, string> = {
  GMP_API_TOKEN: ADMIN_TOKEN,
  GMP_HOST: '127.0.0.1',
  GMP_PORT: '0',
  GMP_SEND_LOOP_INTERVAL: '0.1',
  GMP_RETRY_DELAYS: '0.3',
  GMP_PROBE_FIRST: '0.2',
  GMP_PROBE_MAX: '0.5',
  GMP_LEASE_SECONDS: '5',
  GMP_MIN_FREE_MB: '1',
  GMP_ENCRYPTION_KEY: TEST_KEY,
}

export async function startTestService(options: TestServiceOptions = {}): Promise<TestService> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'gmp-service-')))
  const databaseUrl =
    options.databaseUrl ??
    (options.dialect === 'postgres' ? await createPostgresDatabase() : join(dir, 'mail_service.db'))
  const { config } = loadConfig({
    flags: options.flags ?? {},
    env: { ...FAST, GMP_DB_PATH: databaseUrl, ...options.env },
    instanceDir: dir,
    readFile: path => readFileSync(path, 'utf8'),
  })
  learnSecrets({ ...options.env, ...options.flags })
  const logs: string[] = []
  const at =
    (level: keyof Log): Log['info'] =>
    (message, fields) => {
      logs.push(`${level.toUpperCase()} ${message}`)
      silentLog[level](message, fields)
    }
  const log: Log = { debug: at('debug'), info: at('info'), warning: at('warning'), error: at('error') }
  const service = createService(config, log, options.overrides)
  const { url } = await service.start().catch(async error => {
    await service.stop()
    throw error
  })

  const call: TestService['call'] = async (method, path, body, token = ADMIN_TOKEN) => {
    const headers: Record<string, string> = token === '' ? {} : { 'X-API-Token': token }
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    learnSecrets(body)
    const response = await fetch(`${url}${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    const answered = text === '' ? null : tryParse(text)
    // Of what it answers only a new key is a secret.
    learnSecrets({ api_key: (answered as { api_key?: unknown } | null)?.api_key })
    return { status: response.status, body: answered }
  }

  return {
    service,
    url,
    databaseUrl,
    logs,
    call,
    async account(sink, fields = {}) {
      const { status, body } = await call('POST', '/account', {
        id: 'main',
        tenant_id: 'default',
        host: '127.0.0.1',
        port: sink.port,
        use_tls: false,
        ...fields,
      })
      if (status !== 200) throw new Error(`account: ${status} ${JSON.stringify(body)}`)
    },
    async send(...messages) {
      const given = messages.map((message, i) => ({
        id: `m${i + 1}`,
        tenant_id: 'default',
        account_id: 'main',
        from: 'sender@example.com',
        to: 'one@example.net',
        subject: 'Subject',
        body: 'Body',
        ...message,
      }))
      return (await call('POST', '/commands/add-messages', { messages: given })).body
    },
    async message(id, tenantId = 'default') {
      return (await call('GET', `/messages/${encodeURIComponent(id)}?tenant_id=${tenantId}`)).body
    },
    async until(what, check, timeoutMs = 30_000) {
      const deadline = performance.now() + timeoutMs
      let last: unknown
      while (performance.now() < deadline) {
        try {
          last = await check()
          if (last) return last as never
        } catch (error) {
          last = error
        }
        await new Promise(resolve => setTimeout(resolve, 20))
      }
      throw new Error(`not within ${timeoutMs} ms: ${what}; last ${String(last)}\n${logs.slice(-20).join('\n')}`)
    },
    async stop() {
      await service.stop()
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true })
    },
  }
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
