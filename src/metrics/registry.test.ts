import { afterEach, expect, it, vi } from 'vitest'
import { type EventLoopMonitor, monitorEventLoop } from './registry.js'

let lag: EventLoopMonitor
afterEach(() => lag.stop())

function standStill(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

it('a loop that stood still right after a look is told by the next, and again by a look after that', async () => {
  lag = monitorEventLoop()
  lag.p99Seconds()
  standStill(500)
  await vi.waitFor(() => expect(lag.p99Seconds()).toBeGreaterThan(0.29))
  expect(lag.p99Seconds()).toBeGreaterThan(0.29)
})
