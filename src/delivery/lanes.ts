/** The lanes of all accounts that have something to send, in rotation, and what accounts have shown of themselves. */
import { ANEW, type Lane, type Learned, newLane } from './lane.js'

export interface Lanes {
  get(key: number): Lane
  /** In rotation: whose turn was longest ago comes first. */
  all(): IterableIterator<Lane>
  /** To the back of the rotation. */
  rotate(lane: Lane): void
  /** Forgets a lane with nothing ready, claimed or in flight, but not what its account has shown. */
  retire(lane: Lane): void
  /** Something of this priority may be ready for these accounts: submitted just now or, with `anew`, of any age. */
  hint(accountKeys: readonly number[], priority: number, anew?: 'anew'): void
  /** Claimed and not yet being sent, in all lanes. */
  buffered(): number
  readonly size: number
}

/** Accounts whose window is remembered while they are idle. */
const MOST_LEARNED = 10_000

export function createLanes(): Lanes {
  const lanes = new Map<number, Lane>()
  /** Of accounts with nothing to send now, those that sent last at the end. */
  const learned = new Map<number, Learned>()

  const get = (key: number): Lane => {
    let lane = lanes.get(key)
    if (lane === undefined) {
      lane = newLane(key, learned.get(key))
      learned.delete(key)
      lanes.set(key, lane)
    }
    return lane
  }

  return {
    get,
    all: () => lanes.values(),
    rotate(lane) {
      lanes.delete(lane.key)
      lanes.set(lane.key, lane)
    },
    retire(lane) {
      if (lane.ready || lane.claiming || lane.buffer.length > 0 || lane.inFlight > 0) return
      // A lane retired before may still be held by a send that ends now, while its account has a new one.
      if (lanes.get(lane.key) !== lane) return
      lanes.delete(lane.key)
      // An account that never sent has shown nothing.
      if (lane.pace === 0) return
      learned.set(lane.key, { window: lane.window, pace: lane.pace })
      const [longest] = learned.keys()
      if (learned.size > MOST_LEARNED && longest !== undefined) learned.delete(longest)
    },
    hint(accountKeys, priority, anew) {
      for (const key of accountKeys) {
        const lane = get(key)
        lane.ready = true
        lane.hints += 1
        lane.priority = Math.min(lane.priority, priority)
        lane.hinted = Math.min(lane.hinted, anew === undefined ? priority : ANEW)
      }
    },
    buffered() {
      let sum = 0
      for (const lane of lanes.values()) sum += lane.buffer.length + lane.ahead.size
      return sum
    },
    get size() {
      return lanes.size
    },
  }
}
