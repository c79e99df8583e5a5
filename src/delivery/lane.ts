/**
 * A lane: what this process knows of one account's sending. Its window opens like TCP's: an account earns connections
 * by answering, so that a dead server or a tarpit holds one place and not all of them.
 */
import type { ClaimedMessage } from '../queue/claim.js'

export interface Lane {
  readonly key: number
  /** host:port, for the places of its server; '' until it is first looked up. */
  server: string
  /** Claimed and not yet being sent. */
  buffer: ClaimedMessage[]
  inFlight: number
  /** Connections it may use now; between 1 and the account's max_connections. */
  window: number
  /** Ready rows are believed to be there; polling corrects it. */
  ready: boolean
  /** The most urgent priority believed ready. */
  priority: number
  /** Counts hints, so that an empty claim that was under way when one came does not erase it. */
  hints: number
  /** No claim before this, epoch ms: a limit's or a rule's turn. */
  notBefore: number
  /** Only priority 0 may be claimed before this (rules). */
  tickAt: number
  claiming: boolean
  /** Moving average of a send, ms. */
  pace: number
  /** Monotonic start of each send in flight. */
  readonly starts: Set<{ at: number }>
}

const FIRST_WINDOW = 1
const PACE_WEIGHT = 0.2

export function newLane(key: number): Lane {
  return {
    key,
    server: '',
    buffer: [],
    inFlight: 0,
    window: FIRST_WINDOW,
    ready: false,
    priority: 3,
    hints: 0,
    notBefore: 0,
    tickAt: 0,
    claiming: false,
    pace: 0,
    starts: new Set(),
  }
}

/** A send ended; `good`: the server answered in order, whatever it said. */
export function learn(lane: Lane, durationMs: number, good: boolean, maxConnections: number, slowMs: number): void {
  lane.pace = lane.pace === 0 ? durationMs : lane.pace * (1 - PACE_WEIGHT) + durationMs * PACE_WEIGHT
  if (!good) lane.window = Math.max(1, Math.floor(lane.window / 2))
  else if (lane.pace > slowMs) lane.window = 1
  else lane.window = Math.min(maxConnections, lane.window * 2)
}

/** Connections this lane may use now. One send that has been running too long is enough to make it slow. */
export function widthOf(lane: Lane, maxConnections: number, monotonicNow: number, slowMs: number): number {
  const [oldest] = lane.starts
  if (oldest !== undefined && monotonicNow - oldest.at > slowMs) return 1
  return Math.min(lane.window, maxConnections)
}

/**
 * How many to claim now: enough to keep the connections busy while the next claim is under way, no more, since what is
 * claimed can no longer be cancelled, replaced or sent by another instance.
 */
export function wanted(lane: Lane, width: number, batchSize: number): number {
  const quick = lane.pace > 0 && lane.pace < 100
  // Nothing ahead for a server that has not shown yet how it answers.
  const ahead = quick ? batchSize : lane.pace > 0 ? Math.min(batchSize, width) : 0
  const target = Math.max(0, width - lane.inFlight) + ahead
  return lane.buffer.length > target / 2 ? 0 : Math.min(batchSize, target - lane.buffer.length)
}
