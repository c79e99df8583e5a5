/**
 * Places for sends, shared by all accounts, given by how a server has behaved: a provider that hangs, with however many
 * accounts, must not hold up those that answer. A fifth of the places is kept for accounts with nothing in flight and
 * for priority 0 (spec section 4.1).
 *
 *   good   its last answer came: may use all but what is kept
 *   new    not heard of yet: half of the places a server, all of them together leave the kept fifth
 *   bad    its last session broke, or one hangs: a quarter of the places a server, together at most half
 */

import { takeOut } from '../lib/take-out.js'

export type Standing = 'good' | 'new' | 'bad'

export interface Place {
  /** From now on the server is waited for; until then it was an attachment's source, which says nothing of the server. */
  asks(): void
  /** Gives the place back; `good`: the server answered in order, whatever it said; null: it was not asked. */
  give(good: boolean | null): void
  /** The server answered in order, and the next send over the same connection takes this place, whoever waits for one. */
  passOn(breakOff: () => boolean): Place
}

export interface Places {
  standing(server: string): Standing
  /** Moving average of its good answers, ms from the question on; 0 unless it is in good standing. */
  pace(server: string): number
  /**
   * null: none for this server now. `favoured`: the account has nothing in flight, or the message is of priority 0.
   * `breakOff` ends the send to give its place to others, and answers false when that would do harm.
   */
  take(server: string, favoured: boolean, breakOff?: () => boolean): Place | null
  couldTake(server: string, favoured: boolean): boolean
  /** Breaks off the longest send that has had no answer for `hungMs`; false when there is none that may be. */
  breakLongest(hungMs: number): boolean
  readonly free: number
  readonly used: number
}

interface Server {
  last: 'good' | 'bad' | null
  /** Monotonic. */
  goodAt: number
  /** Moving average, ms; 0: none was good yet. */
  pace: number
  /** Places in use; those that asked stand in the order in which they did. */
  readonly starts: Start[]
}

interface Start {
  /** When it was taken, then when the server was asked. */
  readonly at: number
  readonly asked: boolean
  readonly breakOff: () => boolean
}

/** Servers without a send in flight that are remembered; beyond it the longest silent are forgotten. */
const REMEMBERED = 10_000
const PACE_WEIGHT = 0.2

function isAsked({ asked }: Start): boolean {
  return asked
}

export function createPlaces(total: number, slowMs: number, monotonic: () => number): Places {
  const kept = Math.max(1, Math.floor(total / 5))
  const servers = new Map<string, Server>()
  let used = 0

  const standingOf = (server: Server | undefined): Standing => {
    if (server === undefined) return 'new'
    const oldest = server.starts.find(isAsked)
    const hangs = oldest !== undefined && monotonic() - oldest.at > slowMs && server.goodAt <= oldest.at
    if (hangs || server.last === 'bad') return 'bad'
    return server.last === 'good' ? 'good' : 'new'
  }

  /** In flight by standing; counted anew because time alone turns a hanging server bad. Servers in flight are few. */
  const tally = () => {
    const sum = { good: 0, new: 0, bad: 0 }
    for (const server of busy) sum[standingOf(server)] += server.starts.length
    return sum
  }
  const busy = new Set<Server>()

  const couldTake = (name: string, favoured: boolean): boolean => {
    if (used >= total) return false
    const server = servers.get(name)
    const standing = standingOf(server)
    const mine = server?.starts.length ?? 0
    if (used < total / 2 && (standing === 'good' || mine < Math.max(1, Math.floor(total / 4)))) return true
    const sum = tally()
    const others = sum.new + sum.bad
    if (standing === 'good') return favoured || (sum.good < total - kept && used < total - Math.floor(kept / 2))
    if (others >= total - (favoured ? Math.floor(kept / 2) : kept)) return false
    if (standing === 'new') return mine < Math.max(1, Math.ceil(total / 2))
    return mine < Math.max(1, Math.floor(total / 4)) && sum.bad < Math.max(1, Math.floor(total / 2))
  }

  const serverOf = (name: string): Server => {
    let server = servers.get(name)
    if (server === undefined) {
      server = { last: null, goodAt: Number.NEGATIVE_INFINITY, pace: 0, starts: [] }
      if (servers.size >= REMEMBERED) {
        for (const [each, known] of servers) {
          if (known.starts.length > 0) continue
          servers.delete(each)
          break
        }
      }
      servers.set(name, server)
    }
    return server
  }

  class Occupied implements Place, Start {
    asked = false

    constructor(
      private readonly server: Server,
      public at: number,
      readonly breakOff: () => boolean,
    ) {
      server.starts.push(this)
      busy.add(server)
      used += 1
    }

    asks() {
      if (this.asked || !takeOut(this.server.starts, this)) return
      this.at = monotonic()
      this.asked = true
      this.server.starts.push(this)
    }

    give(good: boolean | null) {
      const { server } = this
      if (!takeOut(server.starts, this)) return
      if (server.starts.length === 0) busy.delete(server)
      used -= 1
      if (good === null) return
      server.last = good ? 'good' : 'bad'
      if (!good) return
      server.goodAt = monotonic()
      const tookMs = server.goodAt - this.at
      server.pace = server.pace === 0 ? tookMs : server.pace * (1 - PACE_WEIGHT) + tookMs * PACE_WEIGHT
    }

    passOn(breakOff: () => boolean) {
      this.give(true)
      const next = new Occupied(this.server, this.server.goodAt, breakOff)
      // Its envelope is out.
      next.asked = true
      return next
    }
  }

  return {
    standing: name => standingOf(servers.get(name)),
    pace(name) {
      const server = servers.get(name)
      return server !== undefined && standingOf(server) === 'good' ? server.pace : 0
    },
    couldTake,
    take(name, favoured, breakOff = () => false) {
      return couldTake(name, favoured) ? new Occupied(serverOf(name), monotonic(), breakOff) : null
    },
    breakLongest(hungMs) {
      const hung = [...busy]
        .flatMap(({ starts, goodAt }) =>
          // While it is an attachment's source that is waited for, the server's answers to others say nothing.
          starts.filter(({ at, asked }) => (!asked || at >= goodAt) && monotonic() - at > hungMs),
        )
        .sort((a, b) => a.at - b.at)
      return hung.some(({ breakOff }) => breakOff())
    },
    get free() {
      return total - used
    },
    get used() {
      return used
    },
  }
}
