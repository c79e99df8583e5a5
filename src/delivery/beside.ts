/** Work that the loop of claims asks for now and then and that runs beside its steps, which would wait for it. */
import type { Clock } from '../lib/clock.js'

export interface Beside {
  /** Begins it when it is time. Throws what made it fail, so that the loop that makes the steps tells of it and pauses. */
  step(): void
  /** At the next step, also when it is under way, which may have passed what is there now. */
  soon(): void
}

/** It rests so many times as long as it took, and no longer than that: it may have waited for a lock. */
const REST = 20
const LONGEST_REST_MS = 10_000

/** `everyMs` from begin to begin at least. `again`: a step is wanted, for it was asked for meanwhile. */
export function createBeside(clock: Clock, everyMs: number, work: () => Promise<void>, again: () => void): Beside {
  let nextAt = Number.NEGATIVE_INFINITY
  let isUnderWay = false
  let failure: { readonly error: unknown } | null = null

  const run = async () => {
    const begun = clock.monotonic()
    isUnderWay = true
    nextAt = begun + everyMs
    try {
      await work()
      const rest = Math.min(LONGEST_REST_MS, REST * (clock.monotonic() - begun))
      if (nextAt === Number.NEGATIVE_INFINITY) again()
      else nextAt = Math.max(nextAt, begun + rest)
    } catch (error) {
      failure = { error }
      nextAt = Number.NEGATIVE_INFINITY
    } finally {
      isUnderWay = false
    }
  }

  return {
    step() {
      const failed = failure
      failure = null
      if (failed !== null) throw failed.error
      if (!isUnderWay && clock.monotonic() >= nextAt) void run()
    },
    soon() {
      nextAt = Number.NEGATIVE_INFINITY
    },
  }
}
