/**
 * Notices that the wall clock was set (by NTP, by hand, by a virtual machine that was asleep). What waits in memory
 * for an instant of before would otherwise wait for the difference too: an hour set back is an hour of silence.
 */
import type { Clock } from '../lib/clock.js'
import type { Step } from '../lib/loop.js'

/** Slewing and the rounding of timers stay far below this. */
const JUMP_MS = 2_000

/** `wasSet`: by how much, ms; positive is ahead. Called again at the next step when it rejects. */
export function createClockWatch(clock: Clock, wasSet: (byMs: number) => Promise<void>): { step(): Promise<Step> } {
  let offset = clock.now() - clock.monotonic()
  return {
    async step() {
      const next = clock.now() - clock.monotonic()
      if (Math.abs(next - offset) >= JUMP_MS) await wasSet(next - offset)
      // Small steps are followed, or slewing would add up to a jump.
      offset = next
      return { nextAt: null, again: false }
    },
  }
}
