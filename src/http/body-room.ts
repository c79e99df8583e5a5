/**
 * Room for large request bodies: so many octets of them in memory at once, the others wait before they are read. Their
 * sender waits with them, by TCP; refusing would only make it send all of it again.
 */
import { AppError } from '../lib/errors.js'

export interface BodyRoom {
  /** Resolves with what gives the room back. Rejects when too many wait already. */
  take(octets: number): Promise<() => void>
}

/** Beyond it the answer is no: every waiting request holds a socket. */
const MOST_WAITING = 1_000

export function createBodyRoom(total: number): BodyRoom {
  let free = total
  const waiting: { readonly octets: number; go(): void }[] = []

  const next = () => {
    for (let first = waiting[0]; first !== undefined && first.octets <= free; first = waiting[0]) {
      waiting.shift()
      free -= first.octets
      first.go()
    }
  }

  return {
    take(octets) {
      // One that is larger than all of it goes alone.
      const needed = Math.min(octets, total)
      if (waiting.length >= MOST_WAITING) {
        return Promise.reject(
          new AppError('too_many_requests', 'Too many large bodies at once', { retryAfterSeconds: 5 }),
        )
      }
      return new Promise(resolve => {
        let isBack = false
        const giveBack = () => {
          if (isBack) return
          isBack = true
          free += needed
          next()
        }
        waiting.push({ octets: needed, go: () => resolve(giveBack) })
        next()
      })
    },
  }
}
