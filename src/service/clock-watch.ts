/**
 * A clock that notices when the wall clock was set (by NTP, by hand, by a virtual machine that was asleep). What waits
 * in memory for an instant of before would otherwise wait for the difference too: set back an hour, silent an hour.
 */
import type { Clock } from '../lib/clock.js'

export interface WatchedClock extends Clock {
  /** `heard` is called soon after the clock was set, with by how much in ms; positive is ahead. */
  onSet(heard: (byMs: number) => void): void
}

/** Slewing and the rounding of timers stay far below this. */
const JUMP_MS = 2_000

/** What is asked many times a millisecond is looked at once in so long, unless it went back, ms. */
const LOOK_MS = 500

/** Looks when somebody asks the time, which the loops do many times a second. */
export function watchClock(clock: Clock): WatchedClock {
  let heard: (byMs: number) => void = () => {}
  let last = clock.now()
  let lookAt = last
  let offset = last - clock.monotonic()
  return {
    now() {
      const now = clock.now()
      const isSteady = now >= last && now < lookAt
      last = now
      if (isSteady) return now
      lookAt = now + LOOK_MS
      const byMs = now - clock.monotonic() - offset
      // Small steps are followed, or slewing would add up to a jump.
      offset += byMs
      // Not within the asker's own turn: it is about to note the new time in what is put right here.
      if (Math.abs(byMs) >= JUMP_MS) setImmediate(heard, byMs)
      return now
    },
    monotonic: () => clock.monotonic(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
    onSet(listener) {
      heard = listener
    },
  }
}
