import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { hasShareNow, shareOfTurn } from './turn-share.js'

let now = 0
let turn = 0
let counting: NodeJS.Immediate
const count = () => {
  turn += 1
  counting = setImmediate(count)
}

beforeEach(() => {
  vi.spyOn(performance, 'now').mockImplementation(() => now)
  turn = 0
  counting = setImmediate(count)
})
afterEach(async () => {
  clearImmediate(counting)
  vi.restoreAllMocks()
  // Until the last share is over.
  await new Promise(resolve => setImmediate(resolve))
})

/** Answers the turn in which it was taken up. */
async function work(ms: number): Promise<number> {
  await shareOfTurn()
  // As a rule it goes on after promises that are fulfilled.
  await Promise.resolve()
  now += ms
  return turn
}

test('one that comes alone is taken up in the turn that brought it', async () => {
  expect(await work(1)).toBe(0)
})

test('a turn takes up work until its share is used up, and leaves the rest to the next ones, in its order', async () => {
  expect(await Promise.all([work(1), work(50), work(1), work(0.5), work(9), work(1)])).toEqual([0, 0, 1, 1, 1, 2])
})

test('what comes in a turn whose share is used up waits for the next', async () => {
  const first = await work(5)
  expect(first).toBe(0)
  expect(await Promise.all([work(1), work(1)])).toEqual([1, 1])
})

test('who works at once asks whether something is left, and what he does counts too', async () => {
  expect(hasShareNow()).toBe(true)
  now += 1
  expect(hasShareNow()).toBe(true)
  now += 1
  expect(hasShareNow()).toBe(false)
  expect(await work(1)).toBe(1)
  const taken = work(1)
  // One was told that it is his turn, and has not begun.
  expect(hasShareNow()).toBe(false)
  await taken
})
