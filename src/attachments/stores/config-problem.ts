/** What is wrong with the config of a store, in one sentence that repeats no value: some are secrets. */

import { isAbsolute } from 'node:path'
import { closest } from '../../lib/closest.js'
import { urlOf } from '../../lib/url.js'
import { KEYS, type Key, keyNamed, valuesOf } from './settings.js'
import type { Backend, StoreAccess } from './store.js'

type Values = ReadonlyMap<string, unknown>

/** null: nothing is. Whether the store answers and lets us in is only seen when it is used. */
export function problemOfConfig(
  backend: Backend,
  config: Readonly<Record<string, unknown>>,
  access: Pick<StoreAccess, 'guard'>,
): string | null {
  const tenants = access.guard !== null
  if (backend === 'local' && tenants) return 'local is not for a volume that a tenant sets'
  return (
    unknownKey(backend, config) ??
    keyProblem(backend, valuesOf(backend, config), tenants) ??
    PROBLEMS[backend](valuesOf(backend, config))
  )
}

function unknownKey(backend: Backend, config: Readonly<Record<string, unknown>>): string | null {
  const given = Object.keys(config)
  for (const name of given) {
    if (keyNamed(backend, name) === null) {
      const meant = closest(name, Object.keys(KEYS[backend]))
      return `unknown key ${printable(name)}${meant === undefined ? '' : `: did you mean ${meant}?`}`
    }
    const twin = given.find(other => other !== name && keyNamed(backend, other) === keyNamed(backend, name))
    if (twin !== undefined) return `${name} and ${twin} are two names of the same key`
  }
  return null
}

function keyProblem(backend: Backend, values: Values, tenants: boolean): string | null {
  for (const [name, key] of Object.entries(KEYS[backend])) {
    if (!values.has(name)) {
      if (key.required) return `${name} is missing`
      continue
    }
    if (key.adminOnly && tenants) return `${name} is not for a volume that a tenant sets`
    const problem = valueProblem(key, values.get(name))
    if (problem !== null) return `${name} ${problem}`
  }
  return null
}

function valueProblem({ kind }: Key, value: unknown): string | null {
  if (kind === 'object') return isObject(value) ? null : 'is not an object'
  if (kind === 'flag')
    return [true, false, 'true', 'false'].includes(value as never) ? null : 'is neither true nor false'
  if (typeof value !== 'string') return 'is not a string'
  if (/[\x00-\x1f\x7f]/.test(value)) return 'has a control character'
  if (kind === 'url') return urlProblem(value)
  // A name becomes part of a host name or a path: nothing that could end it.
  if (kind === 'name' && !/^[A-Za-z0-9$][A-Za-z0-9._:-]{0,253}$/.test(value))
    return 'has characters that no such name has'
  if (kind === 'directory' && !isAbsolute(value)) return 'is not an absolute path'
  if (kind === 'text' && value.split('/').includes('..')) return 'has a ".." segment'
  return null
}

const MOST_URL = 2_000

function urlProblem(value: string): string | null {
  if (value.length > MOST_URL) return `is longer than ${MOST_URL} characters`
  const url = urlOf(value)
  if (url === null || !/^https?:$/.test(url.protocol)) return 'is not an http or https URL'
  if (url.username !== '' || url.password !== '') return 'has a user or password inside; they have their own keys'
  if (url.search !== '' || url.hash !== '') return 'has a query or fragment'
  return null
}

const PROBLEMS: { readonly [B in Backend]: (values: Values) => string | null } = {
  s3: values =>
    pairProblem(values, 'access_key_id', 'secret_access_key') ??
    (values.has('session_token') && !values.has('access_key_id') ? 'access_key_id is missing' : null),
  http: values =>
    authProblem((values.get('auth') ?? {}) as Record<string, unknown>) ?? headersProblem(values.get('headers') ?? {}),
  webdav: values =>
    pairProblem(values, 'user', 'password') ??
    (values.has('token') && values.has('user') ? 'token and user are given, one is enough' : null),
  local: () => null,
  gcs: values => (values.has('credentials') ? credentialsProblem(values.get('credentials') as object) : null),
  azure: azureProblem,
}

function pairProblem(values: Values, one: string, other: string): string | null {
  if (values.has(one) === values.has(other)) return null
  return `${values.has(one) ? other : one} is missing`
}

const NEEDED: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['none', []],
  ['bearer', ['token']],
  ['basic', ['user', 'password']],
])

function authProblem(auth: Record<string, unknown>): string | null {
  const method = auth.method ?? 'none'
  const needed = NEEDED.get(method)
  if (needed === undefined) return 'auth.method is none of none, bearer and basic'
  for (const name of needed) {
    const value = auth[name]
    if (typeof value !== 'string' || value === '') return `auth.${name} is missing`
    if (/[\x00-\x1f\x7f]/.test(value)) return `auth.${name} has a control character`
  }
  const unknown = Object.keys(auth).find(name => !['method', 'token', 'user', 'password'].includes(name))
  return unknown === undefined ? null : `unknown key auth.${printable(unknown)}`
}

// Those that say where the message ends or to whom it goes are HTTP's own.
const HEADERS_OF_HTTP =
  /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|keep-alive|proxy-.*)$/i

function headersProblem(headers: object): string | null {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return `headers: ${printable(name)} is no header name`
    if (HEADERS_OF_HTTP.test(name)) return `headers: ${name} cannot be set`
    if (typeof value !== 'string' || /[^\t\x20-\x7e]/.test(value))
      return `headers: the value of ${name} is no plain text`
  }
  return null
}

/** Only a key that lies here: other kinds of Google credentials name files, commands and URLs to ask for a token. */
function credentialsProblem(credentials: object): string | null {
  const { type, client_email, private_key } = credentials as Record<string, unknown>
  if (type !== undefined && type !== 'service_account') return 'credentials is not the key of a service account'
  if (typeof client_email !== 'string') return 'credentials.client_email is missing'
  if (typeof private_key !== 'string') return 'credentials.private_key is missing'
  return null
}

/** By the names of its parts; what they hold is seen when it is used. */
function isConnectionString(text: string): boolean {
  const parts = text.split(';').map(part => part.trim().toLowerCase())
  const has = (start: string) => parts.some(part => part.startsWith(start))
  const hasKey = has('accountname=') && has('accountkey=')
  return hasKey || has('sharedaccesssignature=') || has('usedevelopmentstorage=true')
}

function azureProblem(values: Values): string | null {
  const given = ['account_key', 'connection_string', 'sas_token'].filter(name => values.has(name))
  if (given.length > 1) return `${given.join(' and ')} are given, one is enough`
  if (values.has('connection_string')) {
    if (!isConnectionString(String(values.get('connection_string')))) return 'connection_string is not one of Azure'
    const other = ['account_name', 'endpoint'].find(name => values.has(name))
    return other === undefined ? null : `${other} stands in the connection_string already`
  }
  if (values.has('account_name')) return null
  return values.has('account_key') || !values.has('endpoint') ? 'account_name is missing' : null
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function printable(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, '?').slice(0, 40)
}
