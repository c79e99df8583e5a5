/** The report entries again, oldest first, for a client that lost its data: what was posted or is still to be. */
import type { Db } from '../db/db.js'

export interface ReportedPage {
  readonly reports: readonly unknown[]
  /** The event to go on after. Also at the end, for whoever asks again later. */
  readonly next: number
  readonly more: boolean
}

/** Events are in the order of all tenants; a tenant's few among others' many are looked for this far in one call. */
const EXAMINED = 50_000

/** `after` 0: from the oldest kept. `tenantId` null: all tenants'. */
export async function listReported(
  db: Db,
  { tenantId, after, limit }: { tenantId: string | null; after: number; limit: number },
): Promise<ReportedPage> {
  const mine = tenantId === null ? '' : 'and e.tenant_id = $4'
  const params = tenantId === null ? [after, limit, EXAMINED] : [after, limit, EXAMINED, tenantId]
  // Attempts that changed nothing for the client have events too, without an entry.
  const rows = await db.read({
    sql: `select e.id, e.entry from (select * from events where id > $1 order by id limit $3) e
      where e.type <> 'attempt' ${mine} order by e.id limit $2`,
    params,
  })
  const reports = rows.map(row => JSON.parse(row.entry as string) as unknown)
  if (rows.length === limit) return { reports, next: Number(rows.at(-1)!.id), more: true }
  const [examined] = await db.read({
    sql: 'select count(*) as n, max(e.id) as last from (select id from events where id > $1 order by id limit $2) e',
    params: [after, EXAMINED],
  })
  const full = Number(examined?.n ?? 0) === EXAMINED
  // Not past the last one found unless the window was full: an event may become visible late, below a newer one.
  const last = full ? Number(examined!.last) : Number(rows.at(-1)?.id ?? after)
  return { reports, next: last, more: full }
}
