/** Every table of the schema in the order in which its rows can be written: what is referred to comes first. */

export interface Table {
  readonly name: string
  /** Its primary key, in which order the rows are read. */
  readonly key: readonly string[]
  /** SQL condition on the rows that travel. */
  readonly only?: string
}

export const TABLES: readonly Table[] = [
  { name: 'tenants', key: ['id'] },
  { name: 'api_keys', key: ['hash'] },
  { name: 'sync_state', key: ['tenant_id'] },
  { name: 'accounts', key: ['key'] },
  { name: 'access_tokens', key: ['account_key'] },
  { name: 'messages', key: ['seq'] },
  { name: 'contents', key: ['seq'] },
  { name: 'uploads', key: ['id'] },
  { name: 'upload_parts', key: ['upload', 'part'] },
  { name: 'events', key: ['id'] },
  { name: 'leases', key: ['id'] },
  { name: 'doubts', key: ['lease', 'batch'] },
  { name: 'limit_scopes', key: ['scope'] },
  { name: 'limit_buckets', key: ['scope', 'span', 'slot'] },
  { name: 'rules', key: ['id'] },
  { name: 'command_log', key: ['id'] },
  { name: 'volumes', key: ['key'] },
  { name: 'offload_stores', key: ['digest'] },
  { name: 'offloads', key: ['id'] },
  // The schema's version is the target's own; the base of a clock belongs to the machine of the source.
  { name: 'meta', key: ['key'], only: `"key" not in ('schema_version', 'steady_base', 'release_needed')` },
]

/** Says something of its own server only: it must be empty in the target, and nothing of it travels. */
export const LEFT_BEHIND = ['journal_epoch', 'key_holders', 'key_fence'] as const

/** Both databases know names in quotes; without them some are words of the language. */
export function quoted(names: readonly string[]): string {
  return names.map(name => `"${name}"`).join(', ')
}
