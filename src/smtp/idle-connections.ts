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
  /** True when there is room for none: this account's connection then counts as one that left. */
  turnsAway(accountKey: number): boolean
  /** This account had none, and opens one. */
  miss(accountKey: number): void
  /** It has ended. */
  delete(pooled: Pooled): void
  all(): IterableIterator<Pooled>
  readonly size: number
}

/** Some five times the transactions that run at once. */
const MOST = 1_000
/** So few until more would be used. A thousand that nobody used cost smtp-sink 102 to 128 µs a message in place of 65 to 77. */
const FIRST = 100

export function createIdleConnections(most = MOST): IdleConnections {
  /** The longest idle first. */
  const idle = new Map<Pooled, Station>()
  /** The accounts of the last that left, whose connections would still be there if there were room for `most`. */
  const left = new Set<number>()
  /**
   * One that leaves makes it smaller by one, one that is used larger; by two one that would have been, for another leaves for it.
   * Where more accounts than `most` have their turns one after another none is there any more at its account's next turn, and
   * in the end none is kept.
   */
  let room = Math.min(FIRST, most)

  const leave = (accountKey: number) => {
    left.delete(accountKey)
    left.add(accountKey)
    for (const longest of left) {
      if (left.size <= most - room) break
      left.delete(longest)
    }
  }

  return {
    add(pooled, station) {
      idle.set(pooled, station)
      if (idle.size <= room) return []
      room = Math.max(0, room - 1)
      const leaving: [Pooled, Station][] = []
      for (const longest of idle) {
        leaving.push(longest)
        idle.delete(longest[0])
        leave(longest[0].accountKey)
        if (idle.size <= room) break
      }
      return leaving
    },
    take(pooled) {
      if (idle.delete(pooled)) room = Math.min(most, room + 1)
    },
    turnsAway(accountKey) {
      if (room > 0) return false
      leave(accountKey)
      return true
    },
    miss(accountKey) {
      if (left.delete(accountKey)) room = Math.min(most, room + 2)
    },
    delete: pooled => idle.delete(pooled),
    all: () => idle.keys(),
    get size() {
      return idle.size
    },
  }
}
