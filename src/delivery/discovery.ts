/**
 * The poll for ready messages that nobody hinted at. Beside the claims, which would wait for it: with ten thousand accounts it
 * takes tens of ms, and beside a long snapshot of PostgreSQL it reads what is no more.
 */
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import { type Found, readyAccounts } from '../queue/discover.js'

export interface Discovery {
  /** Begins a scan of all accounts when it is time for one. */
  step(): void
  /** At the next step, also when a scan is under way, which may have passed what is ready now. */
  soon(): void
}

const CHUNK = 2_000
/** A scan rests so many times as long as it took, and no longer than that: it may have waited for a lock. */
const REST = 20
const LONGEST_REST_MS = 10_000

export function createDiscovery(
  db: Db,
  clock: Clock,
  everyMs: number,
  /** Wakes who makes the steps; the list may be empty. */
  found: (ready: readonly Found[]) => void,
): Discovery {
  let nextAt = Number.NEGATIVE_INFINITY
  let isScanning = false

  const scan = async () => {
    const begun = clock.monotonic()
    isScanning = true
    nextAt = begun + everyMs
    try {
      let after = 0
      for (;;) {
        const ready = await readyAccounts(db, after, CHUNK)
        if (ready.length > 0) found(ready)
        if (ready.length < CHUNK) break
        after = ready.at(-1)!.accountKey
      }
      const now = clock.monotonic()
      const rest = Math.min(LONGEST_REST_MS, REST * (now - begun))
      if (nextAt !== Number.NEGATIVE_INFINITY) nextAt = Math.max(nextAt, begun + rest)
      // It was asked for again meanwhile.
      else found([])
    } catch {
      // The loop that makes the steps tells that the database is away.
      nextAt = Number.NEGATIVE_INFINITY
    } finally {
      isScanning = false
    }
  }

  return {
    step() {
      if (!isScanning && clock.monotonic() >= nextAt) void scan()
    },
    soon() {
      nextAt = Number.NEGATIVE_INFINITY
    },
  }
}
