/**
 * Tenants in the database. A change writes only over the record it was made from (by `updated_at`), so that two people
 * who change different fields at once do not undo each other.
 */
import { type Db, rowsParam, type Statement } from '../db/db.js'
import { writeSealed } from '../db/key-fence.js'
import type { Refused } from '../lib/refused.js'
import type { Sealer } from '../lib/sealer.js'
import { newToken } from '../lib/tokens.js'
import { type ChangeOptions, changeTenant, type TenantPatch } from './change.js'
import { insertKey } from './keys.js'
import { TENANT_FIELDS, tenantFrom, tenantRow } from './row.js'
import type { Tenant } from './tenant.js'

export type SavedTenant =
  /** `key`: its first API key. */
  { readonly kind: 'created'; readonly key: string } | { readonly kind: 'changed' | 'taken' | 'no_tenant' } | Refused

export const DEFAULT_TENANT = 'default'

/** The tenant that exists from the first start. */
export async function ensureDefaultTenant(db: Db, now: number): Promise<void> {
  await db.write([
    {
      sql: 'insert into tenants (id, created_at, updated_at) values ($1, $2, $2) on conflict (id) do nothing',
      params: [DEFAULT_TENANT, now],
    },
  ])
}

/** A new tenant with its first API key. */
export async function createTenant(
  db: Db,
  sealer: Sealer,
  id: string,
  patch: TenantPatch,
  options: ChangeOptions,
): Promise<SavedTenant> {
  if (await tenantExists(db, id)) return { kind: 'taken' }
  const tenant = changeTenant({ ...BLANK, id, createdAt: options.now, updatedAt: options.now - 1 }, patch, options)
  if ('kind' in tenant) return tenant
  const key = newToken()
  try {
    await writeSealed(db, sealer, () => [insertTenant(tenant, sealer), insertKey(id, key, options.now, null)])
  } catch (error) {
    // Somebody else made it in between; the unit left nothing behind.
    if (await tenantExists(db, id)) return { kind: 'taken' }
    throw error
  }
  return { kind: 'created', key }
}

/** Changes the fields given. */
export async function updateTenant(
  db: Db,
  sealer: Sealer,
  id: string,
  patch: TenantPatch,
  options: ChangeOptions,
): Promise<SavedTenant> {
  for (;;) {
    const current = await getTenant(db, sealer, id)
    if (current === null) return { kind: 'no_tenant' }
    const next = changeTenant(current, patch, options)
    if ('kind' in next) return next
    const [rows] = await writeSealed(db, sealer, () => [replaceTenant(next, current.updatedAt, sealer)])
    if (rows!.length === 1) return { kind: 'changed' }
  }
}

export async function tenantExists(db: Db, id: string): Promise<boolean> {
  return (await db.read({ sql: 'select 1 from tenants where id = $1', params: [id] })).length === 1
}

export async function getTenant(db: Db, sealer: Sealer, id: string): Promise<Tenant | null> {
  const [row] = await db.read({ sql: 'select * from tenants where id = $1', params: [id] })
  return row === undefined ? null : tenantFrom(row, sealer)
}

/** By id. */
export async function listTenants(
  db: Db,
  sealer: Sealer,
  { activeOnly }: { readonly activeOnly: boolean },
): Promise<Tenant[]> {
  const rows = await db.read({
    sql: `select * from tenants ${activeOnly ? 'where active = 1' : ''} order by id`,
    params: [],
  })
  return rows.map(row => tenantFrom(row, sealer))
}

/**
 * Tenants by id; one that is gone is missing in the answer. One whose secrets cannot be opened is told to `onUnreadable`
 * and left out, so that it holds up nobody else.
 */
export async function loadTenants(
  db: Db,
  sealer: Sealer,
  ids: readonly string[],
  onUnreadable: (id: string, error: unknown) => void = () => {},
): Promise<Map<string, Tenant>> {
  const rows = await db.read({
    sql: 'select t.* from @rows($1: i text) g join tenants t on t.id = g.i',
    params: [rowsParam(ids.map(i => ({ i })))],
  })
  const tenants = new Map<string, Tenant>()
  for (const row of rows) {
    try {
      tenants.set(row.id as string, tenantFrom(row, sealer))
    } catch (error) {
      onUnreadable(row.id as string, error)
    }
  }
  return tenants
}

export interface SyncState {
  readonly id: string
  readonly name: string | null
  readonly active: boolean
  readonly clientBaseUrl: string | null
  /** Epoch ms; null: never. */
  readonly lastSyncAt: number | null
  readonly quietUntil: number | null
}

/** When each tenant was last told, by id. */
export async function listSyncStates(db: Db): Promise<SyncState[]> {
  const rows = await db.read({
    sql: `select t.id, t.name, t.active, t.client_base_url, s.last_sync_at, s.quiet_until
      from tenants t left join sync_state s on s.tenant_id = t.id order by t.id`,
    params: [],
  })
  return rows.map(row => ({
    id: row.id as string,
    name: row.name as string | null,
    active: Number(row.active) === 1,
    clientBaseUrl: row.client_base_url as string | null,
    lastSyncAt: row.last_sync_at === null ? null : Number(row.last_sync_at),
    quietUntil: row.quiet_until === null ? null : Number(row.quiet_until),
  }))
}

const BLANK: Omit<Tenant, 'id' | 'createdAt' | 'updatedAt'> = {
  name: null,
  active: true,
  clientBaseUrl: null,
  clientSyncPath: null,
  clientAttachmentPath: null,
  clientAuth: null,
  endpointTrusted: false,
  largeFileConfig: null,
  largeFilesTrusted: false,
  rateHourly: null,
  rateDaily: null,
  maxQueuedMessages: null,
  attachmentRoot: null,
  signingSecrets: [],
  suspendedBatches: [],
}

function insertTenant(tenant: Tenant, sealer: Sealer): Statement {
  const fields = ['id text', ...TENANT_FIELDS, 'created_at bigint']
  const names = fields.map(field => field.split(' ')[0])
  return {
    sql: `insert into tenants (${names.join(', ')})
      select ${names.map(name => `g.${name}`).join(', ')} from @rows($1: ${fields.join(', ')}) g`,
    params: [rowsParam([tenantRow(tenant, sealer)])],
  }
}

function replaceTenant(tenant: Tenant, before: number, sealer: Sealer): Statement {
  const sets = TENANT_FIELDS.map(field => field.split(' ')[0]).map(name => `${name} = g.${name}`)
  return {
    sql: `update tenants set ${sets.join(', ')} from @rows($1: id text, ${TENANT_FIELDS.join(', ')}) g
      where tenants.id = g.id and tenants.updated_at = $2 returning tenants.id`,
    params: [rowsParam([tenantRow(tenant, sealer)]), before],
  }
}
