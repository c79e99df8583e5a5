import { describe, expect, it } from 'vitest'
import { anyOf } from '../lib/wake.js'
import { createLanes } from './lanes.js'

const inTurn = (lanes: ReturnType<typeof createLanes>) => [...lanes.inTurn()].map(lane => lane.key)
const hint = (lanes: ReturnType<typeof createLanes>, keys: readonly number[], priority: number) => {
  for (const key of keys) lanes.hint(anyOf(key, priority))
}

describe('the rotation of the lanes', () => {
  it('has immediate ones first, then whose turn was longest ago', () => {
    const lanes = createLanes()
    hint(lanes, [1, 2, 3], 3)
    hint(lanes, [4], 0)
    lanes.rotate(lanes.get(1))
    expect(inTurn(lanes)).toEqual([4, 2, 3, 1])
  })

  it('moves a lane forward when something immediate comes, and back when that is gone', () => {
    const lanes = createLanes()
    hint(lanes, [1, 2], 2)
    hint(lanes, [2], 0)
    expect(inTurn(lanes)).toEqual([2, 1])
    const { frontier } = lanes.get(2)
    frontier.claimed(frontier.span(0), null)
    lanes.call(lanes.get(2))
    expect(inTurn(lanes)).toEqual([1, 2])
  })

  it('ends although everyone goes to the back meanwhile', () => {
    const lanes = createLanes()
    hint(lanes, [1, 2, 3], 3)
    const seen: number[] = []
    for (const lane of lanes.inTurn()) {
      seen.push(lane.key)
      lanes.rotate(lane)
    }
    expect(seen).toEqual([1, 2, 3])
  })

  it('shows nobody who stands aside, until the time comes', () => {
    const lanes = createLanes()
    hint(lanes, [1, 2], 3)
    lanes.standAside(lanes.get(1), 100)
    expect([inTurn(lanes), lanes.nextTurn]).toEqual([[2], 100])
    lanes.callDue(99)
    expect(inTurn(lanes)).toEqual([2])
    lanes.callDue(100)
    expect([inTurn(lanes), lanes.nextTurn]).toEqual([[2, 1], null])
  })

  it('shows who stands aside when a hint comes', () => {
    const lanes = createLanes()
    hint(lanes, [1], 3)
    lanes.standAside(lanes.get(1), Number.POSITIVE_INFINITY)
    expect([inTurn(lanes), lanes.nextTurn]).toEqual([[], null])
    hint(lanes, [1], 2)
    expect(inTurn(lanes)).toEqual([1])
  })

  it('keeps one time for a lane that stands aside again and again, and the earlier of two', () => {
    const lanes = createLanes()
    hint(lanes, [1], 3)
    const lane = lanes.get(1)
    for (let i = 0; i < 3; i += 1) {
      lanes.standAside(lane, 200)
      lanes.call(lane)
    }
    lanes.standAside(lane, 100)
    lanes.callDue(150)
    expect([inTurn(lanes), lanes.nextTurn]).toEqual([[1], 200])
    lanes.callDue(200)
    expect(lanes.nextTurn).toBeNull()
  })

  it('does not bring back an account that was forgotten meanwhile', () => {
    const lanes = createLanes()
    hint(lanes, [1], 3)
    const lane = lanes.get(1)
    lanes.standAside(lane, 100)
    lane.frontier.clear()
    lanes.retire(lane)
    lanes.callDue(100)
    expect([inTurn(lanes), lanes.size]).toEqual([[], 0])
  })
})
