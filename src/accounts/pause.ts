/**
 * Pauses of accounts. A failure pause is made by delivery and ended by a probe; a manual one by an operator, who has
 * the last word: it is neither probed nor lifted by what delivery finds.
 */
import type { Db } from '../db/db.js'
import type { Account, AccountPause } from './account.js'
import { pauseFrom } from './row.js'

export interface Failure {
  readonly key: number
  /** Epoch ms. */
  readonly now: number
  /** The server's words. */
  readonly reason: string
  readonly code: string | null
  /** When to probe next, epoch ms. */
  readonly probeAt: number
}

/** An operator's pause, in place of one by failure. False when there is no such account. */
export async function pauseByOperator(
  db: Db,
  { key, now, reason }: { key: number; now: number; reason: string },
): Promise<boolean> {
  return changes(
    db,
    `update accounts set pause_kind = 'manual', pause_reason = $3, pause_code = null, probe_at = null, probes = 0,
        pause_since = case when pause_kind = 'manual' then pause_since else $2 end
      where key = $1 returning key`,
    [key, now, reason],
  )
}

/** Ends any pause. False when the account was not paused. */
export async function resumeByOperator(db: Db, key: number): Promise<boolean> {
  return changes(db, `${CLEAR} where key = $1 and pause_kind is not null returning key`, [key])
}

/** How long after a successful probe a new failure counts as the old pause going on, ms. */
const TRIAL_MS = 600_000

/**
 * True when this call paused the account: of many sends that fail at once, one tells the operator. A server that takes
 * the login and then refuses every message would otherwise begin a new pause after each probe, and none would ever last.
 */
export async function pauseByFailure(db: Db, { key, now, reason, code, probeAt }: Failure): Promise<boolean> {
  return changes(
    db,
    `update accounts set pause_kind = 'failure', pause_reason = $3, pause_code = $4, probe_at = $5,
        failed_at = $2, pause_since = case when probe_at > $6 then pause_since else $2 end,
        probes = case when probe_at > $6 then probes + 1 else 0 end
      where key = $1 and pause_kind is null returning key`,
    [key, now, reason, code, probeAt, now - TRIAL_MS],
  )
}

/** How often the account failed in a row: its probes, if the last success of one is not long ago. */
export function failuresInARow({ trial }: Pick<Account, 'trial'>, now: number): number {
  return trial !== null && trial.resumedAt > now - TRIAL_MS ? trial.probes + 1 : 0
}

/** A transaction went well: the next failure begins a pause of its own. True when the account was on trial. */
export async function endTrial(db: Db, key: number): Promise<boolean> {
  return changes(db, `${CLEAR} where key = $1 and pause_kind is null and pause_since is not null returning key`, [key])
}

/** The probe failed too: the pause goes on with the newest words. */
export async function noteFailedProbe(db: Db, { key, now, reason, code, probeAt }: Failure): Promise<void> {
  await changes(
    db,
    `update accounts set pause_reason = $2, pause_code = $3, probe_at = $4, failed_at = $5, probes = probes + 1
      where key = $1 and pause_kind = 'failure' returning key`,
    [key, reason, code, probeAt, now],
  )
}

/** The probe succeeded: the account is on trial until a transaction goes well. True when this call ended the pause. */
export async function resumeAfterProbe(db: Db, key: number, now: number): Promise<boolean> {
  return changes(
    db,
    `update accounts set pause_kind = null, pause_reason = null, pause_code = null, probe_at = $2
      where key = $1 and pause_kind = 'failure' returning key`,
    [key, now],
  )
}

/** Takes the accounts whose probe is due; no other instance gets them before `again`, epoch ms. */
export async function claimProbes(
  db: Db,
  { now, again, limit }: { now: number; again: number; limit: number },
): Promise<number[]> {
  const [rows] = await db.write([
    {
      sql: `with due as @materialized (
          select key from accounts where pause_kind = 'failure' and probe_at <= $1 order by probe_at limit $3 @skip_locked)
        update accounts set probe_at = $2 where key in (select key from due) returning key`,
      params: [now, again, limit],
    },
  ])
  return rows!.map(row => Number(row.key))
}

/** Makes every waiting probe due: after the clock was set its instant means nothing. */
export async function makeProbesDue(db: Db, now: number): Promise<void> {
  await db.write([
    { sql: "update accounts set probe_at = $1 where pause_kind = 'failure' and probe_at > $1", params: [now] },
  ])
}

export interface PausedAccount extends AccountPause {
  readonly key: number
  readonly tenantId: string
  readonly id: string
}

/** The paused accounts, the longest paused first; null: of all tenants. */
export async function listPaused(db: Db, tenantId: string | null, limit: number): Promise<PausedAccount[]> {
  const rows = await db.read({
    sql: `select key, tenant_id, id, pause_kind, pause_since, pause_reason, pause_code, probe_at, probes from accounts
      where pause_kind is not null ${tenantId === null ? '' : 'and tenant_id = $2'} order by pause_since, key limit $1`,
    params: tenantId === null ? [limit] : [limit, tenantId],
  })
  return rows.map(row => ({
    key: Number(row.key),
    tenantId: row.tenant_id as string,
    id: row.id as string,
    ...pauseFrom(row)!,
  }))
}

/** How many accounts are paused, and those paused longest. */
export async function pausedAccounts(
  db: Db,
  limit: number,
): Promise<{ readonly count: number; readonly accounts: readonly PausedAccount[] }> {
  const [accounts, counted] = await Promise.all([
    listPaused(db, null, limit),
    db.read({ sql: 'select count(*) as n from accounts where pause_kind is not null', params: [] }),
  ])
  return { count: Number(counted[0]?.n ?? 0), accounts }
}

const CLEAR = `update accounts set pause_kind = null, pause_since = null, pause_reason = null, pause_code = null,
  probe_at = null, probes = 0`

async function changes(db: Db, sql: string, params: (string | number | null)[]): Promise<boolean> {
  const [rows] = await db.write([{ sql, params }])
  return rows!.length === 1
}
