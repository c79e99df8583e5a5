import { describe, expect, it } from 'vitest'
import { createHolds } from './holds.js'
import { afterFailure, afterSuccess, type Batch, backoffMs, type Suspects } from './pace.js'

const noJitter = () => 0

describe('pace', () => {
  it('waits 5 s, doubling up to 5 min, up to a fifth less', () => {
    expect([1, 2, 3, 4, 7, 8, 1000].map(n => backoffMs(n, noJitter))).toEqual([
      5_000, 10_000, 20_000, 40_000, 300_000, 300_000, 300_000,
    ])
    expect(backoffMs(1, () => 0.999)).toBeGreaterThanOrEqual(4_000)
  })

  it('two failures repeat the batch, the third halves it', () => {
    const batch: Batch = { size: 500, lastId: 500 }
    const first = afterFailure({ failures: 0, batchLimit: null }, batch, noJitter)
    const second = afterFailure(first, batch, noJitter)
    const third = afterFailure(second, batch, noJitter)
    expect([first.batchLimit, second.batchLimit, third.batchLimit]).toEqual([null, null, 250])
    expect(third).toMatchObject({ failures: 3, waitMs: 20_000, setAside: false })
  })

  it.each([0, 1, 249, 250, 399, 499])('finds the poison entry at position %i in a dozen failures', poison => {
    let pace: { failures: number; batchLimit: number | null } = { failures: 0, batchLimit: null }
    let suspects: Suspects | null = null
    let first = 0
    for (let failures = 0; failures < 20; ) {
      const size = Math.min(pace.batchLimit ?? 500, 500 - first)
      const batch = { size, lastId: first + size }
      if (poison < first || poison >= first + size) {
        first += size
        const after = afterSuccess(suspects, batch)
        pace = { failures: 0, batchLimit: after.batchLimit }
        suspects = after.suspects
        continue
      }
      failures += 1
      const after = afterFailure(pace, batch, noJitter)
      pace = after
      suspects = after.suspects
      if (!after.setAside) continue
      expect(first).toBe(poison)
      expect(failures).toBeLessThanOrEqual(12)
      return
    }
    expect.fail('never isolated')
  })

  it('an empty sync that fails backs off and halves nothing', () => {
    const after = afterFailure({ failures: 7, batchLimit: null }, { size: 0, lastId: null }, noJitter)
    expect(after).toMatchObject({ failures: 8, batchLimit: null, setAside: false })
  })
})

describe('holds', () => {
  it('a refused message is left out until its time, one set aside until it went through alone', () => {
    const holds = createHolds(noJitter)
    holds.refuse(1, 0)
    holds.setAside(2, 0)
    expect(holds.excluded(4_999)).toEqual([1, 2])
    expect(holds.due(4_999)).toBeNull()
    expect(holds.excluded(5_000)).toEqual([2])
    expect(holds.due(5_000)).toBe(2)
    holds.setAside(2, 5_000)
    expect(holds.nextAt()).toBe(5_000)
    expect(holds.due(14_999)).toBeNull()
    holds.release([1, 2])
    expect(holds.size).toBe(0)
  })

  it('there is room for a thousand', () => {
    const holds = createHolds(noJitter)
    for (let seq = 0; seq < 1000; seq += 1) expect(holds.refuse(seq, 0)).toBe(true)
    expect(holds.refuse(1000, 0)).toBe(false)
    expect(holds.refuse(0, 0)).toBe(true)
  })

  it('a pardon frees those that failed alone but once', () => {
    const holds = createHolds(noJitter)
    holds.setAside(1, 0)
    holds.setAside(2, 0)
    holds.setAside(2, 5_000)
    holds.pardon()
    expect(holds.excluded(0)).toEqual([2])
  })
})
