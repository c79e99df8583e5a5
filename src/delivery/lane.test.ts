import { describe, expect, it } from 'vitest'
import { anyOf } from '../lib/wake.js'
import type { ClaimedMessage } from '../queue/claim.js'
import { learn, newLane, spare, wanted, widthOf } from './lane.js'

const SLOW = 30_000
const message = {} as ClaimedMessage

const sendSince = (since: number) => ({ since, abort: new AbortController() })
const sends = (count: number) => Array.from({ length: count }, () => sendSince(0))

describe('the window of a lane', () => {
  it('starts with one connection', () => {
    expect(widthOf(newLane(1), 10, 0, SLOW)).toBe(1)
  })

  it('doubles with each good answer up to the account’s connections', () => {
    const lane = newLane(1)
    const widths = [1, 2, 3, 4, 5].map(() => {
      learn(lane, 50, true, 10, SLOW)
      return widthOf(lane, 10, 0, SLOW)
    })
    expect(widths).toEqual([2, 4, 8, 10, 10])
  })

  it('halves with each broken session and never closes', () => {
    const lane = newLane(1)
    for (let i = 0; i < 5; i += 1) learn(lane, 50, true, 10, SLOW)
    const widths = [1, 2, 3, 4, 5].map(() => {
      learn(lane, 50, false, 10, SLOW)
      return lane.window
    })
    expect(widths).toEqual([5, 2, 1, 1, 1])
  })

  it('follows when the account’s connections are reduced', () => {
    const lane = newLane(1)
    for (let i = 0; i < 5; i += 1) learn(lane, 50, true, 10, SLOW)
    expect(widthOf(lane, 3, 0, SLOW)).toBe(3)
  })

  it('a server slower than 30 s a message shrinks to one connection, and earns them back', () => {
    const lane = newLane(1)
    learn(lane, 60_000, true, 10, SLOW)
    expect(widthOf(lane, 10, 0, SLOW)).toBe(1)
    for (let i = 0; i < 3; i += 1) learn(lane, 100, true, 10, SLOW)
    // 60, 48, 38.4, 30.7 s: not yet.
    expect(lane.window).toBe(1)
    learn(lane, 100, true, 10, SLOW)
    learn(lane, 100, true, 10, SLOW)
    expect(lane.window).toBeGreaterThan(1)
  })

  it('opens by one for each second that an answer is waited for: one slow message does not hold up the account', () => {
    const lane = newLane(1)
    lane.sends.push(sendSince(1_000))
    expect([1_999, 2_000, 4_500, 60_000].map(now => widthOf(lane, 10, now, SLOW))).toEqual([1, 2, 4, 1])
    expect(widthOf(lane, 3, 20_000, SLOW)).toBe(3)
  })

  it('has one more for an immediate message, whatever was earned', () => {
    const lane = newLane(1)
    lane.sends.push(sendSince(0))
    lane.frontier.hear(anyOf(1))
    expect(widthOf(lane, 10, 10, SLOW)).toBe(2)
    lane.sends.push(...sends(9))
    expect(widthOf(lane, 10, 10, SLOW)).toBe(10)
    expect(widthOf(lane, 10, SLOW + 1, SLOW)).toBe(1)
  })

  it('goes on with what the account had shown', () => {
    expect(widthOf(newLane(1, { window: 8, pace: 5 }), 10, 0, SLOW)).toBe(8)
  })

  it('one send that has been running too long is enough', () => {
    const lane = newLane(1)
    for (let i = 0; i < 5; i += 1) learn(lane, 50, true, 10, SLOW)
    lane.sends.push(sendSince(1_000), sendSince(40_000))
    expect(widthOf(lane, 10, 1_000 + SLOW, SLOW)).toBe(10)
    expect(widthOf(lane, 10, 1_001 + SLOW, SLOW)).toBe(1)
    lane.sends.shift()
    expect(widthOf(lane, 10, 1_001 + SLOW, SLOW)).toBe(10)
  })
})

describe('how many to claim', () => {
  it('of an unknown server only what its connections take, nothing ahead', () => {
    expect(wanted(newLane(1), 2, 50)).toBe(2)
  })

  it('of a quick one a whole batch ahead, never more than the batch', () => {
    const lane = newLane(1)
    learn(lane, 5, true, 10, SLOW)
    expect(wanted(lane, 4, 50)).toBe(50)
    lane.sends.push(...sends(4))
    expect(wanted(lane, 4, 50)).toBe(50)
  })

  it('of one that answers what it takes in a tenth of a second', () => {
    const lane = newLane(1)
    learn(lane, 5, true, 10, SLOW)
    lane.sends.push(...sends(4))
    expect(wanted(lane, 4, 200)).toBe(80)
    learn(lane, 105, true, 10, SLOW)
    expect(lane.pace).toBe(25)
    expect(wanted(lane, 4, 200)).toBe(16)
  })

  it('of a slow one only what its connections take', () => {
    const lane = newLane(1)
    learn(lane, 5_000, true, 10, SLOW)
    expect(wanted(lane, 4, 50)).toBe(8)
    lane.sends.push(...sends(4))
    expect(wanted(lane, 4, 50)).toBe(4)
  })

  it('nothing while half of it still waits, else what is missing', () => {
    const lane = newLane(1)
    learn(lane, 5, true, 10, SLOW)
    lane.sends.push(...sends(4))
    lane.buffer = new Array(26).fill(message)
    expect(wanted(lane, 4, 50)).toBe(0)
    lane.buffer = new Array(25).fill(message)
    expect(wanted(lane, 4, 50)).toBe(25)
  })

  it('a batch of one still keeps each connection busy', () => {
    const lane = newLane(1)
    expect(wanted(lane, 2, 1)).toBe(1)
    lane.buffer = [message]
    expect(wanted(lane, 2, 1)).toBe(1)
  })

  it('more in flight than the width (it just shrank) claims no more than ahead', () => {
    const lane = newLane(1)
    learn(lane, 60_000, true, 10, SLOW)
    lane.sends.push(...sends(10))
    expect(wanted(lane, 1, 50)).toBe(1)
  })

  it('of an account that has shown nothing goes by the pace of its server, over its one connection', () => {
    const lane = newLane(1)
    expect([0, 1_000, 200, 100, 5, 1].map(pace => wanted(lane, 1, 50, pace))).toEqual([1, 2, 6, 11, 21, 50])
    lane.pace = 100
    expect(wanted(lane, 1, 50, 1)).toBe(11)
  })

  it('a turn over one connection at once, but no more for each further one, and a review leaves it that', () => {
    const lane = newLane(1)
    learn(lane, 400, true, 10, SLOW)
    expect(wanted(lane, 1, 50)).toBe(4)
    expect(spare({ ...lane, window: 1 }, 50)).toBe(3)
    expect(wanted(lane, 8, 50)).toBe(16)
    expect(spare({ ...lane, window: 8 }, 50)).toBe(16)
  })
})
