/**
 * The poll for ready messages that nobody hinted at. Beside the claims: with ten thousand accounts it takes tens of ms, and
 * beside a long snapshot of PostgreSQL it reads what is no more.
 */
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import { type Found, readyAccounts } from '../queue/discover.js'
import { type Beside, createBeside } from './beside.js'

const CHUNK = 2_000

/** A scan of all accounts every so often. `found` wakes who makes the steps; its list may be empty. */
export function createDiscovery(
  db: Db,
  clock: Clock,
  everyMs: number,
  found: (ready: readonly Found[]) => void,
): Beside {
  const scan = async () => {
    let after = 0
    for (;;) {
      const ready = await readyAccounts(db, after, CHUNK)
      if (ready.length > 0) found(ready)
      if (ready.length < CHUNK) return
      after = ready.at(-1)!.accountKey
    }
  }
  return createBeside(clock, everyMs, scan, () => found([]))
}
