/** Commands on the queue: delete, clean up, run now, suspend and activate. */
import type { Db } from '../../db/db.js'
import { AppError } from '../../lib/errors.js'
import { ownersOf } from '../../messages/find.js'
import { countOpen } from '../../queue/counts.js'
import { countOpenBatch } from '../../queue/open-rows.js'
import { type Deleted, deleteMessages } from '../../queue/operate.js'
import { cleanupMessages } from '../../queue/prune.js'
import {
  ALL,
  activateTenant,
  isSchedulerActive,
  type SuspensionResult,
  setSchedulerActive,
  suspendTenant,
} from '../../queue/suspension.js'
import type { App } from '../app.js'
import type { HttpDeps } from '../deps.js'
import { AnyId, Given, Int, Line, Ok, OkWith, TenantBody, TenantQuery } from '../schemas.js'
import { Type } from '../type.js'

const MAX_IDS = 10_000
/** Some 300 years; as milliseconds far from the end of a bigint. */
const MAX_AGE_SECONDS = 10_000_000_000

export function commandRoutes(app: App, deps: HttpDeps): void {
  addRemoval(app, deps)
  addRunNow(app, deps)
  addSuspension(app, deps)
}

function addRemoval(app: App, { db, clock, config }: HttpDeps): void {
  app.post(
    '/commands/delete-messages',
    {
      config: { access: 'tenant', audit: 'deleteMessages' },
      schema: {
        summary: 'Remove messages; no report follows',
        tags: ['messages'],
        querystring: TenantQuery,
        body: Type.Object({
          ids: Type.Optional(Type.Array(Type.String(), { maxItems: MAX_IDS })),
          tenant_id: Given(AnyId),
        }),
        response: {
          200: OkWith({
            removed: Type.Integer(),
            not_found: Type.Array(Type.String()),
            unauthorized: Type.Array(Type.String()),
            in_progress: Type.Array(Type.String()),
          }),
        },
      },
    },
    async ({ body: { ids = [] }, tenantScope }) => {
      const { removed, notFound, unauthorized, inProgress } = await deleteIn(db, tenantScope, ids)
      return {
        ok: true as const,
        removed,
        not_found: [...notFound],
        unauthorized: [...unauthorized],
        in_progress: [...inProgress],
      }
    },
  )

  app.post(
    '/commands/cleanup-messages',
    {
      config: { access: 'tenant', audit: 'cleanupMessages' },
      schema: {
        summary: 'Remove messages that were reported long enough ago',
        tags: ['messages'],
        querystring: TenantQuery,
        body: Type.Object({
          older_than_seconds: Given(
            Int(undefined, MAX_AGE_SECONDS, { description: 'Default: the retention; negative counts as 0' }),
          ),
          tenant_id: Given(AnyId),
        }),
        response: { 200: OkWith({ removed: Type.Integer() }) },
      },
    },
    async ({ body: { older_than_seconds: seconds }, tenantScope }) => {
      const olderThanMs = seconds == null ? config.queue.retentionMs : Math.max(0, seconds) * 1000
      const removed = await cleanupMessages(db, clock, { tenantId: tenantScope, before: clock.now() - olderThanMs })
      return { ok: true as const, removed }
    },
  )
}

/** An admin without tenant means the one tenant that owns an id, never several at once. */
async function deleteIn(db: Db, tenantScope: string | null, ids: readonly string[]): Promise<Deleted> {
  const all = { removed: 0, notFound: [] as string[], unauthorized: [] as string[], inProgress: [] as string[] }
  const byTenant = new Map<string, string[]>()
  if (tenantScope !== null) byTenant.set(tenantScope, [...ids])
  else {
    const owners = await ownersOf(db, [...new Set(ids)])
    for (const id of ids) {
      const owner = owners.get(id)
      const mine = owner === undefined ? all.notFound : byTenant.get(owner)
      if (mine !== undefined) mine.push(id)
      else byTenant.set(owner!, [id])
    }
  }
  for (const [tenantId, mine] of byTenant) {
    const { removed, notFound, unauthorized, inProgress } = await deleteMessages(db, { tenantId, ids: mine })
    all.removed += removed
    all.notFound.push(...notFound)
    all.unauthorized.push(...unauthorized)
    all.inProgress.push(...inProgress)
  }
  return {
    removed: all.removed,
    notFound: [...new Set(all.notFound)].sort(),
    unauthorized: all.unauthorized.sort(),
    inProgress: all.inProgress.sort(),
  }
}

function addRunNow(app: App, { db, wake }: HttpDeps): void {
  app.post(
    '/commands/run-now',
    {
      config: { access: 'any', audit: 'runNow' },
      schema: {
        summary: 'Dispatch and report now',
        description: 'Answers at once. For a tenant it also ends its do-not-disturb.',
        tags: ['commands'],
        querystring: TenantQuery,
        body: TenantBody,
        response: { 200: Ok },
      },
    },
    async ({ tenantScope }) => {
      if (tenantScope !== null) {
        await db.write([
          { sql: 'update sync_state set quiet_until = null where tenant_id = $1', params: [tenantScope] },
        ])
      }
      wake.runNow(tenantScope)
      return { ok: true as const }
    },
  )
}

/** As in messages. */
const BatchCode = Type.Optional(Line(64))

const suspensionSchema = {
  description:
    'With tenant_id: that tenant; with batch_code too: that batch; neither (admin): the whole scheduler. Batches add up.',
  tags: ['commands'],
  querystring: Type.Object({ tenant_id: Type.Optional(AnyId), batch_code: BatchCode }),
  body: Type.Object({ tenant_id: Given(AnyId), batch_code: Given(Line(64)) }),
  response: {
    200: OkWith({
      active: Type.Boolean({ description: 'What was named may send' }),
      tenant_id: Type.Optional(Type.String()),
      batch_code: BatchCode,
      suspended_batches: Type.Array(Type.String(), { description: '["*"]: all' }),
      pending_messages: Type.Integer(),
    }),
  },
}

function addSuspension(app: App, { db, clock, wake }: HttpDeps): void {
  app.post(
    '/commands/suspend',
    {
      config: { access: 'tenant', audit: 'suspend' },
      schema: { summary: 'Suspend sending', ...suspensionSchema },
    },
    async ({ query, body, tenantScope }) => {
      const batchCode = query.batch_code ?? body.batch_code ?? null
      if (tenantScope === null) return switchScheduler(db, batchCode, false, wake)
      const result = await suspendTenant(db, { tenantId: tenantScope, batchCode, now: clock.now() })
      await wake.settings()
      return tellTenant(db, tenantScope, batchCode, result, 'tenant not found')
    },
  )

  app.post(
    '/commands/activate',
    {
      config: { access: 'tenant', audit: 'activate' },
      schema: { summary: 'End a suspension', ...suspensionSchema },
    },
    async ({ query, body, tenantScope }) => {
      const batchCode = query.batch_code ?? body.batch_code ?? null
      if (tenantScope === null) return switchScheduler(db, batchCode, true, wake)
      const result = await activateTenant(db, { tenantId: tenantScope, batchCode, now: clock.now() })
      await wake.settings()
      const refusal = 'tenant not found or cannot activate single batch from full suspension'
      return tellTenant(db, tenantScope, batchCode, result, refusal)
    },
  )
}

async function switchScheduler(db: Db, batchCode: string | null, active: boolean, wake: HttpDeps['wake']) {
  if (batchCode !== null) throw new AppError('command_failed', 'tenant_id is required')
  await setSchedulerActive(db, active)
  await wake.settings()
  const pending_messages = await countOpen(db, null)
  return { ok: true as const, active, suspended_batches: active ? [] : [ALL], pending_messages }
}

async function tellTenant(
  db: Db,
  tenantId: string,
  batchCode: string | null,
  result: SuspensionResult,
  refusal: string,
) {
  if (!result.ok) {
    throw new AppError('command_failed', result.problem === 'too_many' ? 'too many suspended batches' : refusal)
  }
  const { suspendedBatches } = result
  const named = batchCode === '' || batchCode === ALL ? null : batchCode
  const isSuspended = suspendedBatches.includes(ALL) || (named !== null && suspendedBatches.includes(named))
  return {
    ok: true as const,
    active: !isSuspended && (await isSchedulerActive(db)),
    tenant_id: tenantId,
    batch_code: batchCode ?? undefined,
    suspended_batches: [...suspendedBatches],
    pending_messages: named === null ? await countOpen(db, tenantId) : await countOpenBatch(db, tenantId, named),
  }
}
