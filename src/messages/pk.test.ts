import { expect, it } from 'vitest'
import { pkOf } from './pk.js'

it('a pk has 22 characters and is the same each time', () => {
  expect(pkOf(1_800_000_000_000, 7)).toMatch(/^Z[0-9A-Za-z]{21}$/)
  expect(pkOf(1_800_000_000_000, 7)).toBe(pkOf(1_800_000_000_000, 7))
})

it('pks sort by time, then by number', () => {
  const pks = [
    pkOf(1, 999),
    pkOf(2, 1),
    pkOf(2, 2),
    pkOf(1_800_000_000_000, 1),
    pkOf(1_800_000_000_000, Number.MAX_SAFE_INTEGER),
  ]
  expect([...pks].sort()).toEqual(pks)
  expect(new Set(pks).size).toBe(pks.length)
})
