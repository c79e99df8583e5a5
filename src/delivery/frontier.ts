/**
 * How far the queue of an account is claimed, as far as this process knows. Claims start there: PostgreSQL keeps the index
 * entries of what was claimed for as long as some session may still see it, and one that starts at the first walks them all.
 * What hints tell of is never before it, for they name its place; the poll finds what nobody told of.
 */
import type { Ready } from '../lib/wake.js'
import type { Position } from '../queue/claim.js'

export interface Frontier {
  /** Nothing is believed ready. */
  readonly isEmpty: boolean
  /** The most urgent priority believed ready; 3 when none is. */
  readonly priority: number
  hear(ready: Omit<Ready, 'accountKey'>): void
  /** Something was heard since the last span. */
  readonly hasNews: boolean
  /**
   * What a claim of nothing less urgent than `upTo` should ask for: from the first that may be ready, all priorities that
   * can be read in one go. From then on what is heard is newer than the claim. Something at least as urgent as that must be believed ready.
   */
  span(upTo: number): Span
  /** What a claim of that span left: what may be ready from there on, or nothing (null). */
  claimed(span: Span, rest: Position | null): void
  /** Nothing is ready, whatever was heard. */
  clear(): void
}

export interface Span {
  readonly from: Position
  readonly maxPriority: number
}

const PRIORITIES = 4
const NOTHING = Number.POSITIVE_INFINITY

export function createFrontier(): Frontier {
  /** For each priority the first place that may be ready. */
  const first = new Array<number>(PRIORITIES).fill(NOTHING)
  /** The same of what was heard since the last span. */
  const heard = new Array<number>(PRIORITIES).fill(NOTHING)

  const mostUrgent = () => first.findIndex(seq => seq !== NOTHING)

  return {
    get isEmpty() {
      return mostUrgent() === -1
    },
    get priority() {
      const found = mostUrgent()
      return found === -1 ? PRIORITIES - 1 : found
    },
    hear({ priority, seq, onward }) {
      for (let at = priority; at < (onward ? PRIORITIES : priority + 1); at += 1) {
        const place = at === priority ? seq : 0
        first[at] = Math.min(first[at]!, place)
        heard[at] = Math.min(heard[at]!, place)
      }
    },
    get hasNews() {
      return heard.some(seq => seq !== NOTHING)
    },
    span(upTo) {
      heard.fill(NOTHING)
      const priority = mostUrgent()
      let maxPriority = priority
      // A priority that is known up to some place has to be read from there.
      while (maxPriority < upTo && first[maxPriority + 1] === 0) maxPriority += 1
      return { from: { priority, seq: first[priority]! }, maxPriority }
    },
    claimed({ from, maxPriority }, rest) {
      const reached = rest?.priority ?? maxPriority + 1
      for (let at = from.priority; at < reached; at += 1) first[at] = heard[at]!
      if (rest !== null) first[rest.priority] = Math.min(rest.seq, heard[rest.priority]!)
    },
    clear() {
      first.fill(NOTHING)
      heard.fill(NOTHING)
    },
  }
}
