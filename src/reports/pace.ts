/**
 * How fast a tenant's endpoint is tried again, and with how much (spec section 5): backoff, and the search by halves
 * for the one entry a client cannot digest. Pure.
 */

export const MAX_ENTRIES = 500

const FIRST_WAIT_MS = 5_000
const LONGEST_WAIT_MS = 300_000
const FAILURES_BEFORE_HALVING = 3

export interface Pace {
  readonly failures: number
  /** Entries a batch may hold while a poison entry is searched; null: MAX_ENTRIES. */
  readonly batchLimit: number | null
}

/** Entries among which the poison entry must be: the last `size` ones up to the event `lastId`. */
export interface Suspects {
  readonly lastId: number
  readonly size: number
}

/** A batch as posted; lastId null when it was empty. */
export interface Batch {
  readonly size: number
  readonly lastId: number | null
}

export interface AfterFailure extends Pace {
  readonly waitMs: number
  readonly suspects: Suspects | null
  /** The batch was down to this one entry: it is set aside so that those behind it go on. */
  readonly setAside: boolean
}

/** Milliseconds before the n-th repetition: 5 s doubling to 5 min, up to a fifth less so that tenants drift apart. */
export function backoffMs(failures: number, random: () => number): number {
  const full = Math.min(FIRST_WAIT_MS * 2 ** Math.min(Math.max(failures - 1, 0), 30), LONGEST_WAIT_MS)
  return Math.round(full * (1 - random() / 5))
}

export function afterFailure(pace: Pace, { size, lastId }: Batch, random: () => number): AfterFailure {
  const failures = pace.failures + 1
  const searching = pace.batchLimit !== null || failures >= FAILURES_BEFORE_HALVING
  if (lastId === null || !searching) {
    const waitMs = backoffMs(failures, random)
    return { failures, batchLimit: pace.batchLimit, waitMs, suspects: null, setAside: false }
  }
  if (size === 1) {
    return { failures, batchLimit: 1, waitMs: backoffMs(failures, random), suspects: null, setAside: true }
  }
  // Each half is another request, so the wait does not grow: a poison entry is found in minutes, not in an hour.
  const counted = Math.min(failures, FAILURES_BEFORE_HALVING)
  return {
    failures: counted,
    batchLimit: Math.ceil(size / 2),
    waitMs: backoffMs(counted, random),
    suspects: { lastId, size },
    setAside: false,
  }
}

/** What follows an acknowledged batch: half of the remaining suspects, or the full size when there are none. */
export function afterSuccess(
  suspects: Suspects | null,
  { size, lastId }: Batch,
): { readonly batchLimit: number | null; readonly suspects: Suspects | null } {
  if (suspects === null || lastId === null || lastId >= suspects.lastId || size >= suspects.size) {
    return { batchLimit: null, suspects: null }
  }
  const left = suspects.size - size
  return { batchLimit: Math.ceil(left / 2), suspects: { lastId: suspects.lastId, size: left } }
}
