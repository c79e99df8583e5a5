/**
 * Ends open messages without an attempt: expired, cancelled, account deleted, over the limit with behaviour `error`,
 * a pause that outlasted the retries, discarded doubts. A message that some server accepted for a recipient already
 * ends as sent, whatever becomes of the rest; the others as `status`.
 */
import type { Db, Row } from '../db/db.js'
import type { RecipientState } from '../messages/message.js'
import { entryBase, errorEntry, sentEntry } from './report-entry.js'
import { Cause } from './stage.js'

export interface EndRequest {
  /** Epoch ms. */
  readonly now: number
  /** A select of seqs whose $1 is `given`. */
  readonly from: { readonly sql: string; readonly given: string }
  /** Only rows still at one of these stages. */
  readonly stages: readonly number[]
  readonly status: 'error' | 'cancelled'
  /** Event type. */
  readonly type: 'error' | 'cancelled'
  readonly code: string
  readonly error: string
}

export interface Ended {
  readonly seqs: readonly number[]
  readonly tenantIds: readonly string[]
}

export async function endOpen(db: Db, request: EndRequest): Promise<Ended> {
  const { now, from, stages } = request
  const stageList = stages.join(', ')
  const rows = await db.read({
    sql: `select m.seq, m.tenant_id, m.id, m.account_id, m.priority, m.attempts, m.accepted, m.recipients, m.sent_at,
        m.causes, m.submission
      from messages m where m.seq in (${from.sql}) and m.stage in (${stageList})`,
    params: [from.given],
  })
  if (rows.length === 0) return { seqs: [], tenantIds: [] }
  const given = JSON.stringify(rows.map(row => endRow(row, request)))
  // Once more inside the unit: meanwhile it may be claimed (then its attempt decides), be back from an attempt with
  // more to tell, or hold new content, which was acknowledged and must not end for the old one's sake.
  const same = (row: string) => `${row}.stage in (${stageList}) and ${row}.accepted = g.acc and ${row}.attempts = g.n
    and ${row}.submission = g.sub`
  const [, , updated] = await db.write([
    {
      sql: `select m.seq from messages m join @rows($1: k bigint, acc bigint, n bigint, sub bigint) g on m.seq = g.k
        where ${same('m')} order by m.seq ${db.dialect === 'postgres' ? 'for update of m' : ''}`,
      params: [given],
    },
    {
      sql: `insert into events (tenant_id, seq, type, at, entry, pending)
        select g.t, g.k, g.y, $2, g.e, 1
        from @rows($1: k bigint, t text, y text, e text, acc bigint, n bigint, sub bigint) g
        join messages m on m.seq = g.k where ${same('m')}`,
      params: [given, now],
    },
    {
      sql: `update messages set status = g.s, stage = 0, error = g.err, code = g.c, recipients = g.r,
          error_at = case when g.s = 'sent' then null else cast($2 as bigint) end,
          sent_at = case when g.s = 'sent' then coalesce(messages.sent_at, $2) else null end,
          deferred_ts = null, deferred_reason = null, updated_at = $2
        from @rows($1: k bigint, s text, err text, c text, r text, acc bigint, n bigint, sub bigint) g
        where messages.seq = g.k and ${same('messages')}
        returning messages.seq, messages.tenant_id`,
      params: [given, now],
    },
  ])
  return {
    seqs: (updated ?? []).map(row => Number(row.seq)),
    tenantIds: [...new Set((updated ?? []).map(row => row.tenant_id as string))],
  }
}

function endRow(row: Row, { now, status, type, code, error }: EndRequest) {
  const recipients = row.recipients === null ? null : (JSON.parse(row.recipients as string) as RecipientState[])
  const closed =
    recipients?.map(each =>
      each.status === 'open' ? { ...each, status: 'refused' as const, code, reply: error } : each,
    ) ?? null
  const base = entryBase(row, closed)
  const sent = Number(row.accepted) > 0
  const isDoubtful = (Number(row.causes) & Cause.doubt) !== 0
  return {
    k: Number(row.seq),
    t: base.tenantId,
    acc: Number(row.accepted),
    n: base.attempts,
    sub: Number(row.submission),
    s: sent ? 'sent' : status,
    y: sent ? 'sent' : type,
    err: sent ? null : error,
    c: sent ? null : code,
    r: closed === null ? null : JSON.stringify(closed),
    e: JSON.stringify(
      sent ? sentEntry(base, Number(row.sent_at ?? now)) : errorEntry(base, now, error, code, isDoubtful),
    ),
  }
}
