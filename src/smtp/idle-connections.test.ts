import { describe, expect, it } from 'vitest'
import { createIdleConnections } from './idle-connections.js'
import type { Session } from './session.js'
import { type Pooled, Station } from './station.js'

/** Room for 300 at most; `add` keeps a connection of each of these accounts, and answers how many had to leave. */
function rig() {
  const idle = createIdleConnections(300)
  const station = new Station()
  const made: Pooled[] = []
  /** By account. */
  const kept = new Map<number, Pooled>()
  let accounts = 0
  const keep = (accountKey: number) => {
    const pooled: Pooled = { session: {} as Session, accountKey, shape: '', idleUntil: 0 }
    made.push(pooled)
    return idle.add(pooled, station)
  }
  const add = (count: number) => {
    let left = 0
    for (let i = 0; i < count; i++) left += keep(accounts++).length
    return left
  }
  /** So many accounts have their turns one after another, so often; answers how many found their connection. */
  const rotate = (accounts: number, rounds: number) => {
    let found = 0
    for (let turn = 0; turn < accounts * rounds; turn++) {
      const key = turn % accounts
      const pooled = kept.get(key)
      if (pooled === undefined) idle.miss(key)
      else {
        found += 1
        idle.take(pooled)
      }
      const leaving = keep(key)
      kept.set(key, made.at(-1)!)
      for (const [longest] of leaving) kept.delete(longest.accountKey)
    }
    return found
  }
  return { idle, station, made, keep, add, rotate }
}

describe('createIdleConnections', () => {
  it('lets the longest idle go for those that come', () => {
    const { idle, station, made, keep, add } = rig()
    expect(add(100)).toBe(0)
    expect(keep(100)).toEqual([
      [made[0], station],
      [made[1], station],
    ])
    expect(idle.size).toBe(99)
  })

  it('keeps fewer and fewer where none would be used', () => {
    const { idle, add, rotate } = rig()
    expect(add(150)).toBe(100)
    expect(idle.size).toBe(50)
    expect(idle.turnsAway(1)).toBe(false)
    expect(rotate(400, 10)).toBe(0)
    expect(idle.size).toBe(0)
    expect(idle.turnsAway(1)).toBe(true)
  })

  it('has room for those that would be used', () => {
    const { idle, rotate } = rig()
    expect(rotate(250, 1)).toBe(0)
    expect(rotate(250, 1)).toBe(0)
    expect(rotate(250, 1)).toBe(250)
    expect(rotate(250, 10)).toBe(2_500)
    expect(idle.size).toBe(250)
  })

  it('has more room as they are used, and less as they leave', () => {
    const { idle, made, add } = rig()
    add(100)
    for (const pooled of made.slice(-50)) idle.take(pooled)
    expect(add(100)).toBe(0)
    expect(idle.size).toBe(150)
    add(1)
    expect(idle.size).toBe(149)
  })

  it('has room again for an account whose connection it had none for', () => {
    const { idle, keep, add } = rig()
    add(400)
    expect(idle.turnsAway(7)).toBe(true)
    idle.miss(8)
    expect(idle.turnsAway(7)).toBe(true)
    idle.miss(7)
    expect(idle.turnsAway(7)).toBe(false)
    expect([keep(7), keep(9)]).toEqual([[], []])
    // None is to be kept at all.
    const none = createIdleConnections(0)
    expect(none.turnsAway(7)).toBe(true)
    none.miss(7)
    expect(none.turnsAway(7)).toBe(true)
  })

  it('counts one that ends by itself neither way', () => {
    const { idle, made, add } = rig()
    add(100)
    for (const pooled of made.slice(-50)) idle.delete(pooled)
    expect(add(50)).toBe(0)
    expect(add(1)).toBe(2)
  })
})
