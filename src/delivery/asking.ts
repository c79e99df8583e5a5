/** What is asked of the queue for a lane, and what the answer tells of it. */
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import { type Claimed, type ClaimRequest, claimableSql } from '../queue/claim.js'
import { isHeld, type Permissions, requestFor } from './admission.js'
import type { Span } from './frontier.js'
import { type Lane, wanted, widthOf } from './lane.js'
import type { Lanes } from './lanes.js'
import type { Places } from './places.js'
import type { Lookup } from './settings.js'

export interface AskingDeps {
  readonly db: Db
  readonly clock: Clock
  readonly lanes: Lanes
  readonly places: Places
  readonly slowSendMs: number
  permissionsOf(lookup: Lookup, now: number): Permissions
  /** The lane waits for a place. */
  starve(lane: Lane): void
  /** A window is full and messages wait that the request would have taken; answers when to look again, epoch ms. */
  limited(lookup: Lookup, request: ClaimRequest): Promise<number>
  wakeLoop(): void
}

/** A claim that was asked for. */
export interface Asked {
  readonly lane: Lane
  readonly lookup: Lookup
  readonly request: ClaimRequest
  /** All that might be claimed for the lane, of which the request is a part. */
  readonly permitted: ClaimRequest
  /** The part of the lane's frontier that is asked for; null: what a tick lets through, and more may be ready behind it. */
  readonly span: Span | null
}

export interface Asking {
  /** For `room` messages at most. null: nothing may be claimed now, and the lane knows when to be asked again. */
  ask(lane: Lane, lookup: Lookup, now: number, room: number): Asked | null
  /** What was claimed. */
  answered(asked: Asked, rows: readonly Claimed[]): Promise<void>
}

/** Immediate messages claimed at once beyond what a lane has claimed already. */
const MOST_URGENT = 10
/** A lane that found no place is called when one comes free, and asked again after this in any case. */
const PLACE_MS = 500

export function createAsking(deps: AskingDeps): Asking {
  const { db, clock, lanes, places, permissionsOf } = deps
  // SQLite keeps no trace of what was claimed: its claims start at the first.
  const startsAtFrontier = db.dialect === 'postgres'

  const permittedFor = (lane: Lane, lookup: Lookup, now: number, room: number): ClaimRequest | null => {
    const { account } = lookup
    if (isHeld(lookup)) return null
    if (lane.notBefore > now) {
      lanes.standAside(lane, lane.notBefore)
      return null
    }
    const permissions = permissionsOf(lookup, now)
    const width = widthOf(lane, account.maxConnections, clock.monotonic(), deps.slowSendMs)
    const isImmediate = lane.frontier.priority === 0
    lane.server = `${account.host}:${account.port}`
    // Claimed only when it can be sent: what waits behind a server in trouble stays where others and people can reach it.
    const favoured = (lane.sends.length === 0 && !lane.isHeldUp) || isImmediate
    const standing = places.standing(lane.server)
    if (standing !== 'good') {
      if (lane.buffer.length > 0) return null
      // An immediate one is claimed before its place is free: until the claim came back, others would have taken it.
      const ahead = isImmediate && standing === 'new'
      if (!ahead && !places.couldTake(lane.server, favoured)) {
        deps.starve(lane)
        lanes.standAside(lane, now + PLACE_MS)
        return null
      }
    }
    const limit = Math.min(room, wanted(lane, width, permissions.batchSize, places.pace(lane.server)))
    if (limit > 0) {
      const request = requestFor(lane, lookup, limit, permissions)
      if (request === null) lanes.standAside(lane, lane.tickAt)
      return request
    }
    // Immediate ones go before what the lane has claimed already.
    const isOvertaking = isImmediate && lane.buffer.length > 0 && lane.buffer[0]!.priority > 0 && room > 0
    if (!isOvertaking || permissions.testMode) return null
    const request = requestFor(lane, lookup, Math.min(room, MOST_URGENT), permissions)
    return request === null ? null : { ...request, maxPriority: 0, dueBy: null }
  }

  const isWaiting = async (request: ClaimRequest): Promise<boolean> => {
    const params: (string | number)[] = []
    const rows = await db.read({ sql: `select 1 from messages where ${claimableSql(request, params)} limit 1`, params })
    return rows.length > 0
  }

  return {
    ask(lane, lookup, now, room) {
      const permitted = permittedFor(lane, lookup, now, room)
      if (permitted === null) return null
      const span = lane.frontier.span(permitted.maxPriority)
      if (permitted.dueBy !== null) return { lane, lookup, request: permitted, permitted, span: null }
      const { maxPriority } = span
      const request = { ...permitted, maxPriority, from: startsAtFrontier ? span.from : null }
      return { lane, lookup, request, permitted, span }
    },
    async answered({ lane, lookup, request, permitted, span }, rows) {
      const { frontier } = lane
      const isFull = rows.length === request.limit
      // Fewer than asked: either nothing more is ready, or a limit or a tick stands before the rest.
      const isLimited = !isFull && lookup.limits.length > 0 && (await isWaiting(request))
      if (span !== null) {
        const last = rows.at(-1)
        if (!isFull && !isLimited) frontier.claimed(span, null)
        else if (last !== undefined) {
          frontier.claimed(span, { priority: last.priority, seq: startsAtFrontier ? last.seq + 1 : 0 })
        }
      }
      if (isFull) return
      if (isLimited) {
        lane.notBefore = await deps.limited(lookup, { ...permitted, from: request.from })
        lanes.standAside(lane, lane.notBefore)
      } else if (span === null) {
        // Unless something came meanwhile: an immediate one does not wait for a tick.
        if (!frontier.hasNews) lanes.standAside(lane, lane.tickAt)
      } else if (frontier.isEmpty) {
        lanes.standAside(lane, Number.POSITIVE_INFINITY)
      } else {
        // Less urgent ones, or what came meanwhile.
        lanes.call(lane)
        deps.wakeLoop()
      }
    },
  }
}
