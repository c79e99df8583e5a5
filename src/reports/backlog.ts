/** Reports that no tenant has acknowledged yet: for an operator. Reads every pending entry once. */
import type { Db } from '../db/db.js'

export interface ReportBacklog {
  readonly tenantId: string
  readonly pending: number
  /** Of the oldest entry, epoch ms. */
  readonly oldestAt: number
  /** Failed calls in a row. */
  readonly failures: number
  /** No call before that, epoch ms; null: as soon as there is a place. */
  readonly retryAt: number | null
  readonly lastSyncAt: number | null
}

/** The tenants that are owed most come first. */
export async function readReportBacklog(db: Db, limit: number): Promise<ReportBacklog[]> {
  const rows = await db.read({
    sql: `select p.tenant_id, p.n, p.oldest, s.failures, s.retry_at, s.last_sync_at
      from (select tenant_id, count(*) as n, min(at) as oldest from events where pending = 1 group by tenant_id) p
      left join sync_state s on s.tenant_id = p.tenant_id order by p.n desc, p.tenant_id limit $1`,
    params: [limit],
  })
  const orNull = (value: unknown) => (value === null || value === undefined ? null : Number(value))
  return rows.map(row => ({
    tenantId: row.tenant_id as string,
    pending: Number(row.n),
    oldestAt: Number(row.oldest),
    failures: Number(row.failures ?? 0),
    retryAt: orNull(row.retry_at),
    lastSyncAt: orNull(row.last_sync_at),
  }))
}
