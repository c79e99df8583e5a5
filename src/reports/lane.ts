/**
 * What this instance knows of one tenant's reports between two calls. Only hints: the database decides (lease,
 * backoff), so a lane may be forgotten at any time and is made anew from the next scan.
 */
import { createHolds, type Holds } from './holds.js'
import type { Suspects } from './pace.js'

export interface Lane {
  readonly tenantId: string
  readonly holds: Holds
  suspects: Suspects | null
  /** A call or its preparation is under way here. */
  posting: boolean
  /** Something is believed to be pending. */
  pending: boolean
  /** The idle sync is believed to be due. */
  idle: boolean
  /** Run-now was asked then; it does not wait for backoff or do-not-disturb. */
  forcedAt: number | null
  /** The client asked for another sync, not before then. */
  againAt: number | null
  /** The backoff all instances share, as last seen; 0: none. */
  retryAt: number
  /** Not before then, whatever is due: gaps between calls, an answer from the database that said no. */
  notBefore: number
  /** Till then a scan that finds something pending has probably found what is held; a hint tells of something new. */
  heldUntil: number
  /** Failed or was slow last time: must not take the last places. */
  troubled: boolean
  /** The last call was for a message set aside; the next one is not. */
  probed: boolean
}

export function createLane(tenantId: string, random: () => number): Lane {
  return {
    tenantId,
    holds: createHolds(random),
    suspects: null,
    posting: false,
    pending: false,
    idle: false,
    forcedAt: null,
    againAt: null,
    retryAt: 0,
    notBefore: 0,
    heldUntil: 0,
    troubled: false,
    probed: false,
  }
}

/** When the next call is due, epoch ms, maybe in the past; null: nothing is to be done now. */
export function dueAt(lane: Lane): number | null {
  if (lane.posting) return null
  if (lane.forcedAt !== null) return lane.notBefore
  const earliest = Math.max(lane.retryAt, lane.notBefore)
  if (lane.pending || lane.idle) return earliest
  return lane.againAt === null ? null : Math.max(lane.againAt, earliest)
}

/** Since its last call, ms: the next one of a tenant in trouble is not worth remembering that for longer. */
const TROUBLED_MS = 3_600_000

/** True when forgetting the lane loses nothing. */
export function isForgettable(lane: Lane, now: number): boolean {
  const until = lane.troubled ? lane.notBefore + TROUBLED_MS : lane.notBefore
  return dueAt(lane) === null && !lane.posting && lane.holds.size === 0 && !lane.suspects && until <= now
}
