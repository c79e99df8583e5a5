/**
 * The idle connections of all accounts, and how many of them may be kept. Ten thousand accounts would keep as many for the
 * rest of their `ttl`: files of this process, and sessions that a server they have in common counts.
 */
import type { Pooled, Station } from './station.js'

export interface IdleConnections {
  /** Keeps it; answers those that have to leave for it, the longest idle first, with their stations. */
  add(pooled: Pooled, station: Station): readonly (readonly [Pooled, Station])[]
  /** To be used again. */
  take(pooled: Pooled): void
  /** It has ended. */
  delete(pooled: Pooled): void
  all(): IterableIterator<Pooled>
  readonly size: number
}

/** Some five times the transactions that run at once. */
const MOST = 1_000
/**
 * So few while they only leave unused: where more accounts than there is room for have their turns one after another, no
 * connection is there any more at its account's next turn. A thousand that nobody used cost smtp-sink 102 to 128 µs a message
 * in place of 65 to 77.
 */
const LEAST = 100
/** Then it is tried again whether they would be used, ms. */
const TRIED_AFTER_MS = 60_000

/** `monotonic` in ms. */
export function createIdleConnections(monotonic: () => number, most = MOST): IdleConnections {
  /** The longest idle first. */
  const idle = new Map<Pooled, Station>()
  /** One that left unused makes it smaller by one, one that was used larger. */
  let room = most
  let triedAt = monotonic()

  return {
    add(pooled, station) {
      idle.set(pooled, station)
      const now = monotonic()
      if (now >= triedAt + TRIED_AFTER_MS) {
        triedAt = now
        room = most
      }
      if (idle.size <= room) return []
      room = Math.max(Math.min(LEAST, most), room - 1)
      const leaving: [Pooled, Station][] = []
      for (const longest of idle) {
        leaving.push(longest)
        idle.delete(longest[0])
        if (idle.size <= room) break
      }
      return leaving
    },
    take(pooled) {
      if (idle.delete(pooled)) room = Math.min(most, room + 1)
    },
    delete: pooled => idle.delete(pooled),
    all: () => idle.keys(),
    get size() {
      return idle.size
    },
  }
}
