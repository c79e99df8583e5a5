/** prom-client as the service uses it, and the measure of the event loop that prom-client's own does not give alone. */
import { createHistogram } from 'node:perf_hooks'
import prom, { type Gauge as GaugeOf } from 'prom-client'

export const { Counter, Gauge, Registry } = prom
export type { GaugeOf }

export interface EventLoopMonitor {
  /** How late timers were, 99th percentile since the last call; the same again while none has been since. */
  p99Seconds(): number
  stop(): void
}

/** Each sample wakes an idle process. */
const SAMPLE_MS = 200

/**
 * By a timer of its own: Node's monitorEventLoopDelay records nothing of the first interval after its reset, so a process
 * that stood still for a minute right after a scrape said 0, as one scraped twice within 0.4 s did.
 */
export function monitorEventLoop(): EventLoopMonitor {
  const lateness = createHistogram()
  let sampledAt = performance.now()
  let last = 0
  const timer = setInterval(() => {
    const now = performance.now()
    // Nanoseconds; a histogram takes none below 1.
    lateness.record(Math.max(1, Math.round((now - sampledAt - SAMPLE_MS) * 1e6)))
    sampledAt = now
  }, SAMPLE_MS).unref()
  return {
    p99Seconds() {
      if (lateness.count > 0) {
        last = lateness.percentile(99) / 1e9
        lateness.reset()
      }
      return last
    },
    stop: () => clearInterval(timer),
  }
}
