/**
 * Which tenant a request is about: `tenant_id` from path, query or body against the caller's own. Runs after the body
 * is parsed and before its fields are judged, so that a foreign tenant learns nothing about either.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { AppError } from '../lib/errors.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The tenant the request is limited to. null: an admin who named none, so all tenants. Set before validation. */
    tenantScope: string | null
  }
}

/** Refuses with 401 when a tenant key names another tenant, whether or not that tenant exists. */
export function checkScope(request: FastifyRequest, _reply: FastifyReply, done: () => void): void {
  request.tenantScope = scopeOf(request)
  done()
}

function scopeOf({ caller, params, query, body }: FastifyRequest): string | null {
  const own = caller?.kind === 'tenant' ? caller.tenantId : null
  let scope = own
  for (const part of [params, query, body]) {
    const named = tenantIdIn(part)
    if (named === undefined || named === scope) continue
    if (own !== null) {
      if (named !== '') throw foreignTenant()
      continue
    }
    if (named === '') throw new AppError('bad_request', 'tenant_id is required')
    if (scope !== null) throw new AppError('bad_request', 'tenant_id differs between path, query and body')
    scope = named
  }
  return scope
}

export function foreignTenant(): AppError {
  return new AppError('unauthorized', 'Token not authorized for this tenant')
}

function tenantIdIn(part: unknown): string | undefined {
  if (typeof part !== 'object' || part === null || !Object.hasOwn(part, 'tenant_id')) return undefined
  const value = (part as { tenant_id: unknown }).tenant_id
  // Repeated in the query (`?tenant_id=a&tenant_id=b`) it is an array, which validation refuses.
  return typeof value === 'string' ? value : undefined
}
