import { describe, expect, it } from 'vitest'
import { createSlots } from './slots.js'

describe('slots', () => {
  it('a fifth is left for the favoured', () => {
    const slots = createSlots(10)
    const taken = Array.from({ length: 10 }, () => slots.take(false)).filter(Boolean).length
    expect(taken).toBe(8)
    expect(slots.take(true)).toBe(true)
    expect(slots.take(true)).toBe(true)
    expect(slots.take(true)).toBe(false)
    expect(slots).toMatchObject({ free: 0, used: 10 })
  })

  it('what the favoured hold counts for the others', () => {
    const slots = createSlots(10)
    for (let i = 0; i < 9; i += 1) slots.take(true)
    expect(slots.take(false)).toBe(false)
    slots.give()
    slots.give()
    expect(slots.take(false)).toBe(true)
  })

  it.each([
    [1, 1],
    [2, 1],
    [4, 3],
    [200, 160],
  ])('of %i places %i are for all', (total, forAll) => {
    const slots = createSlots(total)
    let taken = 0
    while (slots.take(false)) taken += 1
    expect(taken).toBe(forAll)
  })

  it('a place given back is free again', () => {
    const slots = createSlots(1)
    expect(slots.take(true)).toBe(true)
    expect(slots.take(true)).toBe(false)
    slots.give()
    expect(slots).toMatchObject({ free: 1, used: 0 })
    expect(slots.take(false)).toBe(true)
  })
})
