/**
 * Tenants' API keys. Only the SHA-256 of a key is stored; the key itself is told once, when it is made. Several keys of
 * a tenant may be valid during a rotation.
 */
import type { Db, Statement } from '../db/db.js'
import { hashToken, newToken } from '../lib/tokens.js'

export interface KeyRecord {
  readonly tenantId: string
  /** Epoch ms; null: does not expire. */
  readonly expiresAt: number | null
}

export interface RotateOptions {
  /** Epoch ms. */
  readonly now: number
  /** When the new key ends, epoch ms; null: never. */
  readonly expiresAt: number | null
  /** How long the keys before it stay valid; 0 ends them at once. */
  readonly overlapMs: number
}

/** Gives the tenant a new key and ends the ones before. Answers the key, or null when there is no such tenant. */
export async function rotateKey(db: Db, tenantId: string, options: RotateOptions): Promise<string | null> {
  const { now, expiresAt, overlapMs } = options
  const key = newToken()
  const [, , rows] = await db.write([
    {
      sql: `update api_keys set expires_at = @least(coalesce(expires_at, $2), $2)
        where tenant_id = $1`,
      params: [tenantId, now + overlapMs],
    },
    { sql: 'delete from api_keys where tenant_id = $1 and expires_at <= $2', params: [tenantId, now] },
    insertKey(tenantId, key, now, expiresAt),
  ])
  return rows!.length === 1 ? key : null
}

/** Ends all keys of the tenant. */
export async function revokeKeys(db: Db, tenantId: string): Promise<void> {
  await db.write([{ sql: 'delete from api_keys where tenant_id = $1', params: [tenantId] }])
}

/** Ends all keys of the tenant but the good one that was made last, if there is one: what ends a rotation. */
export async function revokeOldKeys(db: Db, tenantId: string, now: number): Promise<void> {
  await db.write([
    {
      sql: `delete from api_keys where tenant_id = $1 and created_at <> (select max(created_at) from api_keys
        where tenant_id = $1 and (expires_at is null or expires_at > $2))`,
      params: [tenantId, now],
    },
  ])
}

/** The key with this hash, expired or not; null when unknown. */
export async function findKey(db: Db, hash: string): Promise<KeyRecord | null> {
  const [row] = await db.read({ sql: 'select tenant_id, expires_at from api_keys where hash = $1', params: [hash] })
  if (row === undefined) return null
  return { tenantId: row.tenant_id as string, expiresAt: row.expires_at === null ? null : Number(row.expires_at) }
}

/** Adds a key to those of the tenant; returns a row when the tenant exists. */
export function insertKey(tenantId: string, key: string, now: number, expiresAt: number | null): Statement {
  return {
    // Later than the ones before, also within a millisecond or after the clock was set back: the last is told by it.
    sql: `insert into api_keys (hash, tenant_id, created_at, expires_at)
      select $1, t.id, coalesce(
        (select max(k.created_at) + 1 from api_keys k where k.tenant_id = t.id and k.created_at >= $3), $3
      ), $4 from tenants t where t.id = $2 returning hash`,
    params: [hashToken(key), tenantId, now, expiresAt],
  }
}
