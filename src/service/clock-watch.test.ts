import { setImmediate as turn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import { watchClock } from './clock-watch.js'

function watch() {
  const inner = createFakeClock()
  const clock = watchClock(inner)
  const heard: number[] = []
  clock.onSet(byMs => heard.push(byMs))
  return { inner, clock, heard }
}

it('a clock that was set is told once, with direction and distance', async () => {
  const { inner, clock, heard } = watch()
  for (const byMs of [3_600_000, -7_200_000]) {
    inner.jump(byMs)
    clock.now()
    clock.now()
    await turn()
  }
  expect(heard).toEqual([3_600_000, -7_200_000])
})

it('time that passes is no jump, nor is slewing that adds up', async () => {
  const { inner, clock, heard } = watch()
  await inner.advance(86_400_000)
  for (let i = 0; i < 100; i += 1) {
    inner.jump(100)
    clock.now()
  }
  await turn()
  expect(heard).toEqual([])
})

it('it tells the time as it is', () => {
  const { inner, clock } = watch()
  inner.jump(5_000)
  expect(clock.now()).toBe(inner.now())
  expect(clock.monotonic()).toBe(inner.monotonic())
})
