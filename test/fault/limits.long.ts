/**
 * A limit by the server's own clock, over minutes of real time: three instances whose clocks are hours apart, slow sends,
 * kills and restarts. In no window of a minute does the server see more than the limit; left in peace, it is used.
 */
import { afterEach, expect, it } from 'vitest'
import { idsOf, openWorld, pause, seeded, until, type World } from '../support/world.js'

const WINDOW_MS = 60_000
const LIMIT = 90
/** Long enough for the window to be filled, to slide and to be filled again. */
const FIRE_MS = 160_000
const HOUR_MS = 3_600_000

let world: World
afterEach(() => world.close())

/** When the server was told DATA, ms by its own clock. */
function watchData(slowEvery: number): number[] {
  const times: number[] = []
  world.sink.behave({
    data: () => {
      times.push(performance.now())
      return null
    },
    final: ({ n }) => (n % slowEvery === 0 ? { delayMs: 4_000 } : null),
  })
  return times
}

/** The most that fell into one window, wherever it begins. */
function fullestWindow(times: readonly number[]): number {
  let first = 0
  let most = 0
  for (const [i, at] of times.entries()) {
    while (at - times[first]! >= WINDOW_MS) first += 1
    most = Math.max(most, i - first + 1)
  }
  return most
}

/** A process whose clock is wrong by so much: all of its own timers and times go by it. */
const skewed = (ms: number) => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`const { now } = Date; Date.now = () => now() + ${ms}`)}`,
})

it('is kept by three instances whose clocks differ, with slow sends, kills and restarts', async () => {
  const random = seeded('limits')
  world = await openWorld('postgres')
  const times = watchData(7)
  const skews = [0, HOUR_MS, -HOUR_MS]
  const processes = await Promise.all(skews.map(skew => world.start(skewed(skew))))
  await world.account({ limit_per_minute: LIMIT })
  await world.submit(idsOf('m', LIMIT * 6), { to: () => processes[0]! })

  const end = performance.now() + FIRE_MS
  let kills = 0
  while (performance.now() < end) {
    await pause(3_000 + random() * 5_000)
    const which = Math.floor(random() * skews.length)
    processes[which]!.kill('SIGKILL')
    await processes[which]!.exited
    processes[which] = await world.start(skewed(skews[which]!))
    kills += 1
  }
  console.log(`${times.length} DATA, ${fullestWindow(times)} of ${LIMIT} in the fullest minute, ${kills} kills`)
  expect(fullestWindow(times)).toBeLessThanOrEqual(LIMIT)
  // The premises: more than one window was filled, and there was fire.
  expect(times.length).toBeGreaterThan(LIMIT * 1.5)
  expect(kills).toBeGreaterThan(10)
  const { problems } = await world.ledger.balance(world.databaseUrl)
  expect(Object.keys(problems).sort()).toEqual(['unfinished', 'withoutFinalReport'])
})

it.each(['sqlite', 'postgres'] as const)('is used to 95 percent by quick sends, on %s', async dialect => {
  world = await openWorld(dialect)
  const times = watchData(Number.POSITIVE_INFINITY)
  await world.start()
  await world.account({ limit_per_minute: LIMIT })
  await world.submit(idsOf('m', LIMIT * 3))
  await until('three windows full', () => times.length >= LIMIT * 3, WINDOW_MS * 3)
  const windows = (times[LIMIT * 3 - 1]! - times[0]!) / WINDOW_MS
  console.log(`${dialect}: three times ${LIMIT} within ${windows.toFixed(2)} windows`)
  expect(fullestWindow(times)).toBeLessThanOrEqual(LIMIT)
  // The first at the beginning of its window, the third likewise: two windows lie between them.
  expect(2 / windows).toBeGreaterThan(0.95)
})
