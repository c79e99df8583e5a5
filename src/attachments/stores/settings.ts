/** The config of a store by the names of its keys: which there are, what may stand in them, and how backends read them. */
import type { Backend } from './store.js'

type Kind = 'text' | 'secret' | 'flag' | 'url' | 'name' | 'directory' | 'object'

export interface Key {
  readonly kind: Kind
  readonly required?: true
  /** Other names of it, those of genro-storage and fsspec. */
  readonly aliases?: readonly string[]
  /** Not for a tenant's own volume. */
  readonly adminOnly?: true
}

export const KEYS: { readonly [B in Backend]: Readonly<Record<string, Key>> } = {
  s3: {
    bucket: { kind: 'name', required: true },
    prefix: { kind: 'text', aliases: ['base_path'] },
    region: { kind: 'name', aliases: ['region_name'] },
    endpoint: { kind: 'url', aliases: ['endpoint_url'] },
    access_key_id: { kind: 'secret', aliases: ['key', 'access_key', 'aws_access_key_id'] },
    secret_access_key: { kind: 'secret', aliases: ['secret', 'secret_key', 'aws_secret_access_key'] },
    session_token: { kind: 'secret', aliases: ['token', 'aws_session_token'] },
    anonymous: { kind: 'flag', aliases: ['anon'] },
    force_path_style: { kind: 'flag' },
  },
  http: {
    base_url: { kind: 'url', required: true, aliases: ['url'] },
    auth: { kind: 'object' },
    headers: { kind: 'object' },
  },
  webdav: {
    url: { kind: 'url', required: true, aliases: ['base_url'] },
    prefix: { kind: 'text', aliases: ['base_path'] },
    user: { kind: 'secret', aliases: ['username'] },
    password: { kind: 'secret' },
    token: { kind: 'secret' },
  },
  local: { root: { kind: 'directory', required: true, aliases: ['base_path', 'path'] } },
  gcs: {
    bucket: { kind: 'name', required: true },
    prefix: { kind: 'text', aliases: ['base_path'] },
    project_id: { kind: 'name', aliases: ['project'] },
    credentials: { kind: 'object', aliases: ['token'] },
    endpoint: { kind: 'url', aliases: ['endpoint_url'], adminOnly: true },
  },
  azure: {
    container: { kind: 'name', required: true },
    prefix: { kind: 'text', aliases: ['base_path'] },
    account_name: { kind: 'name' },
    account_key: { kind: 'secret' },
    connection_string: { kind: 'secret' },
    sas_token: { kind: 'secret' },
    endpoint: { kind: 'url', aliases: ['endpoint_url'] },
  },
}

/** The values of a config under the keys' own names; unknown ones are left out. Nothing is checked here. */
export function valuesOf(backend: Backend, config: Readonly<Record<string, unknown>>): ReadonlyMap<string, unknown> {
  const values = new Map<string, unknown>()
  for (const [name, given] of Object.entries(config)) {
    const key = keyNamed(backend, name)
    if (key === null || given === null || given === undefined || given === '') continue
    values.set(key, KEYS[backend][key]!.kind === 'object' ? parsed(given) : given)
  }
  return values
}

/** The key that a name or alias stands for. */
export function keyNamed(backend: Backend, name: string): string | null {
  for (const [key, { aliases }] of Object.entries(KEYS[backend])) {
    if (key === name || aliases?.includes(name)) return key
  }
  return null
}

/** Reads a config that has been checked. */
export class Settings {
  constructor(private readonly values: ReadonlyMap<string, unknown>) {}

  text(key: string): string | undefined {
    return this.values.get(key) as string | undefined
  }

  required(key: string): string {
    return this.values.get(key) as string
  }

  flag(key: string): boolean | undefined {
    const value = this.values.get(key)
    return value === undefined ? undefined : value === true || value === 'true'
  }

  object(key: string): Readonly<Record<string, unknown>> | undefined {
    return this.values.get(key) as Readonly<Record<string, unknown>> | undefined
  }

  headers(key: string): Record<string, string> {
    const entries = Object.entries(this.object(key) ?? {})
    return Object.fromEntries(entries.map(([name, value]) => [name.toLowerCase(), String(value)]))
  }
}

// config.ini has no objects; there they stand as JSON in a string.
function parsed(value: unknown): unknown {
  if (typeof value !== 'string') return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}
