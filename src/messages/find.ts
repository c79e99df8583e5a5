/** One message with everything that is known of it. */
import { type Db, type Row, rowsParam } from '../db/db.js'
import { Stage } from '../queue/stage.js'
import { isUnsafe } from './fields.js'
import { type HistoryEntry, readEvents } from './history.js'
import type { Status } from './message.js'
import { type MessageRecord, RECORD_COLUMNS, RECORD_TABLES, type StoredContent, toRecord } from './record.js'
import { explainWaiting, type WaitingFacts, type WaitingFor } from './waiting.js'

/** When the account's rules let it send next, epoch ms; null: they do now; Infinity: never. */
export type NextOpening = (accountKey: number, now: number) => number | null | Promise<number | null>

/**
 * The tenant whose message each id means to an admin who names none: its owner where there is only one, else `default`.
 * Absent: nobody's. Asks each tenant's index; there is none over ids alone, which the hot path would have to keep.
 */
export async function ownersOf(db: Db, ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const rows = await db.read({
    // As pairs: a join SQLite turned round, and read the whole index for each id.
    sql: `select m.id, m.tenant_id from messages m
      where (m.tenant_id, m.id) in (select t.id, g.i from tenants t cross join @rows($1: i text) g)`,
    params: [rowsParam(ids.filter(id => !isUnsafe(id)).map(i => ({ i })))],
  })
  const tenants = new Map<string, string[]>()
  for (const row of rows) {
    const id = row.id as string
    tenants.set(id, [...(tenants.get(id) ?? []), row.tenant_id as string])
  }
  const owners = new Map<string, string>()
  for (const [id, all] of tenants) {
    if (all.length === 1) owners.set(id, all[0]!)
    else if (all.includes('default')) owners.set(id, 'default')
  }
  return owners
}

export interface FoundMessage extends MessageRecord {
  /** SMTP attempts with the servers' replies, oldest first. */
  attempt_log: unknown[]
  history: HistoryEntry[]
  waiting_for: WaitingFor | null
  next_attempt_ts: number | null
  waiting_detail: string
}

/** null: no such message. */
export async function findMessage(
  db: Db,
  { tenantId, id, now, nextOpening }: { tenantId: string; id: string; now: number; nextOpening: NextOpening },
): Promise<FoundMessage | null> {
  const [row] = await db.read({
    sql: `select ${RECORD_COLUMNS}, m.stage, m.due_at, m.causes, m.account_key, c.content,
        t.active as tenant_active, t.suspended_batches, a.pause_kind, a.pause_reason, a.probe_at,
        (select value from meta where key = 'scheduler_active') as scheduler_active,
        (select value from meta where key = 'release_needed') as release_needed
      from ${RECORD_TABLES} left join contents c on c.seq = m.seq
      where m.tenant_id = $1 and m.id = $2`,
    params: [tenantId, id],
  })
  if (row === undefined) return null
  const content = row.content === null ? null : (JSON.parse(row.content as string) as StoredContent)
  const seq = Number(row.seq)
  const { attempts, history } = await readEvents(db, seq)
  const isOpen = Number(row.stage) !== Stage.ended
  const opensAt = isOpen ? await nextOpening(Number(row.account_key), now) : null
  const { waiting_for, next_attempt_ts, detail } = explainWaiting(factsOf(row, now, opensAt))
  return {
    ...toRecord(row, content),
    attempt_log: attempts,
    history,
    waiting_for,
    next_attempt_ts,
    waiting_detail: detail,
  }
}

/** messages.causes: what was told of as the reason of a deferral. */
const CAUSE_LIMIT = 1

function factsOf(row: Row, now: number, opensAt: number | null): WaitingFacts {
  return {
    now,
    status: row.status as Status,
    isScheduled: Number(row.stage) === Stage.waiting,
    priority: Number(row.priority),
    attempts: Number(row.attempts),
    dueAt: Number(row.due_at),
    deferredTs: row.deferred_ts === null ? null : Number(row.deferred_ts),
    deferredReason: row.deferred_reason as string | null,
    // No entry yet: nobody ever switched it off.
    schedulerActive: row.scheduler_active !== '0',
    releaseNeeded: row.release_needed as string | null,
    tenantActive: Number(row.tenant_active ?? 1) === 1,
    suspendedBatches: JSON.parse((row.suspended_batches as string | null) ?? '[]') as string[],
    batchCode: row.batch_code as string | null,
    pause:
      row.pause_kind === null
        ? null
        : {
            kind: row.pause_kind as 'manual' | 'failure',
            reason: (row.pause_reason as string | null) ?? '',
            probeAt: row.probe_at === null ? null : Number(row.probe_at),
          },
    isLimited: (Number(row.causes) & CAUSE_LIMIT) !== 0,
    opensAt,
  }
}
