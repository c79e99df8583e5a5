/** What happened to messages, from their events: history for people, attempts with the servers' replies. */
import { type Db, type Row, rowsParam } from '../db/db.js'
import { secondsOf } from './record.js'

/** Enough for every retry schedule there is; a message told of more often than this shows its newest events. */
const MAX_EVENTS_A_MESSAGE = 200
const HEAD_CHARACTERS = 4_000

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

/** The events of one message, oldest first. */
export async function readEvents(db: Db, seq: number): Promise<Events> {
  const events: Events = { history: [], attempts: [] }
  for (const row of await readRows(db, [seq], 'e.attempt')) {
    const attempt = row.attempt === null ? null : (JSON.parse(row.attempt as string) as Attempt)
    events.history.push(historyOf(row, attempt))
    if (attempt !== null) events.attempts.push(attempt)
  }
  return events
}

/**
 * The history of each message by seq. Of attempts only the beginning is read, with what they ended in: a page of them with
 * all replies and conversations may be hundreds of MB. Not by the databases' JSON: PostgreSQL's knows no half surrogate
 * pair, which a server's words may have.
 */
export async function readHistories(db: Db, seqs: readonly number[]): Promise<Map<number, HistoryEntry[]>> {
  const found = new Map<number, HistoryEntry[]>(seqs.map(seq => [seq, []]))
  for (const row of await readRows(db, seqs, `substr(e.attempt, 1, ${HEAD_CHARACTERS}) as attempt`)) {
    found.get(Number(row.seq))?.push(historyOf(row, row.attempt === null ? null : headOf(row.attempt as string)))
  }
  return found
}

/** `final` and `error` stand before `replies` (queue/outcome.ts). null: they are longer than anybody reads in a list. */
function headOf(text: string): Attempt | null {
  if (text.length < HEAD_CHARACTERS) return JSON.parse(text) as Attempt
  // Inside a string its quotes would be escaped.
  const end = text.indexOf(',"replies":[')
  return end === -1 ? null : (JSON.parse(`${text.slice(0, end)}}`) as Attempt)
}

function readRows(db: Db, seqs: readonly number[], ofAttempt: string): Promise<Row[]> {
  return db.read({
    sql: `select e.id, e.seq, e.type, e.at, e.entry, e.reported_at, ${ofAttempt}
      from (select w.*, row_number() over (partition by w.seq order by w.id desc) as nth
        from events w where w.seq in (select g.k from @rows($1: k bigint) g)) e
      where e.nth <= $2 order by e.id`,
    params: [rowsParam(seqs.map(seq => ({ k: seq }))), MAX_EVENTS_A_MESSAGE],
  })
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
