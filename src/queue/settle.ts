/**
 * Ends claims: state, event (history, attempt and outbox in one row) and limit use in one transaction. A settle counts
 * only under its own lease: every statement carries the condition and the last one ends the lease, so a lost lease
 * writes nothing; the rescuer may already have given the message to someone else.
 */
import { type Db, rowsParam, type Statement } from '../db/db.js'
import { countUsedSql } from '../limits/store.js'
import type { Limit } from '../limits/windows.js'
import { Cause } from './stage.js'
import type { Transition } from './transition.js'

export interface Settlement {
  /** Which claim this is the result of; an earlier one's, told twice, must not end a later claim. */
  readonly claim: number
  readonly transition: Transition
  readonly tenantId: string
  /** Windows to count this attempt in. */
  readonly limits: readonly Limit[]
  /** traceparent of the attempt; absent or null: there are no traces. */
  readonly trace?: string | null
}

export interface SettleTimes {
  /** Wall clock, epoch ms. */
  readonly now: number
  /** Time base of limits on SQLite, epoch ms; PostgreSQL uses its own clock. */
  readonly steadyNow: number
}

/** The rows still under the claim they were settled for; $1 the lease, g the rows with k and cl. */
const OURS = 'm.seq = g.k and m.lease = $1 and m.claim = g.cl and m.stage = 3'

/** Answers the seqs that were still ours. */
export async function settle(
  db: Db,
  lease: number,
  { now, steadyNow }: SettleTimes,
  settlements: readonly Settlement[],
): Promise<Set<number>> {
  const unit: Statement[] = []
  if (db.dialect === 'postgres') {
    const keys = rowsParam(settlements.map(({ transition, claim }) => ({ k: transition.seq, cl: claim })))
    unit.push({
      sql: `select m.seq from messages m join @rows($2: k bigint, cl bigint) g on ${OURS} order by m.seq for update of m`,
      params: [lease, keys],
    })
    // The doubt ends with the settle that tells how it went.
    unit.push({
      sql: `delete from doubts where lease = $1 and seq in
        (select m.seq from @rows($2: k bigint, cl bigint) g join messages m on ${OURS})`,
      params: [lease, keys],
    })
  }
  const events = settlements.filter(({ transition }) => transition.event !== null || transition.attempt !== null)
  if (events.length > 0) unit.push(insertEvents(events, lease, now))
  const used = settlements.filter(({ transition, limits }) => transition.used > 0 && limits.length > 0)
  if (used.length > 0) unit.push(countUsed(used, lease, steadyNow))
  unit.push({
    sql: `update messages set status = g.status, stage = g.stage, due_at = g.due_at, attempts = g.n, accepted = g.acc,
        recipients = g.rcpt, deferred_ts = g.def_ts, deferred_reason = g.def_why, sent_at = g.sent, error_at = g.err_at,
        error = g.err, code = g.errcode, causes = causes | g.doubt, lease = null, updated_at = $2
      from @each(k bigint, status text, stage bigint, due_at bigint, n bigint, acc bigint, rcpt text, def_ts bigint,
        def_why text, sent bigint, err_at bigint, err text, errcode text, doubt bigint, cl bigint) g
      where messages.seq = g.k and messages.lease = $1 and messages.claim = g.cl and messages.stage = 3
      returning messages.seq`,
    params: [lease, now],
    rows: settlements.map(wireRow),
  })
  const results = await db.write(unit)
  return new Set((results.at(-1) ?? []).map(row => Number(row.seq)))
}

function wireRow({ transition: t, claim }: Settlement) {
  return {
    k: t.seq,
    cl: claim,
    status: t.status,
    stage: t.stage,
    due_at: t.dueAt,
    n: t.attempts,
    acc: t.accepted,
    rcpt: t.recipients === null ? null : JSON.stringify(t.recipients),
    def_ts: t.deferredTs,
    def_why: t.deferredReason,
    sent: t.sentAt,
    err_at: t.errorAt,
    err: t.error,
    errcode: t.code,
    doubt: t.inDoubt ? Cause.doubt : 0,
  }
}

function insertEvents(settlements: readonly Settlement[], lease: number, now: number): Statement {
  const rows = settlements.map(({ transition, tenantId, claim, trace }) => ({
    k: transition.seq,
    cl: claim,
    t: tenantId,
    y: transition.event?.type ?? 'attempt',
    e: JSON.stringify(transition.event?.entry ?? {}),
    a: transition.attempt === null ? null : JSON.stringify(transition.attempt),
    p: transition.event?.reported === true ? 1 : 0,
    tr: trace ?? undefined,
  }))
  return {
    sql: `insert into events (tenant_id, seq, type, at, entry, attempt, pending, trace)
      select g.t, g.k, g.y, $2, g.e, g.a, g.p, g.tr
      from @each(k bigint, t text, y text, e text, a text, p bigint, tr text, cl bigint) g
      join messages m on ${OURS}`,
    params: [lease, now],
    rows,
  }
}

function countUsed(settlements: readonly Settlement[], lease: number, steadyNow: number): Statement {
  const rows = settlements.flatMap(({ transition, limits, claim }) =>
    limits.map(({ scope, span }) => ({ k: transition.seq, cl: claim, scope, span, used: transition.used })),
  )
  return {
    sql: countUsedSql(
      `(select g.scope, g.span, g.used from @rows($2: k bigint, scope text, span bigint, used bigint, cl bigint) g
        join messages m on ${OURS})`,
      '$3',
    ),
    params: [lease, rowsParam(rows), steadyNow],
  }
}
