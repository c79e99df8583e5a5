/** Removes what was reported long enough ago, in small units so that claims never wait behind a purge. */
import type { Db } from '../db/db.js'

const CHUNK = 500

export interface PruneOptions {
  /** null: all tenants. */
  readonly tenantId: string | null
  /** Reported longer ago than this. */
  readonly olderThanMs: number
  readonly now: number
  /** Most messages in this call; the janitor comes again. */
  readonly limit?: number
}

/** Ended messages whose every event is acknowledged, with contents and history. Answers how many. */
export async function cleanupMessages(db: Db, { tenantId, olderThanMs, now, limit }: PruneOptions): Promise<number> {
  const before = now - Math.max(0, olderThanMs)
  const mine = tenantId === null ? '' : 'and tenant_id = $3'
  let removed = 0
  while (removed < (limit ?? Number.POSITIVE_INFINITY)) {
    const chosen = `select seq from messages where reported_at is not null and reported_at <= $1 and stage = 0 ${mine}
      order by reported_at limit $2`
    const params = tenantId === null ? [before, CHUNK] : [before, CHUNK, tenantId]
    const [, rows] = await db.write([
      { sql: `delete from events where seq in (${chosen})`, params },
      { sql: `delete from messages where seq in (${chosen}) returning seq`, params },
    ])
    removed += rows?.length ?? 0
    if ((rows?.length ?? 0) < CHUNK) break
  }
  return removed
}
