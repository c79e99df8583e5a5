/**
 * The only loop of the service: runs a step, then waits until the step's next time, a wake or the interval, whichever
 * comes first. Loops that nothing wakes run together, at ticks of the clock that all have in common. A step that throws
 * is logged once and tried again after a growing pause; it never ends the process.
 */
import type { Clock } from './clock.js'
import type { Log } from './log.js'

export interface Step {
  /** Epoch ms of the next thing to do; null: nothing known. */
  readonly nextAt: number | null
  /** There is more to do right now. */
  readonly again: boolean
}

export interface Loop {
  readonly name: string
  /** It was started and not stopped. */
  readonly isRunning: boolean
  start(): void
  /** Runs a step soon; a hint that may come at any time, also while a step runs. */
  wake(): void
  /** Resolves when the running step has ended. */
  stop(): Promise<void>
  progress(): LoopProgress
}

/** How a loop is getting on, for diagnostics; times in ms. */
export interface LoopProgress {
  readonly name: string
  /** Longest wait between two steps. */
  readonly intervalMs: number
  /** Steps that ended well. */
  readonly steps: number
  /** Since the last of them, or since the loop was made. */
  readonly idleMs: number
  /** How long the step under way has been running; null: none is. */
  readonly runningMs: number | null
  /** Failed steps in a row, and the words of the last. */
  readonly failures: number
  readonly lastError: string | null
}

export interface LoopOptions {
  readonly name: string
  readonly clock: Clock
  readonly log: Log
  /** Longest wait between two steps: polling alone must be correct. */
  readonly intervalMs: number
  step(): Promise<Step>
}

/** What an idle process costs is waking up and not what it does then: so its loops wake up together. */
const TICK_MS = 500
/** A timer may end a little before its time, and the tick it was for is over then. */
const EARLY_MS = 10
/** A reason is given, for without one an exception with its stack would be made. */
const REPLACED = 'replaced'
const PAUSE_FIRST_MS = 200
const PAUSE_MAX_MS = 10_000

export function createLoop({ name, clock, log, intervalMs, step }: LoopOptions): Loop {
  let stopping = false
  let woken = false
  let running: Promise<void> | null = null
  const alarm = createAlarm(clock)
  let lastGood = clock.monotonic()
  let steps = 0
  let begunAt: number | null = null
  let failures = 0
  let lastError: string | null = null

  const run = async () => {
    while (!stopping) {
      woken = false
      let wait: number
      try {
        begunAt = clock.monotonic()
        const { nextAt, again } = await step()
        begunAt = null
        steps += 1
        lastError = null
        if (failures > 0) log.info(`The ${name} loop goes on after ${failures} failed steps`)
        failures = 0
        lastGood = clock.monotonic()
        // One turn of the event loop between steps, whatever their number, keeps the rest of the process alive.
        const idleMs = untilTick(clock.monotonic(), intervalMs)
        wait = again ? 0 : nextAt === null ? idleMs : Math.max(0, Math.min(idleMs, nextAt - clock.now()))
      } catch (error) {
        begunAt = null
        lastError = (error as Error).message
        failures += 1
        wait = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** Math.min(failures - 1, 10))
        if (isWorthSaying(failures)) {
          log.error(
            `The ${name} loop failed (${failures} in a row), next try in ${wait} ms: ${(error as Error).message}`,
          )
        }
        // A wake must not turn a failing step into a busy loop.
        await clock.sleep(wait, stopSignal.signal)
        continue
      }
      if (stopping) break
      if (woken || wait === 0) {
        await new Promise(resolve => setImmediate(resolve))
        continue
      }
      await alarm.wait(wait)
    }
  }
  const stopSignal = new AbortController()

  return {
    name,
    get isRunning() {
      return running !== null && !stopping
    },
    start() {
      running ??= run()
    },
    wake() {
      woken = true
      alarm.ring()
    },
    async stop() {
      stopping = true
      stopSignal.abort()
      alarm.stop()
      await running
    },
    progress() {
      const now = clock.monotonic()
      const runningMs = begunAt === null ? null : now - begunAt
      return { name, intervalMs, steps, idleMs: now - lastGood, runningMs, failures, lastError }
    },
  }
}

/**
 * One waits at a time, until it rings. Under load nearly every wait is ended by a wake, and a timer with its signal is 10 µs:
 * so the timer stays, and once it goes off it is set to what is waited for by then.
 */
function createAlarm(clock: Clock) {
  let timer: AbortController | null = null
  /** When the timer goes off, and until when is waited; monotonic. */
  let offAt = Number.POSITIVE_INFINITY
  let until = 0
  /** Ends the wait under way; null: none is, and to ring costs nothing. */
  let end: (() => void) | null = null

  const ring = () => {
    end?.()
    end = null
  }

  const set = (ms: number) => {
    timer?.abort(REPLACED)
    const mine = new AbortController()
    const at = until
    timer = mine
    offAt = at
    void clock.sleep(ms, mine.signal).then(() => {
      if (timer !== mine) return
      timer = null
      offAt = Number.POSITIVE_INFINITY
      if (end !== null && until > at) set(until - clock.monotonic())
      else ring()
    })
  }

  return {
    wait(ms: number): Promise<void> {
      until = clock.monotonic() + ms
      return new Promise(resolve => {
        end = resolve
        if (until < offAt) set(ms)
      })
    },
    ring,
    stop() {
      timer?.abort(REPLACED)
      timer = null
      ring()
    },
  }
}

/** To the last tick within the interval; of a shorter interval its own multiples are the ticks. */
function untilTick(now: number, intervalMs: number): number {
  const tickMs = Math.min(TICK_MS, intervalMs)
  const restMs = tickMs - (now % tickMs)
  const spareMs = Math.floor(intervalMs / tickMs - 1) * tickMs
  return spareMs + (restMs < Math.min(EARLY_MS, tickMs / 2) ? restMs + tickMs : restMs)
}

/** The first, then ever rarer: an hour without a database must not fill the disk with one line. */
function isWorthSaying(failures: number): boolean {
  return failures <= 3 || failures % 30 === 0
}
