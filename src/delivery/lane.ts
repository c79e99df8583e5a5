/**
 * A lane: what this process knows of one account's sending. Its window opens like TCP's: an account earns connections
 * by answering, so that a dead server or a tarpit holds one place and not all of them.
 */
import type { ClaimedMessage } from '../queue/claim.js'
import type { Letter } from '../smtp/transport.js'
import { createFrontier, type Frontier } from './frontier.js'

/** A message whose envelope leaves with the final dot of the one before, over the same connection. */
export interface Ahead {
  readonly claimed: ClaimedMessage
  readonly letter: Letter
}

/** A transaction under way. */
export interface Underway {
  /** Monotonic. */
  readonly since: number
  readonly abort: AbortController
}

export interface Lane {
  readonly key: number
  /** host:port, for the places of its server; '' until it is first looked up. */
  server: string
  /** Claimed and not yet being sent. */
  buffer: ClaimedMessage[]
  /** Taken from the buffer and waiting for the reply to the message before. */
  readonly ahead: Ahead[]
  /** Transactions under way, each on a connection of its own, the oldest first. */
  readonly sends: Underway[]
  /** Connections it may use now; between 1 and the account's max_connections. */
  window: number
  /** What is believed ready; polling corrects it. */
  readonly frontier: Frontier
  /** No claim before this, epoch ms: a limit's or a rule's turn. */
  notBefore: number
  /** Only priority 0 may be claimed before this (rules). */
  tickAt: number
  /** When it comes back into the rotation by itself, epoch ms; Infinity: it does not, or stands there. */
  turnAt: number
  claiming: boolean
  /** Its last message waited long for an attachment and in vain: no favours for the next. */
  isHeldUp: boolean
  /** Moving average of a send, ms. */
  pace: number
}

/** What an account has shown of itself, kept when its lane is empty. */
export type Learned = Pick<Lane, 'window' | 'pace'>

const FIRST_WINDOW = 1
const PACE_WEIGHT = 0.2
const QUICK_MS = 100
/** A claim and its contents take 5 to 20 ms while others write too; half of what is ahead has to last as long. */
const AHEAD_MS = 100
/**
 * Sends in a row over one connection while other lanes wait for its place, and how long that may take. So many are claimed
 * at once: when very many accounts have something to send, the connection would be gone before the next claim for it.
 */
export const MOST_IN_TURN = 10
export const LONGEST_TURN_MS = 1_000
/** The window opens by one more for each so many ms that an answer is waited for: one slow message is not a slow account. */
const PATIENCE_MS = 1_000

export function newLane(key: number, learned: Learned = { window: FIRST_WINDOW, pace: 0 }): Lane {
  return {
    key,
    server: '',
    buffer: [],
    ahead: [],
    sends: [],
    window: learned.window,
    frontier: createFrontier(),
    notBefore: 0,
    tickAt: 0,
    turnAt: Number.POSITIVE_INFINITY,
    claiming: false,
    isHeldUp: false,
    pace: learned.pace,
  }
}

/** A send ended; `good`: the server answered in order, whatever it said. */
export function learn(lane: Lane, durationMs: number, good: boolean, maxConnections: number, slowMs: number): void {
  lane.pace = lane.pace === 0 ? durationMs : lane.pace * (1 - PACE_WEIGHT) + durationMs * PACE_WEIGHT
  if (!good) lane.window = Math.max(1, Math.floor(lane.window / 2))
  else if (lane.pace > slowMs) lane.window = 1
  else lane.window = Math.min(maxConnections, lane.window * 2)
}

/**
 * Connections this lane may use now. One send that has been running too long is enough to make it slow. An immediate
 * message (priority 0 known to wait) gets one beyond those in use, whatever the account has earned.
 */
export function widthOf(lane: Lane, maxConnections: number, monotonicNow: number, slowMs: number): number {
  const oldest = lane.sends[0]
  const waited = oldest === undefined ? 0 : Math.max(0, monotonicNow - oldest.since)
  if (waited > slowMs) return 1
  const isUrgent = lane.frontier.priority === 0 || lane.buffer[0]?.priority === 0
  const earned = lane.window + Math.floor(waited / PATIENCE_MS)
  return Math.min(maxConnections, isUrgent ? Math.max(earned, lane.sends.length + 1) : earned)
}

/** It is known to send a message in no more than a moment. */
export function isQuick({ pace }: Lane): boolean {
  return pace > 0 && pace < QUICK_MS
}

/** How many claimed ahead a lane may keep: a batch for a server that answers quickly, little for one that became slow. */
export function spare(lane: Lane, batchSize: number): number {
  if (lane.pace < QUICK_MS) return batchSize + lane.sends.length
  return Math.max(2 * lane.window, ahead(lane.pace, lane.window, batchSize))
}

/**
 * How many to claim now: enough to keep the connections busy while the next claim is under way, no more, since what is
 * claimed can no longer be cancelled, replaced or sent by another instance. An account that has shown nothing yet goes by
 * the pace of its server: were it one message each, ten thousand accounts would open a connection for every message.
 */
export function wanted(lane: Lane, width: number, batchSize: number, serverPace = 0): number {
  const pace = lane.pace === 0 ? serverPace : lane.pace
  const target = Math.max(0, width - lane.sends.length) + ahead(pace, width, batchSize)
  return lane.buffer.length > target / 2 ? 0 : Math.min(batchSize, target - lane.buffer.length)
}

/**
 * What the connections send in AHEAD_MS, one each at least, and what one of them sends in a turn. Nothing for a server that
 * has not shown how it answers.
 */
function ahead(pace: number, width: number, batchSize: number): number {
  if (pace === 0) return 0
  const turn = Math.min(MOST_IN_TURN, Math.ceil(LONGEST_TURN_MS / pace))
  return Math.min(batchSize, Math.max(width, Math.ceil((width * AHEAD_MS) / pace), turn))
}
