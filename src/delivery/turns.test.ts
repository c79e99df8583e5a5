import { describe, expect, it } from 'vitest'
import { createTurns } from './turns.js'

describe('turns', () => {
  it('come in the order of their times, however they were told', () => {
    const turns = createTurns<number>()
    const times = Array.from({ length: 500 }, (_, i) => (i * 7_919) % 503)
    for (const at of times) turns.add(at, at)
    const order: number[] = []
    for (let who = turns.take(1_000); who !== undefined; who = turns.take(1_000)) order.push(who)
    expect(order).toEqual([...times].sort((a, b) => a - b))
  })

  it('are not taken before their time', () => {
    const turns = createTurns<string>()
    turns.add('late', 20)
    turns.add('soon', 10)
    expect(turns.next).toBe(10)
    expect([turns.take(9), turns.take(10), turns.take(19)]).toEqual([undefined, 'soon', undefined])
    expect(turns.next).toBe(20)
  })

  it('of nobody is none', () => {
    const turns = createTurns<string>()
    expect([turns.next, turns.take(1)]).toEqual([null, undefined])
  })
})
