/** prom-client as the service uses it, and the measure of the event loop that prom-client's own does not give alone. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import prom, { type Gauge as GaugeOf } from 'prom-client'

export const { Counter, Gauge, Histogram, Registry } = prom
export type { GaugeOf }

export interface EventLoopMonitor {
  /** Delay beyond the sampling interval, 99th percentile since the last call. */
  p99Seconds(): number
  stop(): void
}

/** Each sample wakes an idle process. */
const RESOLUTION_MS = 200

export function monitorEventLoop(): EventLoopMonitor {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  histogram.enable()
  return {
    p99Seconds() {
      const delay = Math.max(0, histogram.percentile(99) / 1e9 - RESOLUTION_MS / 1000)
      histogram.reset()
      return delay
    },
    stop: () => histogram.disable(),
  }
}
