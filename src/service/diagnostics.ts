/**
 * What the database tells an operator when mail does not go out, gathered on demand: who works on it, what is open by
 * account and age, which limits are used up, which reports are owed.
 */
import type { Db } from '../db/db.js'
import type { Settings } from '../delivery/settings.js'
import type { Diagnostics } from '../http/deps.js'
import type { Clock } from '../lib/clock.js'
import { readUse } from '../limits/use.js'
import { readBacklog } from '../queue/backlog.js'
import { listLeases } from '../queue/lease.js'
import { readReportBacklog } from '../reports/backlog.js'
import { nextTurn } from '../rules/schedule.js'

/** Accounts and tenants told, those with most first. */
const MOST = 500

export interface DiagnosticsDeps {
  readonly db: Db
  readonly clock: Clock
  readonly settings: Settings
  /** Leases and limits run on it. */
  readonly steadyNow: () => number
}

export async function readDiagnostics({ db, clock, settings, steadyNow }: DiagnosticsDeps): Promise<Diagnostics> {
  const asked = clock.monotonic()
  const [row] = await db.read({ sql: 'select @now($1) as now', params: [steadyNow()] })
  const roundTripMs = clock.monotonic() - asked
  const now = clock.now()
  const [workers, backlog, reports] = await Promise.all([
    listLeases(db, steadyNow()),
    readBacklog(db, { now, steadyNow: steadyNow(), limit: MOST }),
    readReportBacklog(db, MOST),
  ])
  const lookups = await settings.get(backlog.map(each => each.accountKey))
  const use = await readUse(
    db,
    [...lookups.values()].flatMap(each => each.limits),
    steadyNow(),
  )
  return {
    now,
    database: { dialect: db.dialect, roundTripMs, aheadMs: Number(row?.now) - steadyNow() },
    workers,
    backlog: backlog.map(each => {
      const lookup = lookups.get(each.accountKey)
      const opening = lookup?.opening(now)
      const limits = use.filter(
        each => lookup?.limits.some(({ scope, span }) => scope === each.scope && span === each.span) ?? false,
      )
      return {
        ...each,
        limits,
        // Rules of an account that is gone hold nothing.
        opensAt: opening === undefined ? null : nextTurn(opening),
      }
    }),
    reports,
  }
}
