import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import type { Log } from './log.js'
import { createLoop, type Loop, type Step } from './loop.js'

const INTERVAL = 1_000
const IDLE: Step = { nextAt: null, again: false }
const BEGUN = Date.UTC(2026, 5, 30, 10)

let loop: Loop | undefined
afterEach(async () => {
  await loop?.stop()
})

function run(step: (n: number) => Promise<Step> | Step) {
  const clock = createFakeClock(BEGUN)
  const lines: string[] = []
  const line = (level: string) => (message: string) => void lines.push(`${level} ${message}`)
  const log: Log = { debug: line('DEBUG'), info: line('INFO'), warning: line('WARNING'), error: line('ERROR') }
  const seen: number[] = []
  const from = clock.monotonic()
  loop = createLoop({
    name: 'test',
    clock,
    log,
    intervalMs: INTERVAL,
    async step() {
      seen.push(clock.monotonic() - from)
      return step(seen.length)
    },
  })
  loop.start()
  return { clock, lines, seen, loop }
}

/** Lets what is ready run, until nothing moves any more. */
async function settle() {
  for (let i = 0; i < 10; i += 1) await turn()
}

describe('a loop', () => {
  it('runs at once and then at each interval', async () => {
    const { clock, seen } = run(() => IDLE)
    await settle()
    await clock.advance(2_500)
    await settle()
    expect(seen).toEqual([0, 1_000, 2_000])
  })

  it('waits for a tick that all loops have in common, no longer than the interval', async () => {
    const { clock, seen, loop } = run(() => IDLE)
    await settle()
    await clock.advance(730)
    loop.wake()
    await settle()
    await clock.advance(2_000)
    await settle()
    expect(seen).toEqual([0, 730, 1_500, 2_500])
  })

  it('a timer that ends a moment early does not make it run twice at a tick', async () => {
    const { clock, seen, loop } = run(() => IDLE)
    await settle()
    await clock.advance(995)
    loop.wake()
    await settle()
    await clock.advance(1_100)
    await settle()
    expect(seen).toEqual([0, 995, 2_000])
  })

  it('comes back when the step’s next thing is due, at the interval at the latest', async () => {
    const { clock, seen } = run(n => ({ nextAt: n === 1 ? BEGUN + 300 : BEGUN + 60_000, again: false }))
    await settle()
    await clock.advance(1_400)
    await settle()
    expect(seen).toEqual([0, 300, 1_000])
  })

  it('a next time that is past means now, and lets the event loop turn between', async () => {
    let turns = 0
    const { seen } = run(async n => {
      if (n === 1) setImmediate(() => (turns += 1))
      return n < 50 ? { nextAt: BEGUN - 5_000, again: false } : IDLE
    })
    await settle()
    for (let i = 0; i < 60; i += 1) await turn()
    expect(seen).toHaveLength(50)
    expect(turns).toBe(1)
  })

  it('goes on without a pause while there is more to do', async () => {
    const { seen } = run(n => ({ nextAt: null, again: n < 5 }))
    await settle()
    expect(seen).toEqual([0, 0, 0, 0, 0])
  })

  it('a jump of the wall clock makes it wait no longer than the interval', async () => {
    const { clock, seen } = run(() => ({ nextAt: BEGUN + 500, again: false }))
    clock.jump(-3_600_000)
    await settle()
    await clock.advance(1_100)
    await settle()
    expect(seen.slice(0, 2)).toEqual([0, 1_000])
  })

  it('a wait that a wake ends leaves its timer to the next', async () => {
    const { clock, seen, loop } = run(() => IDLE)
    await settle()
    let timers = 0
    const { sleep } = clock
    clock.sleep = (ms, signal) => {
      timers += 1
      return sleep(ms, signal)
    }
    for (let wakes = 0; wakes < 5; wakes += 1) {
      loop.wake()
      await settle()
    }
    expect(seen).toHaveLength(6)
    expect(timers).toBe(0)
    await clock.advance(1_000)
    await settle()
    expect(seen).toHaveLength(7)
    expect(timers).toBe(1)
    expect(clock.sleepers()).toBe(1)
  })

  it('a wake ends the wait', async () => {
    const { clock, seen, loop } = run(() => IDLE)
    await settle()
    await clock.advance(100)
    loop.wake()
    await settle()
    expect(seen).toEqual([0, 100])
    // And only this one: the next wait is to a tick again.
    await clock.advance(899)
    await settle()
    expect(seen).toHaveLength(2)
    await clock.advance(1)
    await settle()
    expect(seen).toEqual([0, 100, 1_000])
  })

  it('a wake while a step runs is not lost', async () => {
    let release = () => {}
    const gate = new Promise<void>(resolve => {
      release = resolve
    })
    const { seen, loop } = run(async n => {
      if (n === 1) await gate
      return IDLE
    })
    await settle()
    loop.wake()
    loop.wake()
    release()
    await settle()
    expect(seen).toEqual([0, 0])
  })

  it('starting twice runs one loop', async () => {
    const { clock, seen, loop } = run(() => IDLE)
    loop.start()
    await settle()
    await clock.advance(1_000)
    await settle()
    expect(seen).toEqual([0, 1_000])
  })
})

describe('a step that fails', () => {
  it('is tried again after a growing pause, up to ten seconds', async () => {
    const { clock, seen } = run(() => {
      throw new Error('database away')
    })
    await settle()
    await clock.advance(45_000)
    await settle()
    const pauses = seen.slice(1).map((at, i) => at - seen[i]!)
    expect(pauses).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000])
  })

  it('is not hurried by wakes', async () => {
    const { clock, seen, loop } = run(n => {
      if (n === 1) throw new Error('database away')
      return IDLE
    })
    await settle()
    for (let i = 0; i < 5; i += 1) {
      loop.wake()
      await settle()
    }
    expect(seen).toEqual([0])
    await clock.advance(200)
    await settle()
    expect(seen).toEqual([0, 200])
  })

  it('is told with its words the first times, then rarely; and once that it goes on', async () => {
    const { clock, lines, loop } = run(n => {
      if (n <= 40) throw new Error('database away')
      return IDLE
    })
    await settle()
    await clock.advance(600_000)
    await settle()
    expect(lines.filter(line => line.startsWith('ERROR'))).toHaveLength(4)
    expect(lines[0]).toBe('ERROR The test loop failed (1 in a row), next try in 200 ms: database away')
    expect(lines.filter(line => line.startsWith('INFO'))).toEqual(['INFO The test loop goes on after 40 failed steps'])
    expect(loop.progress().idleMs).toBeLessThanOrEqual(INTERVAL)
  })

  it('progress tells how long nothing went well', async () => {
    const { clock, loop } = run(n => {
      if (n > 1) throw new Error('database away')
      return IDLE
    })
    await settle()
    await clock.advance(30_000)
    expect(loop.progress().idleMs).toBe(30_000)
  })

  it('a step that throws without a promise is a failed step too', async () => {
    const { clock, seen } = run(() => {
      throw new Error('sync')
    })
    await settle()
    await clock.advance(200)
    await settle()
    expect(seen).toHaveLength(2)
  })
})

describe('stopping', () => {
  it('waits for the running step and starts no further one', async () => {
    let release = () => {}
    const gate = new Promise<void>(resolve => {
      release = resolve
    })
    const { seen, loop, clock } = run(async () => {
      await gate
      return { nextAt: null, again: true }
    })
    await settle()
    let stopped = false
    const stop = loop.stop().then(() => {
      stopped = true
    })
    await settle()
    expect(stopped).toBe(false)
    release()
    await stop
    expect(seen).toEqual([0])
    expect(clock.sleepers()).toBe(0)
  })

  it('ends a wait and a pause after a failure at once', async () => {
    const idle = run(() => IDLE)
    await settle()
    await idle.loop.stop()
    expect(idle.clock.sleepers()).toBe(0)
    const failing = run(() => {
      throw new Error('database away')
    })
    await settle()
    await failing.loop.stop()
    expect(failing.clock.sleepers()).toBe(0)
  })

  it('a loop never started stops at once, and a stopped one does not start', async () => {
    const clock = createFakeClock()
    let steps = 0
    const log: Log = { debug() {}, info() {}, warning() {}, error() {} }
    const never = createLoop({
      name: 'never',
      clock,
      log,
      intervalMs: 1,
      async step() {
        steps += 1
        return IDLE
      },
    })
    await never.stop()
    never.start()
    never.wake()
    await settle()
    expect(steps).toBe(0)
  })
})
