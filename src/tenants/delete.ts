/**
 * Deletes a tenant with all that is its own. The record goes last: after a crash half-way it still stands, inactive and
 * without keys, and deleting it again goes on; and its id cannot be given anew while old messages lie about.
 */
import type { Db } from '../db/db.js'
import { among } from '../db/dialect.js'
import { forgetAccounts } from '../limits/store.js'

/** A unit deletes so many messages: small enough that claims and submissions do not wait. */
const CHUNK = 500

/** False when there is no such tenant. A message that is being sent right now may still reach its server. */
export async function deleteTenant(db: Db, id: string, now: number): Promise<boolean> {
  const [, stopped] = await db.write([
    { sql: 'delete from api_keys where tenant_id = $1', params: [id] },
    { sql: 'update tenants set active = 0, updated_at = $2 where id = $1 returning id', params: [id, now] },
  ])
  if (stopped!.length === 0) return false
  while (await deleteMessages(db, id)) {
    // Each turn one chunk.
  }
  while (await deleteOutbox(db, id)) {
    // Events whose message is long gone.
  }
  await db.write([
    {
      sql: `delete from events where ${among(db.dialect, 'seq', 'select seq from messages where tenant_id = $1')}`,
      params: [id],
    },
    { sql: 'delete from messages where tenant_id = $1', params: [id] },
    ...forgetAccounts('select key from accounts where tenant_id = $1', [id]),
    // Accounts, keys, volumes, rules and the sync state go with it (foreign keys).
    { sql: 'delete from tenants where id = $1', params: [id] },
  ])
  return true
}

async function deleteMessages(db: Db, id: string): Promise<boolean> {
  const chosen = 'select seq from messages where tenant_id = $1 order by seq limit $2'
  const [, rows] = await db.write([
    { sql: `delete from events where ${among(db.dialect, 'seq', chosen)}`, params: [id, CHUNK] },
    { sql: `delete from messages where ${among(db.dialect, 'seq', chosen)} returning seq`, params: [id, CHUNK] },
  ])
  return rows!.length === CHUNK
}

async function deleteOutbox(db: Db, id: string): Promise<boolean> {
  const [rows] = await db.write([
    {
      sql: `delete from events where id in
        (select id from events where tenant_id = $1 and pending = 1 order by id limit $2) returning id`,
      params: [id, CHUNK],
    },
  ])
  return rows!.length === CHUNK
}
