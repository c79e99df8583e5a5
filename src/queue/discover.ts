/** Which accounts have ready messages: a loose index scan, so its cost follows the accounts and not the messages. */
import type { Db } from '../db/db.js'

export interface Found {
  readonly accountKey: number
  /** The most urgent priority ready there. */
  readonly priority: number
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
      select f.k, (select min(priority) from messages where stage = 1 and account_key = f.k) as p
      from (select k from found where k is not null limit $2) f`,
    params: [after, limit],
  })
  return rows.map(row => ({ accountKey: Number(row.k), priority: Number(row.p) }))
}
