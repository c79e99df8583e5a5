/** Health, readiness, status, metrics and the API's description. */
import { listPaused } from '../../accounts/pause.js'
import { AppError } from '../../lib/errors.js'
import { countOpen } from '../../queue/counts.js'
import { pauseInfo } from '../account-record.js'
import type { Routes } from '../app.js'
import { sameToken, tokenOf } from '../auth.js'
import { Failure, OkWith, TenantQuery } from '../schemas.js'
import { Type } from '../type.js'

const MAX_PAUSED_SHOWN = 100
const tags = ['system']

export const systemRoutes: Routes = (app, deps) => {
  const { config, db, clock, version } = deps

  app.get(
    '/health',
    {
      config: { access: 'public' },
      schema: {
        tags,
        summary: 'The process is alive; touches no database',
        response: { 200: OkWith({ status: Type.Literal('ok'), version: Type.String() }) },
      },
    },
    async () => ({ ok: true as const, status: 'ok' as const, version }),
  )

  app.get(
    '/ready',
    {
      config: { access: 'public' },
      schema: {
        tags,
        summary: 'Database reachable, migrations applied, not draining',
        response: { 200: OkWith({ status: Type.Literal('ready') }), 503: Failure },
      },
    },
    async (_request, reply) => {
      const { ok, problems } = await deps.ready()
      if (ok) return { ok: true as const, status: 'ready' as const }
      const error = problems.join('; ') || 'not ready'
      reply.code(503).header('retry-after', '5')
      return { ok: false as const, error, code: 'not_ready', detail: error, details: { problems: [...problems] } }
    },
  )

  app.get(
    '/status',
    {
      config: { access: 'any' },
      schema: {
        tags,
        summary: 'Is it sending, and how much waits; a tenant key sees its own figures',
        querystring: TenantQuery,
        response: {
          200: OkWith({
            active: Type.Boolean(),
            scheduler_active: Type.Boolean(),
            pending_messages: Type.Integer(),
            uptime_seconds: Type.Integer(),
            version: Type.String(),
            release_needed: Type.Optional(Type.String()),
            draining: Type.Boolean(),
            paused_accounts: Type.Array(Type.Unknown()),
          }),
        },
      },
    },
    async request => {
      const { schedulerActive, releaseNeeded, draining } = deps.status()
      const [pending, paused] = await Promise.all([
        countOpen(db, request.tenantScope, clock),
        listPaused(db, request.tenantScope, MAX_PAUSED_SHOWN),
      ])
      return {
        ok: true as const,
        active: schedulerActive && releaseNeeded === null,
        scheduler_active: schedulerActive,
        pending_messages: pending,
        uptime_seconds: Math.max(0, Math.floor((clock.now() - deps.startedAt) / 1000)),
        version,
        ...(releaseNeeded === null ? {} : { release_needed: releaseNeeded }),
        draining,
        paused_accounts: paused.map(({ tenantId, id, ...pause }) => ({ tenant_id: tenantId, id, ...pauseInfo(pause) })),
      }
    },
  )

  app.get(
    '/metrics',
    { config: { access: 'public' }, schema: { tags, summary: 'Prometheus metrics', response: { 200: Type.String() } } },
    async (request, reply) => {
      const { metricsToken } = config.server
      if (metricsToken !== null && !config.server.insecureNoAuth) {
        const token = tokenOf(request)
        const known = token !== null && (sameToken(token, metricsToken) || (await app.isAdminToken(token)))
        if (!known) {
          if (token !== null) app.countUnknownToken(request)
          throw new AppError('unauthorized', 'Invalid or missing API token')
        }
      }
      reply.type('text/plain; version=0.0.4; charset=utf-8').serializer((text: unknown) => String(text))
      return deps.metricsText()
    },
  )

  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, async () => app.swagger())
}
