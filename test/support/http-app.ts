/** The HTTP house over a fresh database, asked without a socket. The dispatcher and the reporter are not running. */

import type { FastifyInstance } from 'fastify'
import type { Account } from '../../src/accounts/account.js'
import { setAdminToken } from '../../src/http/admin-token.js'
import { buildApp, type Routes } from '../../src/http/app.js'
import type { AccountTest, HttpDeps } from '../../src/http/deps.js'
import type { Sealer } from '../../src/lib/sealer.js'
import { type Environment, loadConfig } from '../../src/load-config.js'
import { keyState, rotate } from '../../src/sealing/rotate.js'
import { openKeys } from '../../src/service/key.js'
import { volumeProblem } from '../../src/service/volume-problem.js'
import { ensureDefaultTenant } from '../../src/tenants/store.js'
import { NO_TRACING } from '../../src/tracing/tracer.js'
import { createKnownVolumes } from '../../src/volumes/known.js'
import { createFakeClock, type FakeClock } from './fake-clock.js'
import { learnSecrets } from './output.js'
import { testSecret } from './secrets.js'
import { silentLog } from './silent-log.js'
import { type dialects, openTempDb, type TempDb } from './temp-db.js'

export const ADMIN = testSecret('admin-token')

export interface Asked {
  readonly token?: string | null
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface HttpApp {
  readonly app: FastifyInstance
  readonly temp: TempDb
  readonly clock: FakeClock
  readonly sealer: Sealer
  /** Lines of the log at ERROR. */
  readonly errors: string[]
  readonly warnings: string[]
  /** Names of the wake hints, in order. */
  readonly hints: string[]
  /** What the process says of itself; a test may change it. */
  readonly process: {
    schedulerActive: boolean
    releaseNeeded: string | null
    draining: boolean
    freeMb: number | null
    problems: string[]
  }
  probe: (account: Account) => Promise<AccountTest>
  /** As the admin, unless a token (or null: none) is given. */
  call(
    method: string,
    url: string,
    asked?: Asked,
  ): Promise<{ status: number; body: any; headers: Record<string, unknown> }>
  /** A tenant with its key. */
  addTenant(id: string, fields?: object): Promise<string>
  close(): Promise<void>
}

export interface HttpAppOptions {
  readonly env?: Environment
  readonly flags?: Readonly<Record<string, string>>
  /** In place of the service's own. */
  readonly routes?: readonly Routes[]
}

export async function openHttpApp(
  dialect: (typeof dialects)[number],
  { env = {}, flags = {}, routes }: HttpAppOptions = {},
): Promise<HttpApp> {
  const temp = await openTempDb(dialect)
  const clock = createFakeClock()
  const errors: string[] = []
  const warnings: string[] = []
  const hints: string[] = []
  const process = {
    schedulerActive: true,
    releaseNeeded: null as string | null,
    draining: false,
    freeMb: null as number | null,
    problems: [] as string[],
  }
  const { config } = loadConfig({ flags, env, instanceDir: temp.dir, readFile: () => '' })
  const sealer = await openKeys(temp.db, config, silentLog)
  const rotation = { db: temp.db, clock, ring: sealer, steadyNow: clock.now, tell: null }
  await ensureDefaultTenant(temp.db, clock.now())
  if (config.server.apiToken === null) await setAdminToken(temp.db, ADMIN)
  const deps: HttpDeps = {
    config,
    db: temp.db,
    clock,
    log: {
      ...silentLog,
      error(message, fields) {
        errors.push(message)
        silentLog.error(message, fields)
      },
      warning(message, fields) {
        warnings.push(message)
        silentLog.warning(message, fields)
      },
    },
    sealer,
    wake: {
      queue: () => void hints.push('queue'),
      reports: () => void hints.push('reports'),
      runNow: () => void hints.push('runNow'),
      settings: async () => void hints.push('settings'),
    },
    version: '1.2.3',
    startedAt: clock.now(),
    status: () => process,
    ready: async () => ({ ok: process.problems.length === 0, problems: process.problems }),
    tracer: NO_TRACING,
    metricsText: async () => 'gmp_pending_messages 0\n',
    nextOpening: () => null,
    accepted: () => {},
    freeDiskMb: () => process.freeMb,
    probeAccount: account => http.probe(account),
    files: { isSigned: () => false, find: async () => null },
    loops: () => [],
    diagnostics: async () => ({
      now: clock.now(),
      database: { dialect, roundTripMs: 0, aheadMs: 0 },
      workers: [],
      backlog: [],
      reports: [],
    }),
    testSync: async () => ({ ok: false, url: null, durationMs: 0, error: 'no reporter here' }),
    sealingKey: { state: () => keyState(rotation), rotate: () => rotate(rotation, 1_000) },
    knownVolumes: createKnownVolumes({ db: temp.db, clock }),
    volumeProblem,
    tenantDeleted: async () => {},
  }
  const app = buildApp(deps, routes)
  const http: HttpApp = {
    app,
    temp,
    clock,
    sealer,
    errors,
    warnings,
    hints,
    process,
    probe: async () => ({ ok: true, conversation: [] }),
    async call(method, url, { token = ADMIN, body, headers = {} } = {}) {
      learnSecrets(body)
      const answer = await app.inject({
        method: method as 'GET',
        url,
        headers: { ...(token === null ? {} : { 'x-api-token': token }), ...headers },
        ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
      const json = method !== 'HEAD' && String(answer.headers['content-type']).startsWith('application/json')
      return { status: answer.statusCode, body: json ? answer.json() : answer.body, headers: answer.headers }
    },
    async addTenant(id, fields = {}) {
      const { body } = await http.call('POST', '/tenant', { body: { id, ...fields } })
      learnSecrets(body)
      return body.api_key
    },
    async close() {
      await app.close()
      await temp.drop()
    },
  }
  await app.ready()
  return http
}
