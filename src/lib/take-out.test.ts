import { expect, it } from 'vitest'
import { takeOut } from './take-out.js'

it('takes out one and leaves the others in their order', () => {
  const [a, b, c] = [{ n: 1 }, { n: 2 }, { n: 3 }]
  const list = [a, b, c]
  expect(takeOut(list, b)).toBe(true)
  expect(list).toEqual([a, c])
})

it('says so when it does not stand there, and takes nothing', () => {
  const list = [{ n: 1 }]
  expect(takeOut(list, { n: 1 })).toBe(false)
  expect(list).toHaveLength(1)
})
