/**
 * Requests a minute by token (spec: 429 too many requests). A bucket a caller that refills steadily: a client may spend
 * its minute at once and then goes on at the average rate. Counted in this process only; it protects the process.
 */
import type { Clock } from '../lib/clock.js'
import { AppError } from '../lib/errors.js'
import type { Caller } from './caller.js'

const MAX_CALLERS = 20_000

export interface RequestLimit {
  /** Counts one request. Throws 429 with the seconds to wait. */
  take(caller: Caller): void
}

/** `perMinute` 0: no limit. */
export function createRequestLimit(perMinute: number, clock: Pick<Clock, 'monotonic'>): RequestLimit {
  const buckets = new Map<string, { left: number; at: number }>()
  const perMs = perMinute / 60_000
  return {
    take(caller) {
      if (perMinute <= 0) return
      const key = caller.kind === 'admin' ? '' : caller.tenantId
      const now = clock.monotonic()
      const bucket = buckets.get(key)
      const left = bucket === undefined ? perMinute : Math.min(perMinute, bucket.left + (now - bucket.at) * perMs)
      if (left < 1) {
        throw new AppError('too_many_requests', `More than ${perMinute} requests a minute`, {
          retryAfterSeconds: Math.max(1, (1 - left) / perMs / 1000),
        })
      }
      // Forgetting the fullest buckets would need a scan; a cleared map only gives everyone a fresh minute.
      if (bucket === undefined && buckets.size >= MAX_CALLERS) buckets.clear()
      buckets.set(key, { left: left - 1, at: now })
    },
  }
}
