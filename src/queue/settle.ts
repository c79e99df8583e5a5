/**
 * Ends claims: state, event (history, attempt and outbox in one row) and limit use in one transaction. A settle counts
 * only under its own lease: all that is written follows from the rows whose claim the update ends, so a lost lease
 * writes nothing; the rescuer may already have given the message to someone else.
 */
import { randomInt } from 'node:crypto'
import { DatabaseUnavailable, type Db, type Param, rowsParam, type Statement } from '../db/db.js'
import { countUsedSql } from '../limits/store.js'
import { type Limit, windowBits } from '../limits/windows.js'
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
  /** Its tenant was seen to have nowhere to report to. If that is still so, the message counts as reported with its end. */
  readonly isUntold?: boolean
}

export interface SettleTimes {
  /** Wall clock, epoch ms. */
  readonly now: number
  /** Time base of limits on SQLite, epoch ms; PostgreSQL uses its own clock. */
  readonly steadyNow: number
}

/**
 * The rows still under the claim they were settled for; $1 the lease, g the rows with k and cl. The stage as an expression:
 * through the index of claims PostgreSQL would look at all of them for each row given.
 */
const OURS = 'm.seq = g.k and m.lease = $1 and m.claim = g.cl and m.stage + 0 = 3'

const UPDATE = `update messages as m set status = g.status, stage = g.stage, due_at = g.due_at, attempts = g.n,
    accepted = g.acc, recipients = g.rcpt, deferred_ts = g.def_ts, deferred_reason = g.def_why, sent_at = g.sent,
    error_at = g.err_at, error = g.err, code = g.errcode, causes = causes | g.doubt, lease = null, updated_at = $2`
const STATE = `k bigint, status text, stage bigint, due_at bigint, n bigint, acc bigint, rcpt text, def_ts bigint,
  def_why text, sent bigint, err_at bigint, err text, errcode text, doubt bigint, cl bigint`
const INSERT_EVENTS = 'insert into events (tenant_id, seq, type, at, entry, attempt, pending, reported_at, trace)'
const EVENT = 'y text, e text, a text, p bigint, tr text'

// On SQLite, made once: to put together a text of 1 KB and to find what is known of it takes some 2 µs, for a few messages.
const END = endSql('null')
const END_UNTOLD = endSql(reportedSql('$4'))
/** The rows g that the update has ended: it adds a number, $1 here, to that of their claims. */
const ENDED = 'm.seq = g.k and m.claim = g.cl + $1'
const TELL = `${INSERT_EVENTS}
  select m.tenant_id, m.seq, g.y, $2, g.e, g.a, case when m.reported_at is null then g.p else 0 end, m.reported_at, g.tr
  from @each(k bigint, ${EVENT}, cl bigint) g join messages m on ${ENDED}`
const USED = `(select m.account_key, m.tenant_id, g.windows
  from @each(k bigint, windows bigint, cl bigint) g join messages m on ${ENDED})`

/** Answers the seqs that were still ours. */
export async function settle(
  db: Db,
  lease: number,
  times: SettleTimes,
  settlements: readonly Settlement[],
): Promise<Set<number>> {
  const unit = db.dialect === 'postgres' ? inOne(lease, times, settlements) : inTurn(lease, times, settlements)
  const results = await db.write(unit)
  return new Set(results[0]!.map(row => Number(row.seq)))
}

/** What became of a part of a unit. */
export interface Part<T> {
  readonly part: readonly T[]
  /** The seqs of those that were still ours. */
  readonly ours: ReadonlySet<number>
  /** Why the database refuses it, which is one settlement then; null: it is durable. */
  readonly refusal: Error | null
}

/**
 * Settles a unit; where the database refuses what stands in it, each settlement alone, so that one odd row does not hold
 * back the others. Throws when the database is away: what was yielded before stands, the rest does not.
 */
export async function* settleApart<T extends { readonly settlement: Settlement }>(
  db: Db,
  lease: number,
  times: SettleTimes,
  unit: readonly T[],
): AsyncGenerator<Part<T>> {
  const settlements = unit.map(each => each.settlement)
  try {
    yield { part: unit, ours: await settle(db, lease, times, settlements), refusal: null }
    return
  } catch (error) {
    if (error instanceof DatabaseUnavailable) throw error
    if (unit.length === 1) {
      yield { part: unit, ours: new Set(), refusal: error as Error }
      return
    }
  }
  for (const each of unit) yield* settleApart(db, lease, times, [each])
}

/**
 * PostgreSQL: one statement, in which all else follows from the rows that the update changed. Nothing needs to be
 * locked or looked up for it a second time, and all of it is there before the first row is locked: a process frozen
 * while it writes the statement holds up no rescuer.
 */
function inOne(lease: number, { now, steadyNow }: SettleTimes, settlements: readonly Settlement[]): Statement[] {
  // In one order for all: two that wait for each other's rows would be undone.
  const rows = [...settlements]
    .sort((a, b) => a.transition.seq - b.transition.seq)
    // Not spread into a third object: of so many names V8 makes a dictionary, 15 µs a message in place of 3.
    .map(each => Object.assign(wireRow(each), eventRow(each), useRow(each)))
  const params: Param[] = [lease, now]
  const untold = untoldTenants(settlements)
  const reported = untold === null ? 'null' : reportedSql(`$${params.push(untold)}`)
  const isCounted = rows.some(({ windows }) => windows > 0)
  const counted = isCounted ? `, counted as (${countUsedSql('done', `$${params.push(steadyNow)}`)})` : ''
  return [
    {
      sql: `with done as (${UPDATE}, reported_at = ${reported}
          from @each(${STATE}, ${EVENT}, windows bigint) g where ${OURS}
          returning seq, account_key, tenant_id, reported_at, g.y, g.e, g.a, g.p, g.tr, g.windows),
        told as (${INSERT_EVENTS}
          select tenant_id, seq, y, $2, e, a, case when reported_at is null then p else 0 end, reported_at, tr from done where y is not null)
        ${counted}
        select seq from done`,
      params,
      rows,
    },
  ]
}

/** SQLite, where nothing but a select may stand before an update and nobody else writes meanwhile. */
function inTurn(lease: number, { now, steadyNow }: SettleTimes, settlements: readonly Settlement[]): Statement[] {
  const mark = randomInt(2 ** 47)
  const untold = untoldTenants(settlements)
  const unit: Statement[] = [
    {
      sql: untold === null ? END : END_UNTOLD,
      params: untold === null ? [lease, now, mark] : [lease, now, mark, untold],
      rows: settlements.map(wireRow),
    },
  ]
  const told = settlements.map(eventRow).filter(({ y }) => y !== null)
  if (told.length > 0) unit.push({ sql: TELL, params: [mark, now], rows: told })
  const counted = settlements.map(useRow).filter(({ windows }) => windows > 0)
  if (counted.length > 0) unit.push({ sql: countUsedSql(USED, '$2'), params: [mark, steadyNow], rows: counted })
  return unit
}

function endSql(reported: string): string {
  return `${UPDATE}, claim = m.claim + $3, reported_at = ${reported} from @each(${STATE}) g where ${OURS} returning seq`
}

/**
 * When message m of the row g is reported with its end: nobody is to be told of it, for its tenant has no endpoint, and
 * nothing is owed from before. If something is, whoever acknowledges that may not see the end yet, so this is owed too.
 */
function reportedSql(tenants: string): string {
  return `case when g.stage = 0
      and m.tenant_id in (select t.id from @rows(${tenants}: i text) n join tenants t on t.id = n.i
        where coalesce(t.client_base_url, '') = '')
      and not exists (select 1 from events e where e.seq = m.seq and e.pending > 0)
    then cast($2 as bigint) end`
}

/** Those that were seen to have none, for reportedSql; null: all have one. */
function untoldTenants(settlements: readonly Settlement[]): Param | null {
  const tenants = new Set<string>()
  for (const { isUntold, tenantId } of settlements) if (isUntold === true) tenants.add(tenantId)
  return tenants.size === 0 ? null : rowsParam([...tenants].map(i => ({ i })))
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

/** `y` null: nothing happened that is worth telling. */
function eventRow({ transition: { seq, event, attempt }, claim, trace }: Settlement) {
  return {
    k: seq,
    cl: claim,
    y: event?.type ?? (attempt === null ? null : 'attempt'),
    e: JSON.stringify(event?.entry ?? {}),
    a: attempt === null ? null : JSON.stringify(attempt),
    p: event?.reported === true ? 1 : 0,
    tr: trace ?? undefined,
  }
}

/** In which windows it counts. */
function useRow({ transition: { seq, used }, claim, limits }: Settlement) {
  return { k: seq, cl: claim, windows: used > 0 ? windowBits(limits) : 0 }
}
