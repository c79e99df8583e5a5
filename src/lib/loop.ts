/**
 * The only loop of the service: runs a step, then waits until the step's next time, a wake or the interval, whichever
 * comes first. A step that throws is logged once and tried again after a growing pause; it never ends the process.
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
  /** Monotonic ms since the last step that ended well; for diagnostics. */
  idleFor(): number
}

export interface LoopOptions {
  readonly name: string
  readonly clock: Clock
  readonly log: Log
  /** Longest wait between two steps: polling alone must be correct. */
  readonly intervalMs: number
  step(): Promise<Step>
}

const PAUSE_FIRST_MS = 200
const PAUSE_MAX_MS = 10_000

export function createLoop({ name, clock, log, intervalMs, step }: LoopOptions): Loop {
  let stopping = false
  let woken = false
  let rouse = new AbortController()
  let running: Promise<void> | null = null
  let lastGood = clock.monotonic()

  const run = async () => {
    let failures = 0
    while (!stopping) {
      woken = false
      rouse = new AbortController()
      let wait: number
      try {
        const { nextAt, again } = await step()
        if (failures > 0) log.info(`The ${name} loop goes on after ${failures} failed steps`)
        failures = 0
        lastGood = clock.monotonic()
        // One turn of the event loop between steps, whatever their number, keeps the rest of the process alive.
        wait = again ? 0 : nextAt === null ? intervalMs : Math.max(0, Math.min(intervalMs, nextAt - clock.now()))
      } catch (error) {
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
      if (woken || wait === 0) await new Promise(resolve => setImmediate(resolve))
      else await clock.sleep(wait, rouse.signal)
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
      rouse.abort()
    },
    async stop() {
      stopping = true
      stopSignal.abort()
      rouse.abort()
      await running
    },
    idleFor: () => clock.monotonic() - lastGood,
  }
}

/** The first, then ever rarer: an hour without a database must not fill the disk with one line. */
function isWorthSaying(failures: number): boolean {
  return failures <= 3 || failures % 30 === 0
}
