/**
 * Decides what is claimed next: priority 0 of all accounts first, then accounts in rotation. A step claims for the lanes
 * that have room; what was claimed is sent by `sends.ts`, beside it. Everything here is a cache of the database but the
 * claims themselves, which are under the lease.
 */

import type { Step } from '../lib/loop.js'
import { anyOf, type Ready } from '../lib/wake.js'
import { type Claimed, type ClaimedMessage, type ClaimRequest, claimDue, type Taken } from '../queue/claim.js'
import { nextDue, readyDue } from '../queue/due.js'
import type { KeptContents } from '../queue/kept-contents.js'
import type { Lease } from '../queue/lease.js'
import type { RetryPolicy, Transition } from '../queue/transition.js'
import { isHeld, isSending, type Permissions } from './admission.js'
import { type Asked, createAsking } from './asking.js'
import { createDiscovery } from './discovery.js'
import { type Lane, MOST_IN_TURN } from './lane.js'
import { createLanes } from './lanes.js'
import { createPlaces } from './places.js'
import { createReconciler } from './reconcile.js'
import { createSends, type SendDeps, type SendEvents, type SendOptions } from './sends.js'
import type { Lookup } from './settings.js'

export interface DispatchOptions extends SendOptions {
  readonly maxConcurrentSends: number
  readonly maxRetries: number
  readonly retryDelaysMs: readonly number[]
  /** Dispatch only what run-now asked for. */
  readonly testMode: boolean
}

export interface DispatchEvents extends SendEvents {
  /** A claim whose worker ended, or whose result was refused, after its final dot may have left. */
  leftInDoubt(claimed: Claimed, transition: Transition): void
  /** A window is full and messages wait that the request would have taken; answers when to look again, epoch ms. */
  limited(lookup: Lookup, request: ClaimRequest): Promise<number>
}

export interface DispatchDeps extends SendDeps {
  readonly steadyNow: () => number
  readonly events: DispatchEvents
  /** Of what this process accepted itself; null: nothing is kept. */
  readonly kept: KeptContents | null
  /** False: no new claims (disk nearly full, draining). */
  mayClaim(): boolean
}

export interface Dispatcher {
  step(): Promise<Step>
  hint(ready: readonly Ready[]): void
  /** Everything due until now goes, whatever the rules say; null: for all tenants. */
  runNow(tenantId: string | null): void
  /** Gives back what waits, lets sends end for `graceMs`, then breaks them off. Resolves when all are settled. */
  drain(graceMs: number): Promise<void>
  /** The lease is lost: what is under way must not reach its final dot and its results count no more. */
  abandon(): void
  stats(): { inFlight: number; buffered: number; lanes: number }
}

const READY_CHUNK = 1_000
const CLAIMS_PER_UNIT = 64
const LOOK_MS = 100
/** Characters of a content that is kept by a claim; a longer one is read when its message is sent. */
const MOST_AHEAD = 64 * 1024
/**
 * Claimed messages in memory for each send that may run at once, one for each piece of a content: so many that with a server
 * that takes a tenth of a second some hundred lanes are under way although each has claimed a turn's worth. More of them outlive
 * collections of young objects, and what is claimed early finds fewer messages: with 6 ten thousand accounts went out 10 percent slower.
 */
const HELD_A_SEND = 4

function hasContent(row: Taken): row is ClaimedMessage {
  return row.envelope !== null
}

/** Nothing of it is claimed ahead or on its way. */
function isFresh(lane: Lane): boolean {
  return !lane.isHeldUp && lane.buffer.length === 0 && lane.sends.length === 0
}

/** The next `count` of them. */
function firstOf(turn: Iterator<Lane>, count: number, which: (lane: Lane) => boolean = () => true): Lane[] {
  const found: Lane[] = []
  while (found.length < count) {
    const { value, done } = turn.next()
    if (done === true) break
    if (which(value)) found.push(value)
  }
  return found
}

function earlier(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b)
}

export function createDispatcher(deps: DispatchDeps, options: DispatchOptions): Dispatcher {
  const { db, clock, log, steadyNow, journal, settings, settler, events } = deps
  const lanes = createLanes()
  const places = createPlaces(options.maxConcurrentSends, options.slowSendMs, clock.monotonic)
  /** Of what waits, is being sent and is being settled: the contents of all of them are in memory. */
  const mostHeld = HELD_A_SEND * options.maxConcurrentSends + options.batchSizePerAccount
  /** A lane is asked while there is room for a turn of it: claimed one by one as others end, each would open a connection. */
  const turnRoom = Math.min(MOST_IN_TURN, Math.ceil(mostHeld / 2))
  // On SQLite every change is made by this process, which hints at it; polling is a second safety there. Elsewhere a hint
  // can get lost, and what was scheduled by others is to be no more than a second late: at each second step of an idle loop.
  const isSqlite = db.dialect === 'sqlite'
  const lookEveryMs = isSqlite ? 2_000 : 900
  let draining = false
  /** The step under way, or the last one. */
  let stepping: Promise<unknown> = Promise.resolve()
  let lookAt = Number.NEGATIVE_INFINITY
  let hinted = true
  let scheduled: number | null = 0
  /** Of the settings that turns and ticks were reckoned by. */
  let generation = settings.generation
  /** Accounts of which a reserved slot was given back. */
  const freed = new Set<number>()
  let runNowAll = 0
  const runNowTenants = new Map<string, number>()

  const policyOf = (inDoubt: RetryPolicy['inDoubt']): RetryPolicy => ({
    maxRetries: options.maxRetries,
    retryDelaysMs: options.retryDelaysMs,
    inDoubt,
  })

  const hint = (ready: readonly Ready[]) => {
    hinted = true
    for (const each of ready) lanes.hint(each)
  }

  function permissionsOf({ account, tenant }: Lookup, now: number): Permissions {
    return {
      now,
      batchSize: account.batchSize ?? options.batchSizePerAccount,
      testMode: options.testMode,
      asked: Math.max(runNowAll, runNowTenants.get(tenant.id) ?? 0),
    }
  }

  const sends = createSends(deps, options, {
    lanes,
    places,
    permissionsOf,
    policyOf,
    hint,
    slotFreed(accountKey) {
      freed.add(accountKey)
      deps.wakeLoop()
    },
    dueAt(at) {
      if (scheduled === null || at < scheduled) scheduled = at
    },
    reconcileSoon: () => reconciler.soon(),
  })

  const asking = createAsking({
    db,
    clock,
    lanes,
    places,
    slowSendMs: options.slowSendMs,
    permissionsOf,
    starve: sends.starve,
    limited: events.limited,
    wakeLoop: deps.wakeLoop,
  })

  const reconciler = createReconciler(
    { db, clock, log, journal, settler, policyOf, leftInDoubt: events.leftInDoubt },
    sends.holds,
    deps.wakeLoop,
  )

  const discovery = createDiscovery(db, clock, isSqlite ? 5_000 : 900, found => {
    // Onward: the first that is ready may be one that nobody may claim now (of a suspended batch), and hide what is behind it.
    hint(found.map(each => ({ ...each, onward: true })))
    deps.wakeLoop()
  })

  const step = async (): Promise<Step> => {
    const lease = deps.lease()
    if (lease === null || draining || !deps.mayClaim()) return { nextAt: null, again: false }
    // Claims are made only in this loop, so none is under way here.
    const returned = await reconciler.step(lease)
    if (returned.length > 0) hint(returned.map(key => anyOf(key)))
    const moreDue = await look(lease)
    discovery.step()
    if (!isSending(settings)) return { nextAt: scheduled, again: moreDue }
    journal.check(lease.id)
    const claimed = await claimRound(lease)
    return { nextAt: earlier(scheduled, lanes.nextTurn), again: moreDue || claimed > 0 }
  }

  /** What time or others changed: at most every LOOK_MS while busy, so that claims do not wait for it. */
  const look = async (lease: Lease): Promise<boolean> => {
    const now = clock.monotonic()
    const isDue = isOutdated() || (scheduled !== null && scheduled <= clock.now())
    // What others change matters at once to what is being sent.
    const isBusy = hinted || sends.isCrowded() || (!isSqlite && places.used > 0)
    if (!isDue && now < (isBusy ? lookAt : lookAt - LOOK_MS + lookEveryMs)) return false
    lookAt = now + LOOK_MS
    hinted = false
    const [, next] = await Promise.all([settings.refresh(), isDue ? scheduled : nextDue(db)])
    scheduled = next
    if (isOutdated()) reconsider()
    await sends.review(lease)
    sends.makeRoom()
    if (scheduled === null || scheduled > clock.now()) return false
    // Scheduled and retried messages whose time has come.
    const due = await readyDue(db, clock.now(), READY_CHUNK)
    hint(due.ready)
    scheduled = due.more ? clock.now() : await nextDue(db)
    return due.more
  }

  const isOutdated = () => settings.generation !== generation

  /**
   * No turn and no tick of before holds anything up. Between claims: the answer of one under way, made by the old limits,
   * would put its lane off once more, for 3 s (after 17 of 100 changes right behind a submission, PostgreSQL).
   */
  const reconsider = () => {
    generation = settings.generation
    for (const lane of lanes.all()) {
      lane.notBefore = 0
      lane.tickAt = 0
      if (!lane.frontier.isEmpty) lane.frontier.hear(anyOf(lane.key))
      lanes.call(lane)
    }
    discovery.soon()
    scheduled = 0
  }

  /** Between claims, as with settings: a window that was full when the claim was answered is full no longer. */
  const callFreed = () => {
    for (const key of freed) {
      const lane = lanes.get(key)
      lane.notBefore = 0
      lanes.call(lane)
      // It was made for this where the account has nothing to send.
      lanes.retire(lane)
    }
    freed.clear()
  }

  const claimRound = async (lease: Lease): Promise<number> => {
    callFreed()
    lanes.callDue(clock.now())
    const turn = lanes.inTurn()
    let total = 0
    for (;;) {
      const room = mostHeld - sends.held
      if (draining) return total
      if (room < turnRoom) return total + (await claimBeyondRoom(lease))
      const candidates = firstOf(turn, CLAIMS_PER_UNIT)
      if (candidates.length === 0) return total
      total += await claimFor(lease, candidates, room)
    }
  }

  /**
   * What others claimed ahead and cannot send now must not keep out an account that could send at once. One waits for a place in
   * any case, so that a send that hangs is broken off for it. No more but immediate ones: each would take the place that
   * comes free, and open a connection, before those that have claimed a turn's worth.
   */
  const claimBeyondRoom = async (lease: Lease): Promise<number> => {
    const { free } = places
    const turn = free === 0 && sends.isRoomWanted() ? lanes.immediateInTurn() : lanes.inTurn()
    const candidates = firstOf(turn, Math.max(1, Math.min(free, CLAIMS_PER_UNIT)), isFresh)
    return claimFor(lease, candidates, Number.POSITIVE_INFINITY, HELD_A_SEND)
  }

  /** Of the candidates, in their order, for whom there is room; `mostEach` at most for each. */
  const claimFor = async (
    lease: Lease,
    candidates: readonly Lane[],
    room: number,
    mostEach = Number.POSITIVE_INFINITY,
  ): Promise<number> => {
    const lookups = await settings.get(candidates.map(lane => lane.key))
    const now = clock.now()
    const asked: Asked[] = []
    let left = room
    for (const lane of candidates) {
      const lookup = lookups.get(lane.key)
      const each = lookup === undefined ? null : asking.ask(lane, lookup, now, Math.min(left, mostEach))
      if (each === null) {
        if (lookup === undefined || isHeld(lookup)) lanes.rest(lane)
        lanes.retire(lane)
        continue
      }
      left -= each.request.limit
      asked.push(each)
      lane.claiming = true
      lanes.rotate(lane)
      if (left < turnRoom) break
    }
    if (asked.length === 0) return 0
    try {
      const results = await claimDue(
        db,
        lease.id,
        steadyNow(),
        asked.map(each => each.request),
        { most: MOST_AHEAD, kept: deps.kept },
      )
      for (const [i, { lane, lookup }] of asked.entries()) {
        fill(lane, results[i] ?? [])
        sends.pump(lane, lookup)
      }
      await Promise.all(asked.map((each, i) => asking.answered(each, results[i] ?? [])))
      return results.reduce((sum, rows) => sum + rows.length, 0)
    } catch (error) {
      reconciler.soon()
      throw error
    } finally {
      for (const { lane } of asked) {
        lane.claiming = false
        lanes.retire(lane)
      }
    }
  }

  const fill = (lane: Lane, rows: readonly Taken[]) => {
    const claimed = rows.filter(hasContent)
    for (const row of rows) if (!hasContent(row)) log.error(`Message ${row.id} has no content and cannot be sent`)
    sends.add(lane, claimed)
  }

  return {
    step() {
      const made = step()
      stepping = made.catch(() => {
        // The loop that asked for it tells.
      })
      return made
    },
    hint,
    runNow(tenantId) {
      const now = clock.now()
      if (tenantId === null) runNowAll = now
      else runNowTenants.set(tenantId, now)
      for (const lane of lanes.all()) {
        lane.tickAt = 0
        lanes.call(lane)
      }
      discovery.soon()
    },
    async drain(graceMs) {
      draining = true
      await sends.drain(stepping, graceMs)
    },
    abandon: sends.abandon,
    stats() {
      return { inFlight: places.used, buffered: sends.waiting, lanes: lanes.size }
    },
  }
}
