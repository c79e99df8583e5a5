/** Removes what was reported long enough ago, in small units so that claims never wait behind a purge. */
import { type Db, rowsParam } from '../db/db.js'

const CHUNK = 500
/** Events looked at in one call for those whose message is no more. */
const EVENTS_CHUNK = 1_000

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
  const most = limit ?? Number.POSITIVE_INFINITY
  let from = 0
  let removed = 0
  while (removed < most) {
    const asked = Math.min(CHUNK, most - removed)
    const rows = await db.read({
      // From where the last chunk ended: before that only other tenants' rows are left.
      sql: `select seq, reported_at from messages
        where reported_at is not null and reported_at >= $1 and reported_at <= $2 and stage = 0
          ${tenantId === null ? '' : 'and tenant_id = $4'}
        order by reported_at limit $3`,
      params: tenantId === null ? [from, before, asked] : [from, before, asked, tenantId],
    })
    if (rows.length === 0) break
    const gone = await remove(
      db,
      rows.map(row => Number(row.seq)),
      before,
    )
    removed += gone
    if (rows.length < asked || gone === 0) break
    from = Number(rows.at(-1)?.reported_at)
  }
  if (tenantId === null) await removeOrphanedEvents(db, before)
  return removed
}

/** By key, chosen once: two statements that each choose "the first 500" may choose differently. */
async function remove(db: Db, seqs: readonly number[], before: number): Promise<number> {
  const params = [rowsParam(seqs.map(seq => ({ k: seq }))), before]
  // Once more inside the unit: an operator may have had one tried again meanwhile.
  const chosen = `select seq from messages where seq in (select g.k from @rows($1: k bigint) g)
    and reported_at <= $2 and stage = 0`
  const [, , gone] = await db.write([
    { sql: `${chosen} order by seq @for_update`, params },
    { sql: `delete from events where seq in (${chosen})`, params },
    { sql: `delete from messages where seq in (${chosen}) returning seq`, params },
  ])
  return gone?.length ?? 0
}

/** How far the events of each database were walked through. */
const walked = new WeakMap<Db, number>()

/**
 * Events outlive their message when its id is submitted anew, because their report is still owed. A piece of the table
 * a call, by id and on the reading side, finds those that are owed no more.
 */
async function removeOrphanedEvents(db: Db, before: number): Promise<void> {
  const rows = await db.read({
    sql: `select id, seq, case when pending = 0 and coalesce(reported_at, at) <= $1 then 1 else 0 end as past
      from events where id > $2 order by id limit $3`,
    params: [before, walked.get(db) ?? 0, EVENTS_CHUNK],
  })
  walked.set(db, rows.length < EVENTS_CHUNK ? 0 : Number(rows.at(-1)?.id))
  const past = rows.filter(row => Number(row.past) === 1)
  // By key: joined with the piece above, PostgreSQL would read all of messages for it.
  const known = await db.read({
    sql: 'select m.seq from @rows($1: k bigint) g join messages m on m.seq = g.k',
    params: [rowsParam([...new Set(past.map(row => Number(row.seq)))].map(seq => ({ k: seq })))],
  })
  const alive = new Set(known.map(row => Number(row.seq)))
  const gone = past.filter(row => !alive.has(Number(row.seq))).map(row => ({ k: Number(row.id) }))
  if (gone.length === 0) return
  await db.write([
    {
      sql: 'delete from events where pending = 0 and id in (select g.k from @rows($1: k bigint) g)',
      params: [rowsParam(gone)],
    },
  ])
}
