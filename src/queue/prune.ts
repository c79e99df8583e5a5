/**
 * Removes what was reported long enough ago, in pieces with pauses between them, so that claims never wait long behind a
 * purge: a piece takes some 15 µs a message (SQLite).
 */
import { type Db, keysParam, type Statement } from '../db/db.js'
import { among } from '../db/dialect.js'
import type { Clock } from '../lib/clock.js'

/** Of one piece; a smaller one costs more for its commit than for its rows. */
const FEWEST = 100
const MOST = 500
/** A piece that took longer, its wait for the database included, is followed by a smaller one. */
const PIECE_MS = 10
const PAUSE_MS = 10
/** Events looked at with one piece for those whose message is no more. */
const EVENTS_CHUNK = 1_000

export interface Purge {
  /** null: all tenants. */
  readonly tenantId: string | null
  /** Epoch ms: what was reported by then. */
  readonly before: number
}

export interface Piece {
  readonly removed: number
  /** How long to wait before the next piece, ms; null: nothing is left. */
  readonly pauseMs: number | null
}

/** Ended messages whose every event is acknowledged, with contents and history. */
export interface Pruner {
  next(): Promise<Piece>
}

export function createPruner(db: Db, clock: Clock, { tenantId, before }: Purge): Pruner {
  // Where the last piece ended. What stands before it are other tenants' rows, or what PostgreSQL has yet to vacuum.
  let from = 0
  let size = MOST
  return {
    async next() {
      const rows = await db.read({
        sql: `select seq, reported_at from messages
          where reported_at is not null and reported_at >= $1 and reported_at <= $2 and stage = 0
            ${tenantId === null ? '' : 'and tenant_id = $4'}
          order by reported_at limit $3`,
        params: tenantId === null ? [from, before, size] : [from, before, size, tenantId],
      })
      const isLast = rows.length < size
      const begun = clock.monotonic()
      const seqs = rows.map(row => Number(row.seq)).sort((a, b) => a - b)
      const removed = seqs.length === 0 ? 0 : await remove(db, seqs, before)
      const tookMs = clock.monotonic() - begun
      from = Number(rows.at(-1)?.reported_at ?? from)
      size = tookMs > PIECE_MS ? Math.max(FEWEST, Math.round(size / 2)) : Math.min(MOST, size + FEWEST)
      if (tenantId === null) await removeOrphanedEvents(db, before)
      return { removed, pauseMs: isLast || removed === 0 ? null : Math.max(PAUSE_MS, 2 * tookMs) }
    },
  }
}

/** Removes all there is. Answers how many messages. */
export async function cleanupMessages(db: Db, clock: Clock, purge: Purge): Promise<number> {
  const pruner = createPruner(db, clock, purge)
  for (let total = 0; ; ) {
    const { removed, pauseMs } = await pruner.next()
    total += removed
    if (pauseMs === null) return total
    await clock.sleep(pauseMs)
  }
}

/** By key, chosen once: two statements that each choose "the first 500" may choose differently. */
async function remove(db: Db, seqs: readonly number[], before: number): Promise<number> {
  const params = [keysParam(seqs), before]
  // Once more inside the unit: an operator may have had one tried again meanwhile.
  const chosen = `select seq from messages where ${among(db.dialect, 'seq', 'select g.key from @keys($1) g')}
    and reported_at <= $2 and stage = 0`
  const unit: Statement[] = [
    { sql: `delete from events where ${among(db.dialect, 'seq', chosen)}`, params },
    { sql: `delete from messages where ${among(db.dialect, 'seq', chosen)} returning seq`, params },
  ]
  if (db.dialect === 'postgres') unit.unshift({ sql: `${chosen} order by seq for update`, params })
  return (await db.write(unit)).at(-1)?.length ?? 0
}

/** How far the events of each database were walked through. */
const walked = new WeakMap<Db, number>()

/**
 * Events outlive their message when its id is submitted anew, because their report is still owed. A piece of the table
 * a call, by id and on the reading side, finds those that are owed no more.
 */
async function removeOrphanedEvents(db: Db, before: number): Promise<void> {
  const from = walked.get(db) ?? 0
  const [piece] = await db.read({
    sql: `select count(*) as n, max(e.id) as last from (select id from events where id > $1 order by id limit $2) e`,
    params: [from, EVENTS_CHUNK],
  })
  const last = Number(piece?.last ?? 0)
  walked.set(db, Number(piece?.n) < EVENTS_CHUNK ? 0 : last)
  const gone = await db.read({
    // A subquery and no "not exists": joined with it, PostgreSQL would read all of messages.
    sql: `select e.id from events e where e.id > $1 and e.id <= $2 and e.pending = 0 and coalesce(e.reported_at, e.at) <= $3
      and (select m.seq from messages m where m.seq = e.seq) is null`,
    params: [from, last, before],
  })
  if (gone.length === 0) return
  await db.write([
    {
      sql: 'delete from events where pending = 0 and id in (select g.key from @keys($1) g)',
      params: [keysParam(gone.map(row => Number(row.id)))],
    },
  ])
}
