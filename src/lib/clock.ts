/** The Clock port: the only place the service reads time or waits. Tests put a clock they advance in its place. */
import { setTimeout as delay } from 'node:timers/promises'

export interface Clock {
  /** Wall-clock time, epoch milliseconds. May jump; never used to measure a duration. */
  now(): number
  /** Milliseconds that only ever grow; the origin means nothing. For leases, timeouts and durations. */
  monotonic(): number
  /** Resolves after `ms`, or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  async sleep(ms, signal) {
    try {
      await delay(Math.min(ms, 2 ** 31 - 1), undefined, { signal })
    } catch {
      // An aborted wait is a wait that ended: the caller looks at its signal.
    }
  },
}
