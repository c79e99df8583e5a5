/**
 * What those are told who wait for a limit: the next 1,000 get their projected turn, once a message and cause; later
 * ones stay pending. Nothing moves in the queue, the limit acts on the account. With behaviour `error` they fail.
 */
import { type Db, rowsParam } from '../db/db.js'
import { projectTurns } from '../limits/store.js'
import { type ClaimRequest, claimableSql } from '../queue/claim.js'
import { endOpen } from '../queue/end.js'
import { deferredEntry, entryBase } from '../queue/report-entry.js'
import { Cause } from '../queue/stage.js'
import type { Lookup, Settings } from './settings.js'

const MOST = 1_000
const REASON = 'rate_limit_exceeded'

export interface LimitDeferral {
  /** Messages newly told. */
  readonly told: number
  readonly failed: number
  /** When the first may go, epoch ms. */
  readonly firstTurn: number
}

/** `request`: the claim that got less than it asked for; what it could not have taken anyhow waits for something else. */
export async function deferByLimit(
  { db, settings }: { readonly db: Db; readonly settings: Pick<Settings, 'isCurrent'> },
  lookup: Lookup,
  request: ClaimRequest,
  now: number,
  steadyNow: number,
): Promise<LimitDeferral> {
  const { account, limits } = lookup
  const params: (string | number)[] = []
  const rows = await db.read({
    sql: `select seq, tenant_id, id, account_id, priority, attempts, causes from messages
      where ${claimableSql(request, params)} order by priority, seq limit $${params.push(MOST)}`,
    params,
  })
  const projected = await projectTurns(db, limits, steadyNow, Math.max(1, rows.length))
  // What was read may have been accepted since they changed, and must not fail by a limit that is gone.
  if (!settings.isCurrent(lookup)) return { told: 0, failed: 0, firstTurn: now }
  // Limits count by a clock of their own; people read the wall's.
  const turns = projected.map(turn => turn - steadyNow + now)
  // A slot may be free: what came after the claim, or what a slot was given back for meanwhile, has its turn now.
  const late = rows.map((row, i) => ({ row, turn: turns[i] ?? now })).filter(({ turn }) => turn > now)
  if (account.limitBehavior === 'error') {
    const failed = await failWaiting(
      db,
      late.map(({ row }) => Number(row.seq)),
      now,
    )
    return { told: 0, failed, firstTurn: now }
  }
  const told = late
    .filter(({ row }) => (Number(row.causes) & Cause.limit) === 0)
    .map(({ row, turn }) => ({
      k: Number(row.seq),
      t: row.tenant_id as string,
      d: turn,
      e: JSON.stringify(deferredEntry(entryBase(row), turn, REASON)),
    }))
  const newly = told.length > 0 ? await tell(db, told, Cause.limit, REASON, now) : 0
  return { told: newly, failed: 0, firstTurn: turns[0] ?? now }
}

/** Marks ready messages deferred for a cause they were not told of yet, with one report each; answers how many. Shared with pauses. */
export async function tell(
  db: Db,
  rows: readonly { k: number; t: string; d: number; e: string }[],
  cause: number,
  reason: string,
  now: number,
): Promise<number> {
  const given = rowsParam(rows)
  const results = await db.write([
    {
      // Locked before they are looked at: two instances that see the same queue must not both tell it.
      sql: 'select m.seq from messages m where m.seq in (select g.k from @rows($1: k bigint) g) order by m.seq @for_update',
      params: [given],
    },
    {
      sql: `insert into events (tenant_id, seq, type, at, entry, pending)
        select g.t, g.k, 'deferred', $2, g.e, 1 from @rows($1: k bigint, t text, e text) g
        join messages m on m.seq = g.k where m.stage = 1 and (m.causes & $3) = 0`,
      params: [given, now, cause],
    },
    {
      sql: `update messages set status = 'deferred', deferred_ts = g.d, deferred_reason = $4, causes = causes | $3, updated_at = $2
        from @rows($1: k bigint, d bigint) g
        where messages.seq = g.k and messages.stage = 1 and (messages.causes & $3) = 0
        returning messages.seq`,
      params: [given, now, cause, reason],
    },
  ])
  return results.at(-1)?.length ?? 0
}

async function failWaiting(db: Db, seqs: readonly number[], now: number): Promise<number> {
  if (seqs.length === 0) return 0
  const ended = await endOpen(db, {
    now,
    from: { sql: 'select g.k from @rows($1: k bigint) g', given: rowsParam(seqs.map(seq => ({ k: seq }))) },
    stages: [1],
    status: 'error',
    type: 'error',
    code: 'rate_limit_exceeded',
    error: 'rate_limit_exceeded',
  })
  return ended.seqs.length
}
