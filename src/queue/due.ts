/** Moves along what time alone changes: scheduled and retried messages become ready, expired ones end. */
import { type Db, rowsParam } from '../db/db.js'
import { firstOfEach, type Ready } from '../lib/wake.js'
import { type Ended, endOpen } from './end.js'

export interface Readied {
  readonly ready: readonly Ready[]
  /** More were due than one step takes. */
  readonly more: boolean
}

/** Makes up to `limit` waiting messages ready whose time has come. Never early; they keep their place by seq. */
export async function readyDue(db: Db, now: number, limit: number): Promise<Readied> {
  const [rows] = await db.write([
    {
      sql: `with due as @materialized (select seq from messages where stage = 2 and due_at <= $1 order by due_at limit $2 @skip_locked)
        update messages set stage = 1, status = 'pending', deferred_ts = null, deferred_reason = null
        where seq in (select seq from due) returning account_key, priority, seq`,
      params: [now, limit],
    },
  ])
  const given = rows ?? []
  return {
    ready: firstOfEach(
      given.map(({ account_key, priority, seq }) => ({
        accountKey: Number(account_key),
        priority: Number(priority),
        seq: Number(seq),
        onward: false,
      })),
    ),
    more: given.length === limit,
  }
}

/** Retries further ahead than any retry is put: they were reckoned by a clock that was ahead. Due in `mostMs` at the latest. */
export async function pullBackRetries(db: Db, now: number, mostMs: number): Promise<void> {
  await db.write([
    {
      sql: 'update messages set due_at = $1, deferred_ts = $1 where stage = 2 and attempts > 0 and due_at > $1',
      params: [now + mostMs],
    },
  ])
}

/** When the next waiting message is due, epoch ms; null: none waits. */
export async function nextDue(db: Db): Promise<number | null> {
  const [row] = await db.read({
    sql: 'select due_at from messages where stage = 2 order by due_at limit 1',
    params: [],
  })
  return row === undefined ? null : Number(row.due_at)
}

/** Ends up to `limit` open messages past their expires_ts: cancelled, or sent when some recipient was accepted. */
export async function expireDue(db: Db, now: number, limit: number): Promise<Ended> {
  const rows = await db.read({
    sql: `select seq from messages where expires_at is not null and stage > 0 and expires_at <= $1 and stage in (1, 2)
      order by expires_at limit $2`,
    params: [now, limit],
  })
  if (rows.length === 0) return { seqs: [], tenantIds: [] }
  return endOpen(db, {
    now,
    from: { sql: 'select g.k from @rows($1: k bigint) g', given: rowsParam(rows.map(row => ({ k: Number(row.seq) }))) },
    stages: [1, 2],
    status: 'cancelled',
    type: 'cancelled',
    code: 'expired',
    error: 'expired before it could be sent',
  })
}
