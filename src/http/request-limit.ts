/**
 * Requests a minute by token or address (spec: 429 too many requests). A bucket each that refills steadily: a client may
 * spend its minute at once and then goes on at the average rate. Counted in this process only; it protects the process.
 */
import type { Clock } from '../lib/clock.js'
import { AppError } from '../lib/errors.js'

const MAX_CALLERS = 20_000

export interface RequestLimit {
  /** Counts one request of whoever `key` stands for. Throws 429 with the seconds to wait. */
  take(key: string): void
}

/** `perMinute` 0: no limit. */
export function createRequestLimit(perMinute: number, clock: Pick<Clock, 'monotonic'>): RequestLimit {
  const buckets = new Map<string, { left: number; at: number }>()
  const perMs = perMinute / 60_000
  return {
    take(key) {
      if (perMinute <= 0) return
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
