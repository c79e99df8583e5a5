/**
 * Where a tenant's reports go: its own client_base_url joined with client_sync_path, else the service's global URL.
 * Each comes with its own credentials: a tenant's never go to the global URL, the global ones never to a tenant's.
 */
import type { ClientAuth, Tenant } from '../tenants/tenant.js'

const DEFAULT_SYNC_PATH = '/mail-proxy/sync'

/** The service's own report endpoint (GMP_CLIENT_SYNC_*); url null: there is none. */
export interface GlobalEndpoint {
  readonly url: string | null
  readonly user: string | null
  readonly password: string | null
  readonly token: string | null
}

export interface Endpoint {
  /** Without user information; null when what was set is no http(s) URL, or its path leaves the base. */
  readonly url: URL | null
  /** The Authorization header; null: none. */
  readonly authorization: string | null
  /** False: set with a tenant's key, so only addresses the network guard allows may be connected to. */
  readonly trusted: boolean
}

/** Null: this tenant has no endpoint, its entries count as reported at once. */
export function endpointOf(tenant: Tenant, global: GlobalEndpoint): Endpoint | null {
  if (tenant.clientBaseUrl !== null && tenant.clientBaseUrl !== '') {
    const url = joinUrl(tenant.clientBaseUrl, tenant.clientSyncPath || DEFAULT_SYNC_PATH)
    return withoutUserInfo(url, headerOf(tenant.clientAuth), tenant.endpointTrusted)
  }
  if (global.url === null || global.url === '') return null
  return withoutUserInfo(parseUrl(global.url), globalHeader(global), true)
}

/** The path is appended below the base's own; what would lead out of there is no URL to call. */
function joinUrl(base: string, path: string): URL | null {
  const root = parseUrl(base)
  if (root === null) return null
  const below = `${root.pathname.replace(/\/+$/, '')}/`
  const url = parseUrl(`${root.origin}${below}${path.replace(/^\/+/, '')}`)
  if (url === null || url.origin !== root.origin || !url.pathname.startsWith(below)) return null
  if (url.search === '') url.search = root.search
  url.username = root.username
  url.password = root.password
  return url
}

function parseUrl(text: string): URL | null {
  if (!URL.canParse(text)) return null
  const url = new URL(text)
  return url.protocol === 'http:' || url.protocol === 'https:' ? url : null
}

/** `https://user:password@host/` means Basic authentication, unless client_auth says something else. */
function withoutUserInfo(url: URL | null, authorization: string | null, trusted: boolean): Endpoint {
  if (url === null) return { url, authorization, trusted }
  const fromUrl = url.username === '' ? null : basic(decode(url.username), decode(url.password))
  url.username = ''
  url.password = ''
  url.hash = ''
  return { url, authorization: authorization ?? fromUrl, trusted }
}

function headerOf(auth: ClientAuth | null): string | null {
  switch (auth?.method) {
    case 'bearer':
      return `Bearer ${auth.token}`
    case 'basic':
      return basic(auth.user, auth.password)
    default:
      return null
  }
}

function globalHeader({ token, user, password }: GlobalEndpoint): string | null {
  if (token !== null && token !== '') return `Bearer ${token}`
  return user !== null && user !== '' ? basic(user, password ?? '') : null
}

/** RFC 7617 with charset UTF-8. */
function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
