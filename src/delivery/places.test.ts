import { describe, expect, it } from 'vitest'
import { createPlaces, type Place } from './places.js'

function rig(total = 20) {
  const time = { now: 0 }
  const places = createPlaces(total, 1_000, () => time.now)
  const takeAll = (server: string, most: number, favoured = false): Place[] => {
    const taken: Place[] = []
    for (let i = 0; i < most; i += 1) {
      const place = places.take(server, favoured)
      if (place !== null) taken.push(place)
    }
    return taken
  }
  const makeGood = (server: string) => places.take(server, true)!.give(true)
  return { places, time, takeAll, makeGood }
}

describe('places', () => {
  it('a server not heard of yet gets half of them', () => {
    const { takeAll } = rig()
    expect(takeAll('new', 50)).toHaveLength(10)
  })

  it('a server that answers gets all but the kept fifth, and the fifth for who has nothing in flight', () => {
    const { takeAll, makeGood } = rig()
    makeGood('good')
    expect(takeAll('good', 50)).toHaveLength(16)
    expect(takeAll('good', 50, true)).toHaveLength(4)
  })

  it('know the pace of a server that answers, and of no other', () => {
    const { places, time, makeGood } = rig()
    const answer = (tookMs: number, good: boolean) => {
      const place = places.take('s', true)!
      place.asks()
      time.now += tookMs
      place.give(good)
    }
    expect(places.pace('s')).toBe(0)
    answer(100, true)
    expect(places.pace('s')).toBe(100)
    answer(200, true)
    expect(places.pace('s')).toBe(120)
    answer(5, false)
    expect(places.pace('s')).toBe(0)
    makeGood('other')
    expect(places.pace('s')).toBe(0)
  })

  it('many new servers together leave room for one that answers', () => {
    const { takeAll, makeGood, places } = rig()
    makeGood('good')
    for (let i = 0; i < 100; i += 1) takeAll(`silent${i}`, 1, true)
    expect(places.used).toBeLessThan(20)
    expect(places.take('good', true)).not.toBeNull()
  })

  it('a server whose session broke gets a quarter, and all such together half', () => {
    const { takeAll, places } = rig()
    for (const server of ['a', 'b', 'c', 'd']) places.take(server, true)!.give(false)
    expect(takeAll('a', 50)).toHaveLength(5)
    expect(takeAll('b', 50)).toHaveLength(5)
    expect(takeAll('c', 50)).toHaveLength(0)
  })

  it('a server that hangs turns bad by time alone and good again by answering', () => {
    const { places, time } = rig()
    const hanging = places.take('slow', true)!
    hanging.asks()
    expect(places.standing('slow')).toBe('new')
    time.now = 1_500
    expect(places.standing('slow')).toBe('bad')
    hanging.give(true)
    expect(places.standing('slow')).toBe('good')
  })

  it('one slow send beside answers does not make a server bad', () => {
    const { places, time } = rig()
    places.take('mixed', true)
    time.now = 900
    places.take('mixed', true)!.give(true)
    time.now = 1_500
    expect(places.standing('mixed')).toBe('good')
  })

  it('a long wait before the server is asked says nothing of it', () => {
    const { places, time } = rig()
    const place = places.take('server', true)!
    time.now = 5_000
    expect(places.standing('server')).toBe('new')
    place.asks()
    expect(places.standing('server')).toBe('new')
    time.now = 6_500
    expect(places.standing('server')).toBe('bad')
  })

  it('one that follows over the same connection and gets no answer hangs, from the answer to the one before', () => {
    const { places, time } = rig()
    const broken: number[] = []
    const first = places.take('server', true)!
    first.asks()
    time.now = 500
    first.passOn(() => broken.push(time.now) > 0).asks()
    expect([places.used, places.standing('server')]).toEqual([1, 'good'])
    time.now = 1_500
    expect([places.standing('server'), places.breakLongest(1_000)]).toEqual(['good', false])
    time.now = 1_501
    expect([places.standing('server'), places.breakLongest(1_000), broken]).toEqual(['bad', true, [1_501]])
  })

  it('what hangs at an attachment’s source is broken off though the server answers others', () => {
    const { places, time } = rig()
    const broken: string[] = []
    const hanging = (name: string) => () => broken.push(name) > 0
    places.take('server', true, hanging('at its source'))
    places.take('server', true, hanging('at the server'))!.asks()
    time.now = 500
    places.take('server', true)!.give(true)
    time.now = 1_500
    expect(places.breakLongest(1_000)).toBe(true)
    expect(broken).toEqual(['at its source'])
  })

  it('a place given back twice counts once', () => {
    const { places } = rig()
    const place = places.take('a', true)!
    place.give(null)
    place.give(null)
    expect(places.used).toBe(0)
    expect(places.standing('a')).toBe('new')
  })
})
