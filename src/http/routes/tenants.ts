/** Tenants and their API keys. */

import type { FastifyRequest } from 'fastify'
import { AppError } from '../../lib/errors.js'
import { deleteTenant } from '../../tenants/delete.js'
import { revokeKeys, revokeOldKeys, rotateKey } from '../../tenants/keys.js'
import {
  createTenant,
  DEFAULT_TENANT,
  getTenant,
  listSyncStates,
  listTenants,
  type SavedTenant,
  tenantExists,
  updateTenant,
} from '../../tenants/store.js'
import type { Routes } from '../app.js'
import { audit } from '../audit.js'
import { AnyId, Flag, Given, Int, Ok, OkWith, UnixTime } from '../schemas.js'
import {
  auditedLargeFiles,
  largeFilesProblem,
  refuseForeignFields,
  type TenantFields,
  TenantInfo,
  TenantPayload,
  TenantUpdate,
  tenantInfo,
  tenantPatch,
  withoutGivenNulls,
} from '../tenant-record.js'
import { Type } from '../type.js'
import { wrongField } from '../validate.js'
import { withoutNulls } from '../wire-time.js'

const TenantPath = Type.Object({ tenant_id: AnyId })
const ApiKey = Type.String({ description: 'Shown this once' })
const tags = ['tenants']

const SyncStatus = Type.Object({
  id: Type.String(),
  name: Type.Optional(Type.String()),
  active: Type.Boolean(),
  client_base_url: Type.Optional(Type.String()),
  last_sync_ts: Type.Optional(Type.Number()),
  next_sync_due: Type.Boolean(),
  in_dnd: Type.Boolean(),
})

export const tenantRoutes: Routes = (app, { config, db, sealer, clock, wake, tenantDeleted }) => {
  const notFound = (id: string) => new AppError('not_found', `Tenant '${id}' not found`)
  const refuseUnsaved = (saved: SavedTenant, id: string): void => {
    if (saved.kind === 'refused') throw wrongField(saved.field, saved.problem)
    if (saved.kind === 'no_tenant') throw notFound(id)
  }

  app.post(
    '/tenant',
    {
      config: { access: 'admin', audit: 'addTenant' },
      schema: {
        tags,
        summary: 'Create a tenant (answers its API key), or change the fields given',
        body: TenantPayload,
        response: { 200: OkWith({ api_key: Type.Optional(ApiKey) }) },
      },
    },
    async request => {
      const { id, ...given } = request.body
      auditLargeFiles(request, given)
      const options = { now: clock.now(), trusted: true, problemOfLargeFiles: largeFilesProblem }
      const patch = tenantPatch(given, await getTenant(db, sealer, id))
      const created = await createTenant(db, sealer, id, patch, options)
      const saved = created.kind === 'taken' ? await updateTenant(db, sealer, id, patch, options) : created
      refuseUnsaved(saved, id)
      app.forgetTokens()
      await wake.settings()
      return saved.kind === 'created' ? { ok: true as const, api_key: saved.key } : { ok: true as const }
    },
  )

  app.get(
    '/tenants',
    {
      config: { access: 'admin' },
      schema: {
        tags,
        summary: 'All tenants',
        querystring: Type.Object({ active_only: Type.Optional(Flag) }),
        response: { 200: OkWith({ tenants: Type.Array(TenantInfo) }) },
      },
    },
    async request => {
      const tenants = await listTenants(db, sealer, { activeOnly: request.query.active_only ?? false })
      return { ok: true as const, tenants: tenants.map(tenantInfo) }
    },
  )

  app.get(
    '/tenants/sync-status',
    {
      config: { access: 'admin' },
      schema: {
        tags,
        summary: 'When each tenant was last told, and whether it is due',
        response: { 200: OkWith({ tenants: Type.Array(SyncStatus), sync_interval_seconds: Type.Number() }) },
      },
    },
    async () => {
      const now = clock.now()
      const { syncIntervalMs } = config.reports
      const tenants = (await listSyncStates(db)).map(state => {
        const inDnd = state.quietUntil !== null && state.quietUntil > now
        const last = state.lastSyncAt
        return {
          ...withoutNulls({
            name: state.name,
            client_base_url: state.clientBaseUrl,
            last_sync_ts: last === null ? null : last / 1000,
          }),
          id: state.id,
          active: state.active,
          next_sync_due: !inDnd && (last === null || now - last >= syncIntervalMs),
          in_dnd: inDnd,
        }
      })
      return { ok: true as const, tenants, sync_interval_seconds: syncIntervalMs / 1000 }
    },
  )

  app.get(
    '/tenant/:tenant_id',
    {
      config: { access: 'tenant' },
      schema: {
        tags,
        summary: 'One tenant, secrets masked',
        params: TenantPath,
        response: { 200: OkWith(TenantInfo.properties) },
      },
    },
    async request => {
      const { tenant_id: id } = request.params
      const tenant = await getTenant(db, sealer, id)
      if (tenant === null) throw notFound(id)
      return { ok: true as const, ...tenantInfo(tenant) }
    },
  )

  app.put(
    '/tenant/:tenant_id',
    {
      config: { access: 'tenant', audit: 'updateTenant' },
      schema: {
        tags,
        summary: 'Change the fields given; null is not given',
        params: TenantPath,
        body: TenantUpdate,
        response: { 200: Ok },
      },
    },
    async request => {
      const { tenant_id: id } = request.params
      auditLargeFiles(request, request.body)
      const before = await getTenant(db, sealer, id)
      if (before === null) throw notFound(id)
      const patch = tenantPatch(withoutGivenNulls(request.body), before)
      const trusted = request.caller.kind === 'admin'
      if (!trusted) refuseForeignFields(patch, before)
      const options = { now: clock.now(), trusted, problemOfLargeFiles: largeFilesProblem }
      refuseUnsaved(await updateTenant(db, sealer, id, patch, options), id)
      await wake.settings()
      return { ok: true as const }
    },
  )

  app.delete(
    '/tenant/:tenant_id',
    {
      config: { access: 'admin', audit: 'deleteTenant' },
      schema: {
        tags,
        summary: 'Delete a tenant with its accounts, messages and reports',
        params: TenantPath,
        response: { 200: Ok },
      },
    },
    async request => {
      const { tenant_id: id } = request.params
      if (id === DEFAULT_TENANT) {
        // Every start would make it anew, without what belonged to it.
        throw new AppError('command_failed', `the tenant ${DEFAULT_TENANT} always exists and cannot be deleted`)
      }
      if (!(await deleteTenant(db, id, clock.now()))) throw notFound(id)
      app.forgetTokens()
      await wake.settings()
      await tenantDeleted(id)
      return { ok: true as const }
    },
  )

  app.post(
    '/tenant/:tenant_id/api-key',
    {
      config: { access: 'admin', audit: 'createApiKey' },
      schema: {
        tags,
        summary: 'A new API key; the ones before end now or after the overlap',
        params: TenantPath,
        querystring: Type.Object({ expires_at: Given(UnixTime), overlap_seconds: Given(Int(0, 31_536_000)) }),
        body: Type.Object({ expires_at: Given(UnixTime), overlap_seconds: Given(Int(0, 31_536_000)) }),
        response: { 200: OkWith({ api_key: ApiKey }) },
      },
    },
    async request => {
      const { tenant_id: id } = request.params
      const expires = request.body.expires_at ?? request.query.expires_at ?? null
      const overlap = request.body.overlap_seconds ?? request.query.overlap_seconds ?? 0
      const now = clock.now()
      if (expires !== null && expires * 1000 <= now) throw wrongField('expires_at', 'Input should be a time to come')
      const key = await rotateKey(db, id, {
        now,
        expiresAt: expires === null ? null : expires * 1000,
        overlapMs: overlap * 1000,
      })
      app.forgetTokens()
      if (key === null) throw notFound(id)
      return { ok: true as const, api_key: key }
    },
  )

  app.delete(
    '/tenant/:tenant_id/api-key',
    {
      config: { access: 'admin', audit: 'deleteApiKey' },
      schema: {
        tags,
        summary: 'End all API keys of a tenant, or all but the one made last',
        params: TenantPath,
        // Closed: with a name that is mistyped and ignored the key that is meant to stay would end too.
        querystring: Type.Object({ keep_newest: Given(Flag) }, { additionalProperties: false }),
        body: Type.Object({ keep_newest: Given(Flag) }, { additionalProperties: false }),
        response: { 200: Ok },
      },
    },
    async request => {
      const { tenant_id: id } = request.params
      if (!(await tenantExists(db, id))) throw notFound(id)
      const keepNewest = request.body.keep_newest ?? request.query.keep_newest ?? false
      await (keepNewest ? revokeOldKeys(db, id, clock.now()) : revokeKeys(db, id))
      app.forgetTokens()
      return { ok: true as const }
    },
  )
}

function auditLargeFiles(request: FastifyRequest, { large_file_config: given }: TenantFields): void {
  if (given != null) audit(request, { ...request.audit?.payload, large_file_config: auditedLargeFiles(given) })
}
