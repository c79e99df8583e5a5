/** What happened to messages, from their events: history for people, attempts with the servers' replies. */
import { type Db, type Row, rowsParam } from '../db/db.js'
import { secondsOf } from './record.js'

/** Enough for every retry schedule there is; a message told of more often than this shows its newest events. */
const MAX_EVENTS_A_MESSAGE = 200

export interface HistoryEntry {
  event_id: number
  event_type: string
  event_ts: number
  description?: string
  metadata?: unknown
  reported_ts?: number
}

export interface Events {
  readonly history: HistoryEntry[]
  /** SMTP attempts, oldest first, as kept (queue/outcome.ts). */
  readonly attempts: unknown[]
}

/** The events of each message by seq, oldest first. */
export async function readEvents(db: Db, seqs: readonly number[]): Promise<Map<number, Events>> {
  const rows = await db.read({
    sql: `select e.id, e.seq, e.type, e.at, e.entry, e.attempt, e.reported_at
      from (select w.*, row_number() over (partition by w.seq order by w.id desc) as nth
        from events w where w.seq in (select g.k from @rows($1: k bigint) g)) e
      where e.nth <= $2 order by e.id`,
    params: [rowsParam(seqs.map(seq => ({ k: seq }))), MAX_EVENTS_A_MESSAGE],
  })
  const found = new Map<number, Events>()
  for (const seq of seqs) found.set(seq, { history: [], attempts: [] })
  for (const row of rows) {
    const events = found.get(Number(row.seq))
    const attempt = row.attempt === null ? null : (JSON.parse(row.attempt as string) as Attempt)
    events?.history.push(historyOf(row, attempt))
    if (attempt !== null) events?.attempts.push(attempt)
  }
  return found
}

interface Attempt {
  readonly final?: { readonly code: string; readonly text: string } | null
  readonly error?: string | null
}

function historyOf(row: Row, attempt: Attempt | null): HistoryEntry {
  // The identity of the message is in the record around it.
  const { id, tenant_id, account_id, priority, ...metadata } = JSON.parse(row.entry as string) as Record<
    string,
    unknown
  >
  return {
    event_id: Number(row.id),
    event_type: row.type as string,
    event_ts: Math.floor(Number(row.at) / 1000),
    description: describe(metadata, attempt),
    metadata,
    reported_ts: secondsOf(row.reported_at),
  }
}

function describe({ error, deferred_reason }: Record<string, unknown>, attempt: Attempt | null): string | undefined {
  const told = error ?? deferred_reason ?? attempt?.error
  if (typeof told === 'string') return told
  const final = attempt?.final
  return final ? `${final.code} ${final.text}` : undefined
}
