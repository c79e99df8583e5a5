/** What was commanded, by whom it concerned, and with what answer. */
import type { Static } from 'typebox'
import type { Routes } from '../app.js'
import { type CommandFilter, listCommands } from '../audit.js'
import { AnyId, Given, Int, Line, OkWith } from '../schemas.js'
import { Type } from '../type.js'
import { unixSeconds, withoutNulls } from '../wire-time.js'

const Time = Given(Type.Number({ minimum: 0, maximum: 253_402_300_799, description: 'Unix seconds, inclusive' }))
const Span = Type.Object({ tenant_id: Type.Optional(AnyId), since_ts: Time, until_ts: Time })
const Filter = Type.Object({ ...Span.properties, endpoint_filter: Given(Line(100)), limit: Given(Int(1, 10_000)) })
const EXPORT_LIMIT = 100_000
const tags = ['command log']

const Logged = Type.Object({
  id: Type.Integer(),
  command_ts: Type.Integer(),
  endpoint: Type.String(),
  tenant_id: Type.Optional(Type.String()),
  payload: Type.Unknown(),
  response_status: Type.Integer(),
})

export const commandLogRoutes: Routes = (app, { db }) => {
  app.get(
    '/command-log',
    {
      config: { access: 'admin' },
      schema: {
        tags,
        summary: 'State-changing commands, newest first',
        querystring: Filter,
        response: { 200: OkWith({ commands: Type.Array(Logged), total: Type.Integer() }) },
      },
    },
    async request => {
      const { endpoint_filter: endpoint, limit } = request.query
      await app.flushAudit()
      const found = await listCommands(db, { ...span(request.query), endpoint: endpoint || null, limit: limit ?? 100 })
      const commands = found.map(each => ({
        ...withoutNulls({ tenant_id: each.tenantId }),
        id: each.id,
        command_ts: unixSeconds(each.at),
        endpoint: each.endpoint,
        payload: each.payload,
        response_status: each.responseStatus,
      }))
      return { ok: true as const, commands, total: commands.length }
    },
  )

  app.get(
    '/command-log/export',
    {
      config: { access: 'admin' },
      schema: {
        tags,
        summary: `The same in a form to be replayed, oldest first; the newest ${EXPORT_LIMIT} of the span`,
        querystring: Span,
        response: { 200: OkWith({ commands: Type.Array(Type.Unknown()) }) },
      },
    },
    async request => {
      await app.flushAudit()
      const found = await listCommands(db, { ...span(request.query), endpoint: null, limit: EXPORT_LIMIT })
      const commands = found.reverse().map(each => ({
        endpoint: each.endpoint,
        tenant_id: each.tenantId,
        payload: each.payload,
        command_ts: unixSeconds(each.at),
      }))
      return { ok: true as const, commands }
    },
  )
}

function span(query: Static<typeof Span>): Pick<CommandFilter, 'tenantId' | 'since' | 'until'> {
  return {
    tenantId: query.tenant_id ?? null,
    since: query.since_ts == null ? null : Math.floor(query.since_ts * 1000),
    // A whole second includes its milliseconds.
    until: query.until_ts == null ? null : Math.floor(query.until_ts * 1000) + 999,
  }
}
