/** For an operator who asks why mail does not go out. */
import type { Static } from 'typebox'
import { AppError } from '../../lib/errors.js'
import type { LoopProgress } from '../../lib/loop.js'
import { AGES } from '../../queue/state.js'
import { getTenant } from '../../tenants/store.js'
import type { Routes } from '../app.js'
import type { Diagnostics } from '../deps.js'
import { AnyId, Nullable, OkWith } from '../schemas.js'
import { Type } from '../type.js'

const tags = ['status']

const Answer = OkWith({
  now_ts: Type.Integer(),
  test_mode: Type.Boolean({ description: 'Loops run only on run-now' }),
  global_endpoint: Type.Boolean({ description: 'Tenants without an endpoint report to GMP_CLIENT_SYNC_URL' }),
  database: Type.Unknown(),
  workers: Type.Array(Type.Unknown({ description: 'Processes that send on this database, by their leases' })),
  queue: Type.Array(Type.Unknown({ description: 'Open messages by account and age, the most first, up to 500' })),
  reports: Type.Array(Type.Unknown({ description: 'Report entries that wait for an acknowledgement, by tenant' })),
})

const Loop = Type.Object({
  name: Type.String(),
  interval_ms: Type.Number({ description: 'Longest wait between two steps' }),
  steps: Type.Integer({ description: 'Steps that ended well' }),
  idle_ms: Type.Integer({ description: 'Since the last of them' }),
  running_ms: Nullable(Type.Integer({ description: 'How long the step under way has been running' })),
  failures: Type.Integer({ description: 'Failed steps in a row' }),
  last_error: Nullable(Type.String()),
})

export const diagnosticsRoutes: Routes = (app, deps) => {
  app.get(
    '/diagnostics',
    {
      config: { access: 'admin' },
      schema: {
        tags,
        summary: 'What is open and what holds it, by account; workers, limits, reports',
        description: 'Reads every message that is still to be sent: for a person now and then, not for a poll.',
        response: { 200: Answer },
      },
    },
    async () => ({
      ok: true as const,
      test_mode: deps.config.scheduler.testMode,
      global_endpoint: deps.config.reports.url !== null,
      ...onTheWire(await deps.diagnostics()),
    }),
  )

  app.get(
    '/loops',
    {
      config: { access: 'admin' },
      schema: {
        tags,
        summary: 'How the loops of this process get on; touches no database',
        response: { 200: OkWith({ loops: Type.Array(Loop) }) },
      },
    },
    async () => ({ ok: true as const, loops: deps.loops().map(loopInfo) }),
  )

  app.post(
    '/tenant/:tenant_id/test-sync',
    {
      config: { access: 'tenant', audit: 'testSync' },
      schema: {
        tags: ['tenants'],
        summary: 'Call the report endpoint with an empty report, as the idle call does; tells how it answered',
        params: Type.Object({ tenant_id: AnyId }),
        response: {
          200: Type.Object({
            ok: Type.Boolean({ description: 'It answered as one that acknowledges reports' }),
            url: Type.Optional(Type.String()),
            duration_ms: Type.Integer(),
            error: Type.Optional(Type.String()),
          }),
        },
      },
    },
    async request => {
      const { tenant_id: id } = request.params
      const tenant = await getTenant(deps.db, deps.sealer, id)
      if (tenant === null) throw new AppError('not_found', `Tenant '${id}' not found`)
      const { ok, url, durationMs, error } = await deps.testSync(tenant)
      return {
        ok,
        ...(url === null ? {} : { url }),
        duration_ms: Math.round(durationMs),
        ...(error === null ? {} : { error }),
      }
    },
  )
}

function onTheWire({ now, database, workers, backlog, reports }: Diagnostics) {
  return {
    now_ts: seconds(now),
    database: {
      dialect: database.dialect,
      round_trip_ms: round(database.roundTripMs),
      ahead_ms: Math.round(database.aheadMs),
    },
    workers: workers.map(each => ({
      holder: each.holder,
      started_ts: seconds(each.startedAt),
      left_ms: Math.round(each.leftMs),
    })),
    queue: backlog.map(each => ({
      tenant_id: each.tenantId,
      account_id: each.accountId,
      ready: each.ready,
      ready_by_age: Object.fromEntries(AGES.map(({ name }, i) => [name, each.readyByAge[i]])),
      oldest_due_ts: seconds(each.oldestDueAt),
      waiting: each.waiting,
      next_due_ts: seconds(each.nextDueAt),
      sending: each.sending,
      orphaned: each.orphaned,
      in_doubt: each.inDoubt,
      opens_ts: each.opensAt === Number.POSITIVE_INFINITY ? null : seconds(each.opensAt),
      never_opens: each.opensAt === Number.POSITIVE_INFINITY,
      limits: each.limits.map(limit => ({
        of: limit.scope.startsWith('a:') ? 'account' : 'tenant',
        window_seconds: limit.span / 1000,
        limit: limit.limit,
        used: limit.used,
        next_free_ts: limit.used < limit.limit ? null : seconds(limit.nextFreeAt),
      })),
    })),
    reports: reports.map(each => ({
      tenant_id: each.tenantId,
      pending: each.pending,
      oldest_ts: seconds(each.oldestAt),
      failures: each.failures,
      retry_ts: seconds(each.retryAt),
      last_sync_ts: seconds(each.lastSyncAt),
    })),
  }
}

function loopInfo(each: LoopProgress): Static<typeof Loop> {
  return {
    name: each.name,
    interval_ms: each.intervalMs,
    steps: each.steps,
    idle_ms: Math.round(each.idleMs),
    running_ms: each.runningMs === null ? null : Math.round(each.runningMs),
    failures: each.failures,
    last_error: each.lastError,
  }
}

function seconds(at: number): number
function seconds(at: number | null): number | null
function seconds(at: number | null): number | null {
  return at === null ? null : Math.floor(at / 1000)
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100
}
