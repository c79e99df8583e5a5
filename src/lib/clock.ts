/** The Clock port: the only place the service reads time or waits. Tests put a clock they advance in its place. */
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
  // Not that of node:timers/promises: it rejects when aborted, and to make that error costs 20 µs.
  sleep: (ms, signal) =>
    new Promise(resolve => {
      if (signal?.aborted) return resolve()
      const end = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, Math.min(ms, LONGEST_MS))
      signal?.addEventListener('abort', end)
    }),
}

/** What a timer of Node can wait. */
const LONGEST_MS = 2 ** 31 - 1
