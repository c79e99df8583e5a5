/** Whom the predecessor's `account_id` means: the tenant of that id, else the account. */
import type { Db } from '../db/db.js'
import type { VolumeOwner } from './store.js'

export type FoundOwner =
  | ({ readonly kind: 'found' } & VolumeOwner)
  | { readonly kind: 'none' }
  /** Accounts of several tenants have this id. */
  | { readonly kind: 'ambiguous' }

const ID = /^[A-Za-z0-9_.-]{1,64}$/

/** Within one tenant, or (null) among all. `account_id` may name both, as `tenant/account`. */
export async function findOwner(db: Db, tenantId: string | null, accountId: string): Promise<FoundOwner> {
  const [first = '', second, ...rest] = accountId.split('/')
  if (rest.length > 0 || !ID.test(first) || (second !== undefined && !ID.test(second))) return { kind: 'none' }
  if (second !== undefined) return tenantId === null || tenantId === first ? ofAccount(db, first, second) : NONE
  if (tenantId !== null) {
    return tenantId === accountId ? { kind: 'found', tenantId, accountId: null } : ofAccount(db, tenantId, accountId)
  }
  const tenants = await db.read({ sql: 'select 1 from tenants where id = $1', params: [accountId] })
  if (tenants.length === 1) return { kind: 'found', tenantId: accountId, accountId: null }
  const rows = await db.read({ sql: 'select tenant_id from accounts where id = $1 limit 2', params: [accountId] })
  if (rows.length > 1) return { kind: 'ambiguous' }
  return rows.length === 0 ? NONE : { kind: 'found', tenantId: rows[0]!.tenant_id as string, accountId }
}

const NONE: FoundOwner = { kind: 'none' }

async function ofAccount(db: Db, tenantId: string, accountId: string): Promise<FoundOwner> {
  const rows = await db.read({
    sql: 'select 1 from accounts where tenant_id = $1 and id = $2',
    params: [tenantId, accountId],
  })
  return rows.length === 0 ? NONE : { kind: 'found', tenantId, accountId }
}
