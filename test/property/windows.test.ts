/**
 * The sliding windows against a naive model: the server's own list of timestamps. `Ring` does in memory what
 * limits/store.ts does in SQL, with the same arithmetic.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Bucket,
  bucketAt,
  bucketWidth,
  freedAt,
  projectSlots,
  RING,
  SPANS,
  type Span,
} from '../../src/limits/windows.js'

class Ring {
  private readonly places = new Map<number, { bucket: number; used: number }>()
  inFlight = 0

  constructor(
    readonly limit: number,
    readonly span: Span,
  ) {}

  buckets(): Bucket[] {
    return [...this.places.values()]
  }

  free(now: number): number {
    const counted = this.buckets().filter(each => freedAt(this.span, each.bucket) > now)
    return this.limit - this.inFlight - counted.reduce((sum, each) => sum + each.used, 0)
  }

  reserve(now: number): boolean {
    if (this.free(now) <= 0) return false
    this.inFlight += 1
    return true
  }

  settle(now: number): void {
    this.inFlight -= 1
    const bucket = bucketAt(this.span, now)
    const place = this.places.get(bucket % RING)
    if (place?.bucket === bucket) place.used += 1
    else this.places.set(bucket % RING, { bucket, used: 1 })
  }
}

const span = fc.constantFrom(...SPANS)
const start = fc.integer({ min: 0, max: 86_400_000 }).map(ms => 1_780_000_000_000 + ms)
/** A move in time, as a share of the window: mostly small, sometimes many windows. */
const move = fc.oneof(
  fc.double({ min: 0, max: 0.05, noNaN: true }),
  fc.double({ min: 0, max: 1.2, noNaN: true }),
  fc.constantFrom(0, 1, 1.01, 1.28, 3),
)
const action = fc.record({
  move,
  reserve: fc.nat(6),
  /** Which of those in flight settle now, and where between reservation and settlement the server saw each. */
  settle: fc.array(fc.record({ which: fc.nat(20), seen: fc.double({ min: 0, max: 1, noNaN: true }) }), {
    maxLength: 6,
  }),
})

describe('the windows', () => {
  it('no window of the span on the server’s side ever holds more than the limit, however slow the sends', () => {
    fc.assert(
      fc.property(
        span,
        start,
        fc.integer({ min: 1, max: 12 }),
        fc.array(action, { maxLength: 120 }),
        (over, from, limit, actions) => {
          const ring = new Ring(limit, over)
          const open: number[] = []
          const seen: number[] = []
          let now = from
          for (const step of actions) {
            now += Math.round(step.move * over)
            for (let i = 0; i < step.reserve; i += 1) if (ring.reserve(now)) open.push(now)
            for (const { which, seen: share } of step.settle) {
              if (open.length === 0) break
              const [reserved] = open.splice(which % open.length, 1)
              seen.push(reserved! + share * (now - reserved!))
              ring.settle(now)
            }
          }
          // Those still in flight may be seen at any time from their reservation on.
          seen.push(...open)
          seen.sort((a, b) => a - b)
          for (let i = limit; i < seen.length; i += 1) expect(seen[i]! - seen[i - limit]!).toBeGreaterThan(over)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('a backlog of quick sends uses at least 95 % of the limit', () => {
    fc.assert(
      fc.property(
        span,
        start,
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 50 }),
        (over, from, limit, takesMs) => {
          const ring = new Ring(limit, over)
          const windows = 12
          let now = from
          let sent = 0
          while (now < from + windows * over) {
            const free = ring.free(now)
            for (let i = 0; i < free; i += 1) ring.reserve(now)
            now += takesMs
            for (let i = 0; i < free; i += 1) ring.settle(now)
            sent += free
            const counted = ring.buckets().filter(each => freedAt(over, each.bucket) > now)
            now = Math.max(now, Math.min(...counted.map(each => freedAt(over, each.bucket))))
          }
          expect(sent).toBeGreaterThanOrEqual(0.95 * windows * limit)
        },
      ),
      { numRuns: 200 },
    )
  })

  it('projected turns ascend, and who comes at his turn is let in', () => {
    fc.assert(
      fc.property(
        span,
        start,
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.record({ ago: fc.integer({ min: 0, max: 101 }), used: fc.integer({ min: 1, max: 8 }) }), {
          maxLength: 20,
        }),
        fc.nat(8),
        fc.integer({ min: 1, max: 60 }),
        (over, now, limit, used, inFlight, count) => {
          const ring = new Ring(limit, over)
          for (const each of [...used].sort((a, b) => b.ago - a.ago)) {
            for (let i = 0; i < each.used; i += 1) ring.settle(now - each.ago * bucketWidth(over))
          }
          ring.inFlight = inFlight
          const turns = projectSlots(limit, over, ring.buckets(), inFlight, now, count)
          expect(turns).toHaveLength(count)
          expect([...turns].sort((a, b) => a - b)).toEqual(turns)
          // Without anything in flight the first turn is exact: a moment earlier there is no place.
          if (inFlight === 0 && turns[0]! > now) expect(ring.free(turns[0]! - 1)).toBeLessThanOrEqual(0)
          if (turns[0]! > now) expect(ring.free(now)).toBeLessThanOrEqual(0)
          for (let i = 0; i < inFlight; i += 1) ring.settle(now)
          for (const turn of turns) {
            expect(ring.reserve(turn)).toBe(true)
            ring.settle(turn)
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})
