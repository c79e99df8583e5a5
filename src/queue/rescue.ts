/**
 * Frees the claims of dead workers. Each is settled under the dead lease, so that the worker's own late settle and
 * this one exclude each other row by row; the lease itself goes last, so a rescuer that dies is followed by another.
 */
import { type Db, rowsParam } from '../db/db.js'
import type { Log } from '../lib/log.js'
import type { Limit } from '../limits/windows.js'
import { type Claimed, claimedFrom } from './claim.js'
import type { DoubtJournal } from './doubt-journal.js'
import type { DeadLease } from './lease.js'
import { type Settlement, settle } from './settle.js'
import { type RetryPolicy, rescueTransition, type Transition } from './transition.js'

/** Claims read at once. */
export const CLAIMS_CHUNK = 500

export interface RescueDeps {
  readonly db: Db
  readonly log: Log
  readonly journal: DoubtJournal
  /** Today's epoch; another one in the lease means that its journal cannot be trusted. */
  readonly epoch: string
  /** Policy and limits of an account; null when it is gone, or its secrets cannot be opened. */
  settingsOf(accountKey: number): Promise<{ policy: RetryPolicy; limits: readonly Limit[] } | null>
  /** Where there are no settings, but for what the account's row says of doubts. */
  readonly fallback: RetryPolicy
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
  let freed = 0
  const accountKeys = new Set<number>()
  const tenantIds = new Set<string>()
  for (let rows = await claimsOf(db, dead.id); rows.length > 0; rows = await claimsOf(db, dead.id)) {
    const ends = new Map<number, { claimed: Claimed; transition: Transition; doubt: boolean }>()
    const settlements: Settlement[] = []
    for (const { claimed, to } of rows) {
      const settings = await deps.settingsOf(claimed.accountKey)
      const doubt = !trusted || journalled.has(claimed.seq)
      const policy = settings?.policy ?? { ...deps.fallback, ...(await inDoubtOf(db, claimed.accountKey)) }
      const transition = rescueTransition(claimed, to, doubt, policy, now)
      settlements.push({ transition, claim: claimed.claim, tenantId: claimed.tenantId, limits: settings?.limits ?? [] })
      ends.set(claimed.seq, { claimed, transition, doubt })
    }
    // The others were freed by another rescuer, which tells of them, or settled late by the worker itself.
    for (const seq of await settle(db, dead.id, { now, steadyNow: deps.steadyNow() }, settlements)) {
      const { claimed, transition, doubt } = ends.get(seq)!
      if (doubt) doubts.push({ claimed, transition })
      else freed += 1
      accountKeys.add(claimed.accountKey)
      tenantIds.add(claimed.tenantId)
    }
  }
  // In this order: a rescuer that dies in between leaves a lease for the next one, and not a journal for ever.
  await journal.forget(dead.id)
  await db.write([{ sql: 'delete from leases where id = $1', params: [dead.id] }])
  const inDoubt = doubts.length
  if (freed + inDoubt > 0) {
    log.warning(
      `Freed ${freed + inDoubt} messages claimed by ${dead.holder}, which ended without settling them; ${inDoubt} in doubt`,
    )
  }
  return { freed, inDoubt, accountKeys: [...accountKeys], tenantIds: [...tenantIds], doubts }
}

/** By the account's row alone: its secrets may not open. Nothing when the account is gone. */
export async function inDoubtOf(db: Db, accountKey: number): Promise<Partial<Pick<RetryPolicy, 'inDoubt'>>> {
  const [row] = await db.read({ sql: 'select in_doubt from accounts where key = $1', params: [accountKey] })
  return row === undefined ? {} : { inDoubt: row.in_doubt as RetryPolicy['inDoubt'] }
}

/** Every unsettled claim of a lease. */
export async function claimedSeqs(db: Db, lease: number): Promise<number[]> {
  const rows = await db.read({ sql: 'select seq from messages where stage = 3 and lease = $1', params: [lease] })
  return rows.map(row => Number(row.seq))
}

/** Up to 500 unsettled claims of a lease with their recipients; `seqs`: only these. */
export async function claimsOf(
  db: Db,
  lease: number,
  seqs?: readonly number[],
): Promise<{ claimed: Claimed; to: readonly string[] }[]> {
  const params: (string | number)[] = [lease, CLAIMS_CHUNK]
  const among = seqs === undefined ? '' : 'and m.seq in (select g.k from @rows($3: k bigint) g)'
  if (seqs !== undefined) params.push(rowsParam(seqs.slice(0, CLAIMS_CHUNK).map(k => ({ k }))))
  const rows = await db.read({
    // Ordered by an expression: by the key itself SQLite would walk the whole table instead of the few claimed rows.
    sql: `select m.seq, m.tenant_id, m.id, m.account_key, m.account_id, m.priority, m.batch_code, m.attempts, m.accepted,
        m.recipients, m.due_at, m.expires_at, m.sent_at, m.created_at, m.causes, m.claim, c.envelope
      from messages m left join contents c on c.seq = m.seq
      where m.stage = 3 and m.lease = $1 ${among} order by m.seq + 0 limit $2`,
    params,
  })
  return rows.map(row => ({
    claimed: claimedFrom(row, lease),
    to: row.envelope === null ? [] : (JSON.parse(row.envelope as string) as { to: string[] }).to,
  }))
}
