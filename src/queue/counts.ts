/** How many messages are open: ready, waiting or being sent. Counted over the partial indexes of what is not yet sent. */
import type { Db } from '../db/db.js'
import { type Clock, systemClock } from '../lib/clock.js'

/** A count that was quick is not worth remembering; one over a huge backlog is remembered in proportion, up to 1 s. */
const REMEMBER_FACTOR = 50
const REMEMBER_MAX_MS = 1000
const MAX_TENANTS = 1000

interface Remembered {
  until: number
  count: Promise<number>
}
const remembered = new WeakMap<Db, Map<string | null, Remembered>>()

/** Up to a second old when the backlog is large. null: of all tenants. */
export function countOpen(
  db: Db,
  tenantId: string | null,
  clock: Pick<Clock, 'monotonic'> = systemClock,
): Promise<number> {
  const counts = remembered.get(db) ?? new Map<string | null, Remembered>()
  remembered.set(db, counts)
  const started = clock.monotonic()
  const known = counts.get(tenantId)
  if (known !== undefined && started < known.until) return known.count
  if (counts.size >= MAX_TENANTS) counts.clear()
  const fresh: Remembered = { until: started, count: count(db, tenantId) }
  counts.set(tenantId, fresh)
  fresh.count.then(
    () => {
      const now = clock.monotonic()
      fresh.until = now + Math.min(REMEMBER_MAX_MS, Math.max(0, now - started - 2) * REMEMBER_FACTOR)
    },
    () => counts.delete(tenantId),
  )
  return fresh.count
}

async function count(db: Db, tenantId: string | null): Promise<number> {
  // By account key, which leads the indexes; a tenant has few accounts.
  const mine = tenantId === null ? '' : 'and account_key in (select a.key from accounts a where a.tenant_id = $1)'
  const [row] = await db.read({
    sql: `select (select count(*) from messages where stage = 1 ${mine})
      + (select count(*) from messages where stage = 2 ${mine})
      + (select count(*) from messages where stage = 3 ${mine}) as n`,
    params: tenantId === null ? [] : [tenantId],
  })
  return Number(row!.n)
}
