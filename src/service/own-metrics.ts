/** The metrics of this service: where each gauge is read, and counters for accounts that other instances made. */
import { pausedAccounts } from '../accounts/pause.js'
import type { Config } from '../config.js'
import { heldAccounts } from '../delivery/held-accounts.js'
import type { Loop } from '../lib/loop.js'
import { VERSION } from '../lib/version.js'
import { createMetrics, type Metrics } from '../metrics/metrics.js'
import { readQueueState } from '../queue/state.js'
import { owedReports } from '../reports/outbox.js'
import type { Ground } from './ground.js'

/** What exists only once the loops do. */
export interface Live {
  sends(): { readonly inFlight: number; readonly buffered: number }
  loops(): readonly Loop[]
}

/** A scrape names no more paused accounts than this; it counts them all. */
const MOST_PAUSED_NAMED = 1_000

export function createServiceMetrics(config: Config, ground: Ground, live: Live): Metrics {
  const { db, clock, settings, steadyNow, transport, attachments, disk, startedAt } = ground
  const metrics = createMetrics({
    clock,
    queue: () => readQueueState(db, clock.now()),
    held: due => heldAccounts({ db, settings }, due, { now: clock.now(), steadyNow: steadyNow() }),
    paused: () => pausedAccounts(db, MOST_PAUSED_NAMED),
    reports: () => owedReports(db),
    sends: () => ({ ...live.sends(), most: config.queue.maxConcurrentSends }),
    connections: () => transport.stats(),
    cache: () => attachments.cache.stats(),
    loops: () =>
      live
        .loops()
        .filter(each => each.isRunning)
        .map(each => each.progress()),
    diskFreeBytes: () => disk.freeBytes(),
    diskReserveBytes: config.queue.minFreeMb * 1024 * 1024,
    schedulerActive: () => settings.schedulerActive,
    releaseNeeded: () => settings.releaseNeeded !== null,
    startedAt,
    version: VERSION,
  })
  let lastAccountKey = 0
  /** Counters of accounts made since the last scrape appear, from 0, whichever instance made them. */
  const text = async () => {
    const rows = await db
      .read({ sql: 'select key, tenant_id, id from accounts where key > $1 order by key', params: [lastAccountKey] })
      .catch(() => [])
    for (const row of rows) {
      metrics.account(row.tenant_id as string, row.id as string)
      lastAccountKey = Number(row.key)
    }
    return metrics.text()
  }
  return { ...metrics, text }
}
