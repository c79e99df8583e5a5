/**
 * Where a tenant is called, with reports and for attachments: its own client_base_url joined with a path, else a URL of
 * the service. Each comes with its own credentials: a tenant's never go to the service's URL, and none the other way.
 */

import { authorizationOf } from '../lib/http-auth.js'
import { urlOf } from '../lib/url.js'
import { withoutEnd } from '../lib/without-end.js'
import type { Tenant } from './tenant.js'

const DEFAULT_SYNC_PATH = '/mail-proxy/sync'
const DEFAULT_ATTACHMENT_PATH = '/mail-proxy/attachments'

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

/** Where reports go. Null: this tenant has no endpoint, its entries count as reported at once. */
export function reportEndpoint(tenant: Tenant, global: GlobalEndpoint): Endpoint | null {
  const own = ownEndpoint(tenant, tenant.clientSyncPath || DEFAULT_SYNC_PATH)
  if (own !== null) return own
  if (global.url === null || global.url === '') return null
  return withoutUserInfo(parseUrl(global.url), globalHeader(global), true)
}

/** Where attachments are asked for; `fallback` is GMP_ATTACHMENT_BASE_URL. Null: there is no such place. */
export function attachmentEndpoint(tenant: Tenant, fallback: string | null): Endpoint | null {
  const own = ownEndpoint(tenant, tenant.clientAttachmentPath || DEFAULT_ATTACHMENT_PATH)
  if (own !== null || fallback === null) return own
  return withoutUserInfo(joinUrl(fallback, tenant.clientAttachmentPath || DEFAULT_ATTACHMENT_PATH), null, true)
}

function ownEndpoint({ clientBaseUrl, clientAuth, endpointTrusted }: Tenant, path: string): Endpoint | null {
  if (clientBaseUrl === null || clientBaseUrl === '') return null
  return withoutUserInfo(joinUrl(clientBaseUrl, path), authorizationOf(clientAuth), endpointTrusted)
}

/** The path is appended below the base's own; what would lead out of there is no URL to call. */
function joinUrl(base: string, path: string): URL | null {
  const root = parseUrl(base)
  if (root === null) return null
  const below = `${withoutEnd(root.pathname, '/')}/`
  const url = parseUrl(`${root.origin}${below}${path.replace(/^\/+/, '')}`)
  if (url === null || url.origin !== root.origin || !url.pathname.startsWith(below)) return null
  if (url.search === '') url.search = root.search
  url.username = root.username
  url.password = root.password
  return url
}

function parseUrl(text: string): URL | null {
  const url = urlOf(text)
  return url?.protocol === 'http:' || url?.protocol === 'https:' ? url : null
}

/** `https://user:password@host/` means Basic authentication, unless client_auth says something else. */
function withoutUserInfo(url: URL | null, authorization: string | null, trusted: boolean): Endpoint {
  if (url === null) return { url, authorization, trusted }
  const fromUrl =
    url.username === ''
      ? null
      : authorizationOf({ method: 'basic', user: decode(url.username), password: decode(url.password) })
  url.username = ''
  url.password = ''
  url.hash = ''
  return { url, authorization: authorization ?? fromUrl, trusted }
}

function globalHeader({ token, user, password }: GlobalEndpoint): string | null {
  if (token !== null && token !== '') return authorizationOf({ method: 'bearer', token })
  return user !== null && user !== '' ? authorizationOf({ method: 'basic', user, password: password ?? '' }) : null
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
