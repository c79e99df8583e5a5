/**
 * The lanes of all accounts that have something to send, and what accounts have shown of themselves. Those that may be
 * asked for a claim stand in rotation; the others stand aside until a hint, a time or a free place brings them back: with
 * ten thousand of them a step that looked at each would take longer than what it claims.
 */
import type { Ready } from '../lib/wake.js'
import { type Lane, type Learned, newLane } from './lane.js'
import { createTurns } from './turns.js'

export interface Lanes {
  get(key: number): Lane
  all(): IterableIterator<Lane>
  /** The rotation as it stands: immediate ones first, then whose turn was longest ago. Lanes may leave it and join it meanwhile. */
  inTurn(): IterableIterator<Lane>
  /** The immediate ones of it. */
  immediateInTurn(): IterableIterator<Lane>
  /** To the back of the rotation. */
  rotate(lane: Lane): void
  /** Out of the rotation until then, epoch ms, or until it is called or hinted at. */
  standAside(lane: Lane, until: number): void
  /** Nothing of it is ready, whatever was heard. */
  rest(lane: Lane): void
  /** Into the rotation, or where it belongs there. */
  call(lane: Lane): void
  /** Calls those whose time has come. */
  callDue(now: number): void
  /** When the next comes back by itself, epoch ms; null: none does. */
  readonly nextTurn: number | null
  /** Forgets a lane with nothing ready, claimed or in flight, but not what its account has shown. */
  retire(lane: Lane): void
  hint(ready: Ready): void
  readonly size: number
}

/** Accounts whose window is remembered while they are idle. */
const MOST_LEARNED = 10_000

export function createLanes(): Lanes {
  const lanes = new Map<number, Lane>()
  /** Of accounts with nothing to send now, those that sent last at the end. */
  const learned = new Map<number, Learned>()
  const immediate = new Set<Lane>()
  const others = new Set<Lane>()
  const turns = createTurns<Lane>()

  const get = (key: number): Lane => {
    let lane = lanes.get(key)
    if (lane === undefined) {
      lane = newLane(key, learned.get(key))
      learned.delete(key)
      lanes.set(key, lane)
    }
    return lane
  }

  const leave = (lane: Lane) => {
    immediate.delete(lane)
    others.delete(lane)
  }

  const call = (lane: Lane) => {
    if (lane.frontier.isEmpty || lanes.get(lane.key) !== lane) return
    const [its, other] = lane.frontier.priority === 0 ? [immediate, others] : [others, immediate]
    other.delete(lane)
    its.add(lane)
  }

  /** Who goes to the back meanwhile had its turn. */
  const once = function* (turning: ReadonlySet<Lane>) {
    let left = turning.size
    for (const lane of turning) {
      if (left === 0) break
      left -= 1
      yield lane
    }
  }

  return {
    get,
    all: () => lanes.values(),
    *inTurn() {
      yield* once(immediate)
      yield* once(others)
    },
    immediateInTurn: () => once(immediate),
    rotate(lane) {
      leave(lane)
      call(lane)
    },
    standAside(lane, until) {
      leave(lane)
      // One that comes back too early only asks in vain.
      if (until === Number.POSITIVE_INFINITY || lane.turnAt <= until) return
      lane.turnAt = until
      turns.add(lane, until)
    },
    rest(lane) {
      lane.frontier.clear()
      leave(lane)
    },
    call,
    callDue(now) {
      for (let lane = turns.take(now); lane !== undefined; lane = turns.take(now)) {
        lane.turnAt = Number.POSITIVE_INFINITY
        call(lane)
      }
    },
    get nextTurn() {
      return turns.next
    },
    retire(lane) {
      if (!lane.frontier.isEmpty || lane.claiming || lane.buffer.length > 0 || lane.sends.length > 0) return
      // A lane retired before may still be held by a send that ends now, while its account has a new one.
      if (lanes.get(lane.key) !== lane) return
      lanes.delete(lane.key)
      leave(lane)
      // An account that never sent has shown nothing.
      if (lane.pace === 0) return
      learned.set(lane.key, { window: lane.window, pace: lane.pace })
      const [longest] = learned.keys()
      if (learned.size > MOST_LEARNED && longest !== undefined) learned.delete(longest)
    },
    hint(ready) {
      const lane = get(ready.accountKey)
      lane.frontier.hear(ready)
      call(lane)
    },
    get size() {
      return lanes.size
    },
  }
}
