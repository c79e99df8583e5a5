/**
 * Who is calling, found out before the body is read. The admin token's hash comes from the settings or the database,
 * tenant keys by their hash; both are remembered for at most a second, so that thousands of requests a second cost one
 * query, and a key revoked in this process stops at once (`forgetTokens`).
 */
import type { FastifyRequest } from 'fastify'
import { AppError } from '../lib/errors.js'
import { equalHashes, hashToken } from '../lib/tokens.js'
import { findKey } from '../tenants/keys.js'
import { readAdminTokenHash } from './admin-token.js'
import type { Caller } from './caller.js'
import type { HttpDeps } from './deps.js'

/** public: no token. admin: the admin token. tenant: also the tenant's own key. any: any known token. */
export type Access = 'public' | 'admin' | 'tenant' | 'any'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call the route; buildApp takes none that does not say it. In the OpenAPI document it is `x-access`. */
    access?: Access
  }
  interface FastifyInstance {
    /** Drops what is remembered of tokens; call after any change to keys or the admin token. */
    forgetTokens(): void
    isAdminToken(token: string): Promise<boolean>
    /** For a route that judges tokens itself. Throws 429 when an address gave too many unknown ones. */
    countUnknownToken(request: FastifyRequest): void
  }
}

export interface Authenticator {
  /** The caller, or AppError: 401 and 403 with the predecessor's words. */
  authenticate(request: FastifyRequest, access: Access): Promise<Caller>
  /** True when the token is the admin's. */
  isAdminToken(token: string): Promise<boolean>
  forget(): void
}

const REMEMBER_MS = 1000
/** Unknown tokens are remembered too, so a flood of them is bounded in memory and costs few queries. */
const MAX_REMEMBERED = 10_000

type Known = { readonly tenantId: string; readonly expiresAt: number | null } | null

/** `onUnknown` is told of each unknown token and may throw a refusal of its own. */
export function createAuthenticator(
  deps: Pick<HttpDeps, 'config' | 'db' | 'clock'>,
  onUnknown: (request: FastifyRequest) => void,
): Authenticator {
  const { config, db, clock } = deps
  const fixedHash = config.server.apiToken === null ? null : hashToken(config.server.apiToken)
  const keys = new Map<string, { at: number; key: Promise<Known> }>()
  let admin: { at: number; hash: Promise<string | null> } | null = null

  const adminHash = (): Promise<string | null> => {
    if (fixedHash !== null) return Promise.resolve(fixedHash)
    const now = clock.monotonic()
    if (admin === null || now - admin.at >= REMEMBER_MS) {
      const fresh = { at: now, hash: readAdminTokenHash(db) }
      admin = fresh
      // An outage is not remembered.
      fresh.hash.catch(() => {
        if (admin === fresh) admin = null
      })
    }
    return admin.hash
  }

  const keyOf = (hash: string): Promise<Known> => {
    const now = clock.monotonic()
    const known = keys.get(hash)
    if (known !== undefined && now - known.at < REMEMBER_MS) return known.key
    if (keys.size >= MAX_REMEMBERED) keys.clear()
    const fresh = { at: now, key: findKey(db, hash) }
    keys.set(hash, fresh)
    fresh.key.catch(() => {
      if (keys.get(hash) === fresh) keys.delete(hash)
    })
    return fresh.key
  }

  const isAdminHash = async (hash: string): Promise<boolean> => {
    const expected = await adminHash()
    return expected !== null && equalHashes(hash, expected)
  }

  return {
    async authenticate(request, access) {
      if (config.server.insecureNoAuth) return { kind: 'admin' }
      const token = tokenOf(request)
      if (token === null) throw unauthorized(access === 'admin' ? 'Admin token required' : undefined)
      const hash = hashToken(token)
      if (await isAdminHash(hash)) return { kind: 'admin' }
      const key = await keyOf(hash)
      if (key === null || (key.expiresAt !== null && key.expiresAt <= clock.now())) {
        onUnknown(request)
        throw unauthorized()
      }
      if (access === 'admin') {
        throw new AppError('forbidden', 'Admin token required, tenant tokens not allowed for this operation')
      }
      return { kind: 'tenant', tenantId: key.tenantId }
    },
    isAdminToken: token => isAdminHash(hashToken(token)),
    forget() {
      keys.clear()
      admin = null
    },
  }
}

/** `X-API-Token`, else `Authorization: Bearer`. An empty one is none. */
export function tokenOf({ headers }: Pick<FastifyRequest, 'headers'>): string | null {
  const own = headers['x-api-token']
  if (typeof own === 'string' && own !== '') return own
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')
  return bearer?.[1] ?? null
}

/** Compares two tokens in a time that depends on neither. */
export function sameToken(a: string, b: string): boolean {
  return equalHashes(hashToken(a), hashToken(b))
}

function unauthorized(message = 'Invalid or missing API token'): AppError {
  return new AppError('unauthorized', message)
}
