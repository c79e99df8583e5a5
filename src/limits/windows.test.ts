import { describe, expect, it } from 'vitest'
import { BUCKETS, bucketAt, bucketWidth, freedAt, limitsOf, projectSlots, RING, SPANS } from './windows.js'

const minute = 60_000
const width = 600

describe('buckets', () => {
  it('cut every span into whole milliseconds, so that the integer division of SQL agrees', () => {
    for (const span of SPANS) expect(bucketWidth(span) % 1).toBe(0)
    expect(bucketWidth(minute)).toBe(width)
  })

  it('a transaction counts for at least the whole span after its settlement, wherever in its bucket that was', () => {
    for (const at of [0, 1, width - 1, width]) {
      const freed = freedAt(minute, bucketAt(minute, at))
      expect(freed).toBeGreaterThan(at + minute)
      expect(freed).toBeLessThanOrEqual(at + minute + width)
    }
  })

  it('a place of the ring is used again only when its bucket has long stopped counting', () => {
    for (const span of SPANS) {
      const bucket = 1_000_000
      expect(freedAt(span, bucket)).toBeLessThanOrEqual((bucket + RING) * bucketWidth(span))
    }
    expect(RING).toBeGreaterThan(BUCKETS + 2)
  })
})

describe('projectSlots', () => {
  const now = 10_000 * width

  it('an empty window takes `limit` at once and the next ones a window later', () => {
    expect(projectSlots(2, minute, [], 0, now, 5)).toEqual([
      now,
      now,
      now + minute + width,
      now + minute + width,
      now + 2 * (minute + width),
    ])
  })

  it('who waits gets the slots in the order in which they come free', () => {
    const buckets = [
      { bucket: 9_990, used: 1 },
      { bucket: 9_950, used: 1 },
    ]
    expect(projectSlots(2, minute, buckets, 0, now, 2)).toEqual([freedAt(minute, 9_950), freedAt(minute, 9_990)])
  })

  it('buckets that are past do not count', () => {
    expect(projectSlots(1, minute, [{ bucket: 9_000, used: 50 }], 0, now, 1)).toEqual([now])
    const edge = { bucket: 9_899, used: 1 }
    expect(freedAt(minute, edge.bucket)).toBe(now)
    expect(projectSlots(1, minute, [edge], 0, now, 1)).toEqual([now])
  })

  it('what is in flight holds its slot for a whole window more', () => {
    expect(projectSlots(3, minute, [], 2, now, 2)).toEqual([now, now + minute + width])
  })

  it('after the limit was lowered, the use beyond it has to drain first', () => {
    const buckets = [
      { bucket: 9_920, used: 3 },
      { bucket: 9_930, used: 2 },
    ]
    // Five used, two allowed: the fourth to come free opens the first place.
    expect(projectSlots(2, minute, buckets, 0, now, 2)).toEqual([freedAt(minute, 9_930), freedAt(minute, 9_930)])
  })

  it('a bucket with far more uses than anyone asks about costs no memory', () => {
    const turns = projectSlots(1, minute, [{ bucket: 9_999, used: 1e9 }], 0, now, 2)
    expect(turns[0]).toBe(freedAt(minute, 9_999))
  })

  it('without a limit there is nothing to project', () => {
    expect(projectSlots(0, minute, [], 0, now, 3)).toEqual([])
  })
})

describe('limitsOf', () => {
  const account = { key: 7, tenantId: 'acme', limitPerMinute: 10, limitPerHour: null, limitPerDay: 0 }

  it('null and 0 are no limit', () => {
    expect(limitsOf(account, { rateHourly: null, rateDaily: 0 })).toEqual([{ scope: 'a:7', span: 60_000, limit: 10 }])
    expect(limitsOf({ ...account, limitPerMinute: null }, null)).toEqual([])
  })

  it("the tenant's limits are shared by its accounts under one scope", () => {
    expect(limitsOf({ ...account, limitPerDay: 5 }, { rateHourly: 100, rateDaily: 1000 })).toEqual([
      { scope: 'a:7', span: 60_000, limit: 10 },
      { scope: 'a:7', span: 86_400_000, limit: 5 },
      { scope: 't:acme', span: 3_600_000, limit: 100 },
      { scope: 't:acme', span: 86_400_000, limit: 1000 },
    ])
  })
})
