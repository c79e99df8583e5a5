/**
 * The system's clock, running, that a test can also move forward: whoever sleeps past the new time wakes at once. For
 * whole services over real sockets, where a clock that stands still would hold up what is under way. Its wall clock can
 * be set, too.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../src/lib/clock.js'

export interface MovingClock extends Clock {
  /** Moves both times forward by `ms`, in steps between which the service gets `breatheMs` of real time. */
  move(ms: number, options?: { readonly stepMs?: number; readonly breatheMs?: number }): Promise<void>
  /** Moves the wall clock alone, either way, as somebody who sets it does. */
  jump(ms: number): void
}

/** `start`: what now() says first, epoch ms; default: the true time. */
export function createMovingClock(start = Date.now()): MovingClock {
  const origin = performance.now()
  let moved = 0
  let wallOffset = start - origin
  const asleep = new Set<{ readonly until: number; wake(): void }>()
  const monotonic = () => performance.now() + moved

  return {
    now: () => Math.floor(wallOffset + monotonic()),
    monotonic,
    sleep(ms, signal) {
      return new Promise(resolve => {
        if (signal?.aborted) return resolve()
        const sleeper = {
          until: monotonic() + ms,
          wake() {
            clearTimeout(timer)
            asleep.delete(sleeper)
            signal?.removeEventListener('abort', sleeper.wake)
            resolve()
          },
        }
        const timer = setTimeout(sleeper.wake, Math.min(Math.max(0, ms), 2 ** 31 - 1))
        asleep.add(sleeper)
        signal?.addEventListener('abort', sleeper.wake, { once: true })
      })
    },
    async move(ms, { stepMs = ms, breatheMs = 50 } = {}) {
      for (let left = ms; left > 0; left -= stepMs) {
        moved += Math.min(left, stepMs)
        for (const sleeper of [...asleep]) if (sleeper.until <= monotonic()) sleeper.wake()
        await pause(breatheMs)
      }
    },
    jump(ms) {
      wallOffset += ms
    },
  }
}
