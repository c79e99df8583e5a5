/**
 * Open messages (waiting, being sent, in doubt) through the partial indexes that hold nothing else, so that looking at
 * them costs by what is open and not by what was ever sent.
 */
import type { Db } from '../db/db.js'

/** A select of `columns` (of messages m) over all open rows; `tenantId` is a parameter's mark like `$1`, null: all. */
export function openRowsSql(columns: string, tenantId: string | null): string {
  const parts = [1, 2, 3].map(stage =>
    tenantId === null
      ? `select ${columns} from messages m where m.stage = ${stage}`
      : `select ${columns} from accounts o join messages m on m.account_key = o.key and m.stage = ${stage}
        where o.tenant_id = ${tenantId}`,
  )
  parts.push(
    `select ${columns} from messages m where m.stage = 4${tenantId === null ? '' : ` and m.tenant_id = ${tenantId}`}`,
  )
  return parts.join(' union all ')
}

/** How many messages are open, counting no further than `atMost`. */
export async function countOpenUpTo(db: Db, tenantId: string | null, atMost: number): Promise<number> {
  const params: (string | number)[] = []
  const rows = openRowsSql('1 as one', tenantId === null ? null : `$${params.push(tenantId)}`)
  const [row] = await db.read({
    sql: `select count(*) as n from (select one from (${rows}) o limit $${params.push(atMost)}) counted`,
    params,
  })
  return Number(row?.n ?? 0)
}

/** How many messages of one batch are open. */
export async function countOpenBatch(db: Db, tenantId: string, batchCode: string): Promise<number> {
  const [row] = await db.read({
    sql: `select count(*) as n from (${openRowsSql('m.batch_code', '$1')}) b where b.batch_code = $2`,
    params: [tenantId, batchCode],
  })
  return Number(row?.n ?? 0)
}
