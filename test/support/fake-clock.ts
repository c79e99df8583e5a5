/**
 * A Clock that stands still until a test advances it. Sleeps end in the order of their time, and what waits for one
 * runs before the next ends.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../src/lib/clock.js'

export interface FakeClock extends Clock {
  /** Moves the time by `ms`, waking every sleeper that falls due on the way. */
  advance(ms: number): Promise<void>
  /** Moves the wall clock alone, as a correction by NTP does. */
  jump(ms: number): void
  /** How many are asleep. */
  sleepers(): number
}

interface Sleeper {
  readonly at: number
  wake(): void
}

/** `start` in epoch ms; the default is a Tuesday, 2026-06-30T10:00:00Z. */
export function createFakeClock(start = Date.UTC(2026, 5, 30, 10)): FakeClock {
  let elapsed = 0
  let wallOffset = start
  const asleep = new Set<Sleeper>()

  function next(until: number): Sleeper | undefined {
    let first: Sleeper | undefined
    for (const sleeper of asleep)
      if (sleeper.at <= until && (first === undefined || sleeper.at < first.at)) first = sleeper
    return first
  }

  return {
    now: () => wallOffset + elapsed,
    monotonic: () => elapsed,
    sleep(ms, signal) {
      return new Promise(resolve => {
        if (signal?.aborted) return resolve()
        const sleeper: Sleeper = {
          at: elapsed + Math.max(0, ms),
          wake() {
            asleep.delete(sleeper)
            signal?.removeEventListener('abort', sleeper.wake)
            resolve()
          },
        }
        asleep.add(sleeper)
        signal?.addEventListener('abort', sleeper.wake, { once: true })
      })
    },
    async advance(ms) {
      const until = elapsed + ms
      for (let sleeper = next(until); sleeper !== undefined; sleeper = next(until)) {
        elapsed = Math.max(elapsed, sleeper.at)
        sleeper.wake()
        await turn()
      }
      elapsed = until
      await turn()
    },
    jump(ms) {
      wallOffset += ms
    },
    sleepers: () => asleep.size,
  }
}
