import { describe, expect, it } from 'vitest'
import { createFrontier } from './frontier.js'

const at = (priority: number, seq: number) => ({ priority, seq, onward: false })
const from = (priority: number, seq = 0) => ({ priority, seq, onward: true })

const frontierOf = (...heard: { priority: number; seq: number; onward: boolean }[]) => {
  const frontier = createFrontier()
  for (const each of heard) frontier.hear(each)
  return frontier
}

describe('the frontier of a queue', () => {
  it('has nothing ready before it heard of something', () => {
    const frontier = frontierOf()
    expect([frontier.isEmpty, frontier.priority, frontier.hasNews]).toEqual([true, 3, false])
    frontier.hear(at(2, 7))
    expect([frontier.isEmpty, frontier.priority, frontier.hasNews]).toEqual([false, 2, true])
    frontier.clear()
    expect([frontier.isEmpty, frontier.priority, frontier.hasNews]).toEqual([true, 3, false])
  })

  it('starts a claim at the first it heard of, the most urgent priority first', () => {
    const frontier = frontierOf(at(2, 50), at(2, 40), at(2, 60), at(1, 70))
    expect(frontier.span(3)).toEqual({ from: { priority: 1, seq: 70 }, maxPriority: 1 })
  })

  it('reads on through priorities of which everything may be ready, and no further than it may', () => {
    expect(frontierOf(from(0)).span(3)).toEqual({ from: { priority: 0, seq: 0 }, maxPriority: 3 })
    expect(frontierOf(from(1, 30)).span(3)).toEqual({ from: { priority: 1, seq: 30 }, maxPriority: 3 })
    expect(frontierOf(from(0)).span(0)).toEqual({ from: { priority: 0, seq: 0 }, maxPriority: 0 })
    expect(frontierOf(at(0, 9), at(1, 8)).span(3)).toEqual({ from: { priority: 0, seq: 9 }, maxPriority: 0 })
  })

  it('moves to where a full claim ended; what is more urgent is done', () => {
    const frontier = frontierOf(from(0))
    frontier.claimed(frontier.span(3), { priority: 2, seq: 101 })
    expect(frontier.span(3)).toEqual({ from: { priority: 2, seq: 101 }, maxPriority: 3 })
  })

  it('goes on with the next priority when one is done, until there is none', () => {
    const frontier = frontierOf(at(1, 5), at(3, 6))
    frontier.claimed(frontier.span(3), null)
    expect(frontier.span(3)).toEqual({ from: { priority: 3, seq: 6 }, maxPriority: 3 })
    frontier.claimed(frontier.span(3), null)
    expect(frontier.isEmpty).toBe(true)
  })

  it('keeps what it heard while a claim was under way, before and behind where that ends', () => {
    const frontier = frontierOf(at(2, 10))
    const span = frontier.span(3)
    frontier.hear(at(2, 4))
    frontier.hear(at(1, 80))
    frontier.claimed(span, { priority: 2, seq: 60 })
    expect(frontier.span(3)).toEqual({ from: { priority: 1, seq: 80 }, maxPriority: 1 })
    frontier.claimed(frontier.span(1), null)
    expect(frontier.span(3)).toEqual({ from: { priority: 2, seq: 4 }, maxPriority: 2 })
    frontier.claimed(frontier.span(3), null)
    expect(frontier.isEmpty).toBe(true)
  })

  it('forgets what it heard before the claim, which saw it', () => {
    const frontier = frontierOf(at(2, 10))
    const span = frontier.span(3)
    frontier.claimed(span, { priority: 2, seq: 60 })
    expect(frontier.hasNews).toBe(false)
    expect(frontier.span(3).from).toEqual({ priority: 2, seq: 60 })
  })

  it('leaves the other priorities alone when only immediate ones were asked for', () => {
    const frontier = frontierOf(from(0))
    frontier.claimed(frontier.span(0), null)
    expect(frontier.span(3)).toEqual({ from: { priority: 1, seq: 0 }, maxPriority: 3 })
  })

  it('hears of a place before it, and starts there', () => {
    const frontier = frontierOf(from(0))
    frontier.claimed(frontier.span(3), { priority: 2, seq: 101 })
    frontier.hear(at(2, 30))
    expect(frontier.span(3).from).toEqual({ priority: 2, seq: 30 })
  })
})
