/** Queue rows put into the database directly, for tests of what surrounds the queue. */
import { type Db, rowsParam } from '../../src/db/db.js'

export interface QueueRows {
  readonly tenantId: string
  readonly accountId: string
  readonly count: number
  readonly status?: string
  readonly stage?: number
  readonly accepted?: number
  /** Ids are prefix0, prefix1, … */
  readonly prefix?: string
}

/** Each with its content and one event that is still to be reported. */
export async function addMessages(db: Db, rows: QueueRows): Promise<void> {
  const { tenantId, accountId, count, status = 'pending', stage = 1, accepted = 0, prefix = 'm' } = rows
  const given = rowsParam(Array.from({ length: count }, (_, i) => ({ id: `${prefix}${i}` })))
  const mine = 'tenant_id = $2 and id in (select g.id from @rows($1: id text) g)'
  await db.write([
    {
      sql: `insert into messages (tenant_id, id, account_key, account_id, status, stage, priority, due_at, accepted, submission, created_at, updated_at)
        select a.tenant_id, g.id, a.key, a.id, $4, $5, 2, 0, $6, 1, 0, 0
        from @rows($1: id text) g join accounts a on a.tenant_id = $2 and a.id = $3`,
      params: [given, tenantId, accountId, status, stage, accepted],
    },
    {
      sql: `insert into contents (seq, submission, envelope, content) select seq, submission, '{}', '{}' from messages where ${mine}`,
      params: [given, tenantId],
    },
    {
      sql: `insert into events (tenant_id, seq, type, at, entry, pending) select tenant_id, seq, 'deferred', 0, '{}', 1 from messages where ${mine}`,
      params: [given, tenantId],
    },
  ])
}
