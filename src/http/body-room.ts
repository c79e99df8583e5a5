/**
 * Room for large request bodies: so many octets of them in memory at once, the others wait before they are read. Their
 * sender waits with them, by TCP; refusing would only make it send all of it again.
 *
 * Nobody has more than half of it, but for a single body: a sender that stops half-way keeps what it took for as long as a
 * request may last, and two of them would keep out everybody else.
 */
import { AppError } from '../lib/errors.js'

export interface BodyRoom {
  /** Resolves with what gives the room back. Rejects when too many wait already. `who`: whose body it is. */
  take(who: string, octets: number): Promise<() => void>
}

/** Beyond it the answer is no: every waiting request holds a socket. Of one sender half as many. */
const MOST_WAITING = 1_000

interface Waiting {
  readonly who: string
  readonly octets: number
  go(): void
}

export function createBodyRoom(total: number): BodyRoom {
  let free = total
  const held = new Map<string, number>()
  const waiting: Waiting[] = []

  const hold = (who: string, octets: number) => {
    const now = (held.get(who) ?? 0) + octets
    if (now === 0) held.delete(who)
    else held.set(who, now)
    free -= octets
  }
  const isWithinShare = ({ who, octets }: Waiting) => {
    const mine = held.get(who) ?? 0
    return mine === 0 || mine + octets <= total / 2
  }
  /** In the order in which they came, past all of a sender who has to wait for its share: its own keep their order. */
  const next = () => {
    const over = new Set<string>()
    for (let at = 0; at < waiting.length; ) {
      const each = waiting[at]!
      if (over.has(each.who) || !isWithinShare(each)) {
        over.add(each.who)
        at += 1
        continue
      }
      if (each.octets > free) return
      waiting.splice(at, 1)
      hold(each.who, each.octets)
      each.go()
    }
  }

  return {
    take(who, octets) {
      // One that is larger than all of it goes alone.
      const needed = Math.min(octets, total)
      const isMany =
        waiting.length >= MOST_WAITING / 2 && waiting.filter(each => each.who === who).length >= MOST_WAITING / 2
      if (isMany || waiting.length >= MOST_WAITING) {
        return Promise.reject(
          new AppError('too_many_requests', 'Too many large bodies at once', { retryAfterSeconds: 5 }),
        )
      }
      return new Promise(resolve => {
        let isBack = false
        const giveBack = () => {
          if (isBack) return
          isBack = true
          hold(who, -needed)
          next()
        }
        waiting.push({ who, octets: needed, go: () => resolve(giveBack) })
        next()
      })
    },
  }
}
