/**
 * Counts for people and dashboards: by status, account, priority and hour. Open messages are counted all; of the ended
 * ones the newest ENDED, so that the cost does not grow with what was ever sent (`complete` tells whether that was all).
 */
import type { Db, Row } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import { openRowsSql } from '../queue/open-rows.js'

const ENDED = 50_000
const HOUR_MS = 3_600_000
const HOURS = 24
/** Accounts told, those with most messages first. */
const MAX_ACCOUNTS = 1_000

export interface Stats {
  readonly complete: boolean
  readonly by_status: Readonly<Record<string, number>>
  readonly by_account: readonly ({ tenant_id: string; account_id: string } & Record<string, unknown>)[]
  readonly by_priority: readonly { priority: number; open: number; ended: number }[]
  /** The last 24 hours, oldest first; `hour_ts` is where the hour starts, Unix seconds. */
  readonly by_hour: readonly { hour_ts: number; sent: number; error: number }[]
}

/** A dashboard on each desk asks the same; nobody sees the difference of two seconds. */
const REMEMBER_MS = 2_000
const MAX_REMEMBERED = 1_000

/** Reads the figures of a tenant (null: of all), at most every two seconds. */
export function createStatsReader(db: Db, clock: Pick<Clock, 'now' | 'monotonic'>) {
  const remembered = new Map<string | null, { readonly at: number; readonly stats: Promise<Stats> }>()
  return (tenantId: string | null): Promise<Stats> => {
    const at = clock.monotonic()
    const known = remembered.get(tenantId)
    if (known !== undefined && at - known.at < REMEMBER_MS) return known.stats
    if (remembered.size >= MAX_REMEMBERED) remembered.clear()
    const stats = readStats(db, tenantId, clock.now())
    remembered.set(tenantId, { at, stats })
    // A failure is not remembered.
    stats.catch(() => remembered.delete(tenantId))
    return stats
  }
}

/** `tenantId` null: of all tenants. `now` in epoch ms. */
export async function readStats(db: Db, tenantId: string | null, now: number): Promise<Stats> {
  const own = tenantId === null ? [] : [tenantId]
  const mine = tenantId === null ? null : '$1'
  const newest = `select m.tenant_id, m.account_id, m.status, m.priority, m.stage, m.sent_at, m.error_at
    from messages m ${mine === null ? '' : `where m.tenant_id = ${mine}`} order by m.seq desc limit ${ENDED}`
  const [open, ended, hours, [count]] = await Promise.all([
    db.read({
      sql: `select tenant_id, account_id, status, priority, count(*) as n
        from (${openRowsSql('m.tenant_id, m.account_id, m.status, m.priority', mine)}) m
        group by tenant_id, account_id, status, priority`,
      params: own,
    }),
    db.read({
      sql: `select tenant_id, account_id, status, priority, count(*) as n from (${newest}) m where stage = 0
        group by tenant_id, account_id, status, priority`,
      params: own,
    }),
    db.read({
      sql: `select coalesce(sent_at, error_at) / ${HOUR_MS} as hour, status, count(*) as n from (${newest}) m
        where stage = 0 and coalesce(sent_at, error_at) > ${mine === null ? '$1' : '$2'}
        group by coalesce(sent_at, error_at) / ${HOUR_MS}, status`,
      params: [...own, now - HOURS * HOUR_MS],
    }),
    db.read({ sql: `select count(*) as n from (${newest}) m`, params: own }),
  ])
  const groups = [...open, ...ended]
  return {
    complete: Number(count?.n ?? 0) < ENDED,
    by_status: sumBy(groups, row => row.status as string),
    by_account: accountsOf(groups),
    by_priority: [0, 1, 2, 3].map(priority => ({
      priority,
      open: sum(open.filter(row => Number(row.priority) === priority)),
      ended: sum(ended.filter(row => Number(row.priority) === priority)),
    })),
    by_hour: hoursOf(hours, now),
  }
}

function accountsOf(groups: readonly Row[]): Stats['by_account'] {
  const accounts = new Map<string, Row[]>()
  for (const row of groups) {
    const key = `${row.tenant_id} ${row.account_id}`
    const same = accounts.get(key)
    if (same === undefined) accounts.set(key, [row])
    else same.push(row)
  }
  return [...accounts.values()]
    .sort((a, b) => sum(b) - sum(a))
    .slice(0, MAX_ACCOUNTS)
    .map(rows => ({
      tenant_id: rows[0]!.tenant_id as string,
      account_id: rows[0]!.account_id as string,
      ...sumBy(rows, row => row.status as string),
    }))
}

function hoursOf(rows: readonly Row[], now: number): Stats['by_hour'] {
  const current = Math.floor(now / HOUR_MS)
  return Array.from({ length: HOURS }, (_, i) => {
    const hour = current - HOURS + 1 + i
    const mine = rows.filter(row => Number(row.hour) === hour)
    return {
      hour_ts: (hour * HOUR_MS) / 1000,
      sent: sum(mine.filter(row => row.status === 'sent')),
      error: sum(mine.filter(row => row.status === 'error')),
    }
  })
}

function sumBy(rows: readonly Row[], keyOf: (row: Row) => string): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const row of rows) sums[keyOf(row)] = (sums[keyOf(row)] ?? 0) + Number(row.n)
  return sums
}

function sum(rows: readonly Row[]): number {
  return rows.reduce((total, row) => total + Number(row.n), 0)
}
