import { describe, expect, it } from 'vitest'
import { createIdleConnections } from './idle-connections.js'
import type { Session } from './session.js'
import { type Pooled, Station } from './station.js'

/** Room for 200, and a clock; `add` answers how many had to leave. */
function rig() {
  let now = 0
  const idle = createIdleConnections(() => now, 200)
  const station = new Station()
  const made: Pooled[] = []
  const add = (count: number) => {
    let left = 0
    for (let i = 0; i < count; i++) {
      const pooled: Pooled = { session: {} as Session, shape: '', idleUntil: 0 }
      made.push(pooled)
      left += idle.add(pooled, station).length
    }
    return left
  }
  const pass = (ms: number) => {
    now += ms
  }
  return { idle, station, made, add, pass }
}

describe('createIdleConnections', () => {
  it('lets the longest idle go for those that come', () => {
    const { idle, station, made, add } = rig()
    expect(add(200)).toBe(0)
    const newcomer: Pooled = { session: {} as Session, shape: '', idleUntil: 0 }
    expect(idle.add(newcomer, station)).toEqual([
      [made[0], station],
      [made[1], station],
    ])
    expect(idle.size).toBe(199)
  })

  it('keeps a hundred while none of them is used again', () => {
    const { idle, add } = rig()
    add(1_000)
    expect(idle.size).toBe(100)
    expect(add(10)).toBe(10)
  })

  it('has more room again as they are used', () => {
    const { idle, made, add } = rig()
    add(1_000)
    for (const pooled of made.slice(-50)) idle.take(pooled)
    expect(add(100)).toBe(0)
    expect(idle.size).toBe(150)
    add(1)
    expect(idle.size).toBe(149)
  })

  it('counts one that ends by itself neither way', () => {
    const { idle, made, add } = rig()
    add(1_000)
    for (const pooled of made.slice(-50)) idle.delete(pooled)
    expect(add(50)).toBe(0)
    expect(add(1)).toBe(1)
  })

  it('tries each minute whether more would be used', () => {
    const { idle, add, pass } = rig()
    add(1_000)
    pass(59_999)
    expect(add(1)).toBe(1)
    pass(1)
    expect(add(100)).toBe(0)
    expect(idle.size).toBe(200)
  })
})
