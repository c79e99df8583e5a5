/** Figures, and the report entries again. */
import { listReported } from '../../messages/reported.js'
import { createStatsReader } from '../../messages/stats.js'
import type { App } from '../app.js'
import type { HttpDeps } from '../deps.js'
import { AnyId, Int, OkWith, TenantQuery } from '../schemas.js'
import { Type } from '../type.js'
import { Cursor } from './message-schemas.js'

export function statsRoutes(app: App, { db, clock }: HttpDeps): void {
  const readStats = createStatsReader(db, clock)

  app.get(
    '/stats',
    {
      config: { access: 'any' },
      schema: {
        summary: 'Counts by status, account, priority and hour',
        description:
          'All open messages and the newest 50,000 (complete: whether these were all). Figures are up to two seconds old.',
        tags: ['status'],
        querystring: TenantQuery,
        response: {
          200: OkWith({
            complete: Type.Boolean(),
            by_status: Type.Record(Type.String(), Type.Integer()),
            by_account: Type.Array(Type.Object({ tenant_id: Type.String(), account_id: Type.String() })),
            by_priority: Type.Array(
              Type.Object({ priority: Type.Integer(), open: Type.Integer(), ended: Type.Integer() }),
            ),
            by_hour: Type.Array(Type.Object({ hour_ts: Type.Integer(), sent: Type.Integer(), error: Type.Integer() })),
          }),
        },
      },
    },
    async ({ tenantScope }) => ({ ok: true as const, ...(await readStats(tenantScope)) }) as never,
  )

  app.get(
    '/reports',
    {
      config: { access: 'tenant' },
      schema: {
        summary: 'The report entries again, oldest first',
        description: 'For a client that lost data. `cursor` is where to go on later, next_cursor is null at the end.',
        tags: ['messages'],
        querystring: Type.Object({
          tenant_id: Type.Optional(AnyId),
          after: Type.Optional(Cursor),
          limit: Type.Optional(Int(1, 1000)),
        }),
        response: {
          200: OkWith({
            reports: Type.Array(Type.Unknown()),
            cursor: Type.String(),
            next_cursor: Type.Union([Type.String(), Type.Null()]),
          }),
        },
      },
    },
    async ({ query, tenantScope }) => {
      const { reports, next, more } = await listReported(db, {
        tenantId: tenantScope,
        after: Number(query.after ?? 0),
        limit: query.limit ?? 500,
      })
      return { ok: true as const, reports: [...reports], cursor: String(next), next_cursor: more ? String(next) : null }
    },
  )
}
