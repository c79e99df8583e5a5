/** Which accounts have ready messages: a loose index scan, so its cost follows the accounts and not the messages. */
import type { Db } from '../db/db.js'

export interface Found {
  readonly accountKey: number
  /** Of the first that is ready there. */
  readonly priority: number
  readonly seq: number
}

/** Up to `limit` accounts with a key above `after`, ascending. */
export async function readyAccounts(db: Db, after: number, limit: number): Promise<Found[]> {
  const rows = await db.read({
    sql: `with recursive found(k) as (
        select min(account_key) from messages where stage = 1 and account_key > $1
        union all
        select (select min(account_key) from messages where stage = 1 and account_key > found.k)
        from found where found.k is not null
      )
      select o.k, m.priority, o.s from (
        select k, (select seq from messages where stage = 1 and account_key = k order by priority, seq limit 1) as s
        from found where k is not null limit $2) o
      join messages m on m.seq = o.s order by o.k`,
    params: [after, limit],
  })
  return rows.map(row => ({ accountKey: Number(row.k), priority: Number(row.priority), seq: Number(row.s) }))
}
