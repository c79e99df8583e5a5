/** A tenant's `large_file_config` as delivery reads it, and what is wrong with one that is to be set. */
import { fileURLToPath } from 'node:url'
import { withoutEnd } from '../../lib/without-end.js'
import { problemOfConfig } from '../stores/config-problem.js'
import { keyNamed } from '../stores/settings.js'
import type { Backend, StoreAccess } from '../stores/store.js'

type Given = Readonly<Record<string, unknown>>

export interface LargeFileSettings {
  readonly action: 'warn' | 'reject' | 'rewrite'
  /** Octets; what is larger is too large. */
  readonly maxBytes: number
  readonly ttlMs: number
  /** Without a slash at its end; null: the store signs the links. */
  readonly publicBaseUrl: string | null
}

/** Where files are put out: what openStore wants. */
export interface Place {
  readonly backend: Backend
  readonly config: Given
}

const MAX_SIZE_MB = 10
const TTL_DAYS = 30
const DAY_MS = 24 * 3600 * 1000

/** null: large files are sent like others. */
export function largeFileSettings(config: Given | null): LargeFileSettings | null {
  if (config === null || config.enabled !== true) return null
  const { max_size_mb: maxSizeMb, file_ttl_days: ttlDays, action, public_base_url: base } = config
  return {
    action: (action ?? 'warn') as LargeFileSettings['action'],
    maxBytes: Number(maxSizeMb ?? MAX_SIZE_MB) * 1024 * 1024,
    ttlMs: Number(ttlDays ?? TTL_DAYS) * DAY_MS,
    publicBaseUrl: isText(base) ? withoutEnd(base, '/') : null,
  }
}

/** The place that storage_url and storage_config name together; a text says what is wrong with the storage_url. */
export function placeOf({ storage_url: url, storage_config: more }: Given): Place | string {
  if (!isText(url)) return 'is missing'
  const [, scheme, rest] = /^(s3|gs|az|file):\/\/(.+)$/.exec(url) ?? []
  if (scheme === undefined || rest === undefined) return 'is no s3://, gs://, az:// or file:// URL'
  if (/[?#]/.test(rest)) return 'has a query or fragment'
  const own = (more ?? {}) as Given
  if (scheme === 'file') {
    const root = directoryOf(url)
    return root === null ? 'should name a directory, as in file:///srv/files' : { backend: 'local', config: { root } }
  }
  const [bucket = '', ...prefix] = rest.split('/')
  const { backend, key } = OBJECT_STORES[scheme as keyof typeof OBJECT_STORES]
  const path = withoutEnd(prefix.join('/'), '/')
  return { backend, config: { ...own, [key]: bucket, ...(path === '' ? {} : { prefix: path }) } }
}

const OBJECT_STORES = {
  s3: { backend: 's3', key: 'bucket' },
  gs: { backend: 'gcs', key: 'bucket' },
  az: { backend: 'azure', key: 'container' },
} as const

/** In one sentence that begins with the setting and repeats no secret; null: nothing is. */
export function problemOfLargeFiles(config: Given, access: Pick<StoreAccess, 'guard'>): string | null {
  const { storage_url: url, storage_config: more } = config
  if (!isText(url)) {
    if (config.enabled === true && config.action === 'rewrite') return 'storage_url is missing'
    return hasKeys(more) ? 'storage_config has no storage_url to go with' : null
  }
  const place = placeOf(config)
  if (typeof place === 'string') return `storage_url ${place}`
  if (place.backend === 'local') {
    if (access.guard !== null) return 'storage_url: file:// stores can be set by the admin only'
    if (hasKeys(more)) return 'storage_config has nothing to say for a file:// store'
    if (!isText(config.public_base_url)) return 'public_base_url is missing: a file:// store makes no links of its own'
    return null
  }
  const doubled = Object.keys((more ?? {}) as Given).find(name =>
    ['bucket', 'container', 'prefix'].includes(keyNamed(place.backend, name) ?? ''),
  )
  if (doubled !== undefined) return `storage_config.${doubled} stands in the storage_url already`
  const problem = problemOfConfig(place.backend, place.config, access)
  return problem === null ? null : `storage_url and storage_config: ${problem}`
}

function directoryOf(url: string): string | null {
  try {
    return fileURLToPath(url).replace(/(?<=.)\/+$/, '')
  } catch {
    return null
  }
}

function hasKeys(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
