/**
 * Frees the claims of dead workers. Each is settled under the dead lease, so that the worker's own late settle and
 * this one exclude each other row by row; the lease itself goes last, so a rescuer that dies is followed by another.
 */
import { type Db, rowsParam } from '../db/db.js'
import type { Log } from '../lib/log.js'
import { type Limit, limitsOf } from '../limits/windows.js'
import { type Claimed, claimedFrom } from './claim.js'
import type { DoubtJournal } from './doubt-journal.js'
import type { DeadLease } from './lease.js'
import { type Settlement, settleApart } from './settle.js'
import { type RetryPolicy, rescueTransition, type Transition } from './transition.js'

/** Claims read at once, and settled at once. */
const CHUNK = 500

export interface RescueDeps {
  readonly db: Db
  readonly log: Log
  readonly journal: DoubtJournal
  /** Today's epoch; another one in the lease means that its journal cannot be trusted. */
  readonly epoch: string
  policyOf(inDoubt: RetryPolicy['inDoubt']): RetryPolicy
  /** As for leases. */
  steadyNow(): number
}

export interface Rescued {
  readonly freed: number
  readonly inDoubt: number
  readonly accountKeys: readonly number[]
  readonly tenantIds: readonly string[]
  /** Those in doubt, and what became of each. */
  readonly doubts: readonly { readonly claimed: Claimed; readonly transition: Transition }[]
}

export async function rescue(deps: RescueDeps, dead: DeadLease, now: number): Promise<Rescued> {
  const { db, log, journal } = deps
  const trusted = dead.epoch === deps.epoch
  const journalled = await journal.read(dead.id)
  const doubts: { claimed: Claimed; transition: Transition }[] = []
  const refused = new Set<number>()
  let reason: Error | null = null
  let freed = 0
  const accountKeys = new Set<number>()
  const tenantIds = new Set<string>()
  for (;;) {
    const seqs = (await claimedSeqs(db, dead.id)).filter(seq => !refused.has(seq))
    if (seqs.length === 0) break
    const ends: { claimed: Claimed; settlement: Settlement; doubt: boolean }[] = []
    for (const { claimed, to, inDoubt, limits } of await claimsOf(db, dead.id, seqs.slice(0, CHUNK))) {
      const doubt = !trusted || journalled.has(claimed.seq)
      const transition = rescueTransition(claimed, to, doubt, deps.policyOf(inDoubt), now)
      const { claim, tenantId } = claimed
      ends.push({ claimed, settlement: { transition, claim, tenantId, limits }, doubt })
    }
    const times = { now, steadyNow: deps.steadyNow() }
    for await (const { part, ours, refusal } of settleApart(db, dead.id, times, ends)) {
      for (const { claimed, settlement, doubt } of part) {
        if (refusal !== null) {
          refused.add(claimed.seq)
          reason = refusal
        }
        // The others were freed by another rescuer, which tells of them, or settled late by the worker itself.
        if (!ours.has(claimed.seq)) continue
        if (doubt) doubts.push({ claimed, transition: settlement.transition })
        else freed += 1
        accountKeys.add(claimed.accountKey)
        tenantIds.add(claimed.tenantId)
      }
    }
  }
  // What the database refuses keeps its lease, dead as it is, and its journal for the next try.
  if (reason === null) await endLease(deps, dead)
  else log.error(`${refused.size} messages claimed by ${dead.holder} could not be freed: ${reason.message}`)
  const inDoubt = doubts.length
  if (freed + inDoubt > 0) {
    log.warning(
      `Freed ${freed + inDoubt} messages claimed by ${dead.holder}, which ended without settling them; ${inDoubt} in doubt`,
    )
  }
  return { freed, inDoubt, accountKeys: [...accountKeys], tenantIds: [...tenantIds], doubts }
}

async function endLease({ db, journal }: RescueDeps, dead: DeadLease): Promise<void> {
  // In this order: a rescuer that dies in between leaves a lease for the next one, and not a journal for ever.
  await journal.forget(dead.id)
  await db.write([{ sql: 'delete from leases where id = $1', params: [dead.id] }])
}

/** Every unsettled claim of a lease, the oldest message first. */
export async function claimedSeqs(db: Db, lease: number): Promise<number[]> {
  const rows = await db.read({
    // Ordered by an expression: by the key itself SQLite would walk the whole table instead of the few claimed rows.
    sql: 'select seq from messages where stage = 3 and lease = $1 order by seq + 0',
    params: [lease],
  })
  return rows.map(row => Number(row.seq))
}

/** A claim that somebody left, with what it takes to end it. */
export interface LeftClaim {
  readonly claimed: Claimed
  readonly to: readonly string[]
  /** As the account's row says, and the default where it is gone. */
  readonly inDoubt: RetryPolicy['inDoubt']
  /** Of the account and its tenant, as far as they are there. */
  readonly limits: readonly Limit[]
}

/** Those among these claims of a lease that are unsettled. By the rows alone: the secrets in them may not open. */
export async function claimsOf(db: Db, lease: number, seqs: readonly number[]): Promise<LeftClaim[]> {
  const found: LeftClaim[] = []
  for (let at = 0; at < seqs.length; at += CHUNK) {
    const rows = await db.read({
      // As above.
      sql: `select m.seq, m.tenant_id, m.id, m.account_key, m.account_id, m.priority, m.batch_code, m.attempts, m.accepted,
          m.recipients, m.due_at, m.expires_at, m.sent_at, m.created_at, m.causes, m.claim, c.envelope, a.in_doubt,
          a.limit_per_minute, a.limit_per_hour, a.limit_per_day, t.rate_hourly, t.rate_daily
        from messages m left join contents c on c.seq = m.seq
          left join accounts a on a.key = m.account_key left join tenants t on t.id = m.tenant_id
        where m.stage = 3 and m.lease = $1 and m.seq in (select g.k from @rows($2: k bigint) g) order by m.seq + 0`,
      params: [lease, rowsParam(seqs.slice(at, at + CHUNK).map(k => ({ k })))],
    })
    for (const row of rows) {
      found.push({
        claimed: claimedFrom(row, lease),
        to: row.envelope === null ? [] : (JSON.parse(row.envelope as string) as { to: string[] }).to,
        inDoubt: (row.in_doubt ?? 'retry') as RetryPolicy['inDoubt'],
        limits: limitsOf(
          {
            key: Number(row.account_key),
            tenantId: row.tenant_id as string,
            limitPerMinute: numberOrNull(row.limit_per_minute),
            limitPerHour: numberOrNull(row.limit_per_hour),
            limitPerDay: numberOrNull(row.limit_per_day),
          },
          { rateHourly: numberOrNull(row.rate_hourly), rateDaily: numberOrNull(row.rate_daily) },
        ),
      })
    }
  }
  return found
}

function numberOrNull(value: unknown): number | null {
  return value === null ? null : Number(value)
}
