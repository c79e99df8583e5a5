/**
 * What becomes of the queue behind an account that is no more: errors with the code `account_deleted`, each reported.
 * Rows that are being sent are left to their settle; whatever stays open afterwards the janitor finds as an orphan.
 */
import { type Db, rowsParam } from '../db/db.js'
import { endOpen } from './end.js'
import { Stage } from './stage.js'

const CHUNK = 500
const OPEN = [Stage.ready, Stage.waiting, Stage.doubt]

/** Ends the open messages of the account, which must be deleted already. Answers how many, and their tenants. */
export async function failAccountQueue(
  db: Db,
  accountKey: number,
  now: number,
): Promise<{ ended: number; tenantIds: string[] }> {
  const tenantIds = new Set<string>()
  let ended = 0
  for (;;) {
    const rows = await db.read({
      sql: `select seq from messages where account_key = $1 and stage = 1
        union all select seq from messages where account_key = $1 and stage = 2
        union all select m.seq from messages m where m.stage = 4 and m.account_key = $1 limit $2`,
      params: [accountKey, CHUNK],
    })
    if (rows.length === 0) return { ended, tenantIds: [...tenantIds] }
    const chunk = await endOpen(db, {
      now,
      from: {
        sql: 'select g.k from @rows($1: k bigint) g',
        given: rowsParam(rows.map(row => ({ k: Number(row.seq) }))),
      },
      stages: OPEN,
      status: 'error',
      type: 'error',
      code: 'account_deleted',
      error: 'the account was deleted',
    })
    ended += chunk.seqs.length
    for (const tenantId of chunk.tenantIds) tenantIds.add(tenantId)
  }
}

/** Accounts that are no more and still have open messages: left by a crash, or submitted while one was deleted. */
export async function orphanedAccountKeys(db: Db): Promise<number[]> {
  const rows = await db.read({
    sql: `select distinct o.account_key from (
        select account_key from messages where stage = 1 union select account_key from messages where stage = 2
        union select account_key from messages where stage = 4) o
      where not exists (select 1 from accounts a where a.key = o.account_key)`,
    params: [],
  })
  return rows.map(row => Number(row.account_key))
}
