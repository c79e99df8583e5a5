/**
 * Decides what is sent next: priority 0 of all accounts first, then accounts in rotation. A step claims for the lanes
 * that have room; sends run beside it and settle by themselves. Everything here is a cache of the database but the
 * claims themselves, which are under the lease.
 */

import { DatabaseUnavailable, type Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Step } from '../lib/loop.js'
import {
  type Claimed,
  type ClaimedMessage,
  type ClaimRequest,
  claimableSql,
  claimDue,
  loadContent,
  loadContents,
} from '../queue/claim.js'
import { readyAccounts } from '../queue/discover.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import { nextDue, readyDue } from '../queue/due.js'
import type { Lease } from '../queue/lease.js'
import type { Outcome } from '../queue/outcome.js'
import { nextTransition, type RetryPolicy, type Transition } from '../queue/transition.js'
import type { MailTransport } from '../smtp/transport.js'
import { isHeld, isSending, mayBegin, type Permissions, requestFor } from './admission.js'
import { type DeliverDeps, deliver, HUNG, type Sending } from './deliver.js'
import { type Lane, type Learned, learn, newLane, spare, wanted, widthOf } from './lane.js'
import { createPlaces, type Place } from './places.js'
import { giveBackUnknown } from './reconcile.js'
import type { Lookup, Settings } from './settings.js'
import type { Settler } from './settler.js'

export interface DispatchOptions {
  readonly maxConcurrentSends: number
  readonly batchSizePerAccount: number
  readonly maxRetries: number
  readonly retryDelaysMs: readonly number[]
  readonly slowSendMs: number
  readonly leaseMs: number
  /** Dispatch only what run-now asked for. */
  readonly testMode: boolean
}

/** What others are told; metrics, log, reports and pauses hang on here. */
export interface DispatchEvents {
  attempted(claimed: ClaimedMessage, outcome: Outcome, durationMs: number): void
  settled(claimed: ClaimedMessage, transition: Transition, outcome: Outcome): void
  /** A claim whose worker ended, or whose result was refused, after its final dot may have left. */
  leftInDoubt(claimed: Claimed, transition: Transition): void
  /** The server will not have this account now. Resolves when the pause is recorded. */
  accountFailed(lookup: Lookup, text: string, code: string | null): Promise<void>
  /** A transaction went well after a probe had ended the account's pause. */
  accountWorks(lookup: Lookup): Promise<void>
  /** The account was deleted while messages of it were claimed; they are back in the queue. */
  accountGone(accountKey: number): Promise<void>
  /** A window is full and messages wait that the request would have taken; answers when to look again, epoch ms. */
  limited(lookup: Lookup, request: ClaimRequest): Promise<number>
}

export interface DispatchDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
  readonly steadyNow: () => number
  readonly transport: MailTransport
  readonly journal: DoubtJournal
  readonly settings: Settings
  readonly settler: Settler
  readonly fetchAttachments: DeliverDeps['fetchAttachments']
  readonly offload: DeliverDeps['offload']
  readonly events: DispatchEvents
  /** The lease in force; null while there is none. */
  lease(): Lease | null
  /** False: no new claims (disk nearly full, draining). */
  mayClaim(): boolean
  wakeLoop(): void
}

export interface Dispatcher {
  step(): Promise<Step>
  hint(accountKeys: readonly number[], priority: number): void
  /** Everything due until now goes, whatever the rules say; null: for all tenants. */
  runNow(tenantId: string | null): void
  /** Forgets turns and ticks: settings changed. */
  reconsider(): void
  /** Gives back what waits, lets sends end for `graceMs`, then breaks them off. Resolves when all are settled. */
  drain(graceMs: number): Promise<void>
  /** The lease is lost: what is under way must not reach its final dot and its results count no more. */
  abandon(): void
  stats(): { inFlight: number; buffered: number; lanes: number }
}

const READY_CHUNK = 1_000
const SCAN_CHUNK = 2_000
const CLAIMS_PER_UNIT = 64
const LOOK_MS = 100
/** Lanes tried for a place that came free: the first may not be allowed to take it. */
const MOST_WOKEN = 4
/** Accounts whose window is remembered while they are idle. */
const MOST_LEARNED = 10_000
/** Characters of a content that is kept by a claim; a longer one is read when its message is sent. */
const MOST_AHEAD = 64 * 1024
/** Immediate messages claimed at once beyond what a lane has claimed already. */
const MOST_URGENT = 10
/** In which order starved lanes are tried. */
const TURNS = ['immediate', 'answering', 'troubled'] as const
const RECONCILE_MS = 30_000
const MARGIN_SHARE = 0.25
const MARGIN_MAX_MS = 10_000

/** A claim that was asked for. */
interface Asked {
  readonly lane: Lane
  readonly lookup: Lookup
  readonly request: ClaimRequest
  /** Of the lane, then. */
  readonly hints: number
}

export function createDispatcher(deps: DispatchDeps, options: DispatchOptions): Dispatcher {
  const { db, clock, log, random, steadyNow, transport, journal, settings, settler, events } = deps
  const lanes = new Map<number, Lane>()
  const places = createPlaces(options.maxConcurrentSends, options.slowSendMs, clock.monotonic)
  // On SQLite every change is made by this process, which hints at it; polling is a second safety there.
  const scanEveryMs = db.dialect === 'sqlite' ? 5_000 : 400
  const lookEveryMs = db.dialect === 'sqlite' ? 2_000 : LOOK_MS
  const marginMs = Math.min(options.leaseMs * MARGIN_SHARE, MARGIN_MAX_MS)
  const running = new Set<Promise<void>>()
  /** Sends under way, to be broken off. */
  const sendings = new Set<Sending>()
  let draining = false
  /** The step under way, or the last one. */
  let stepping: Promise<unknown> = Promise.resolve()
  /** Of accounts with nothing to send now, those that sent last at the end. */
  const learned = new Map<number, Learned>()
  /** Claims this process knows of, by row; what the database shows beyond them was claimed without our hearing of it. */
  const held = new Map<number, number>()
  /** Lanes that found no free place, longest waiting first. */
  const starved = new Set<Lane>()
  let reconcileAt = Number.NEGATIVE_INFINITY
  let lookAt = Number.NEGATIVE_INFINITY
  let hinted = true
  let cursor = 0
  let lastScan = Number.NEGATIVE_INFINITY
  let scheduled: number | null = 0
  let runNowAll = 0
  const runNowTenants = new Map<string, number>()

  const laneOf = (key: number): Lane => {
    let lane = lanes.get(key)
    if (lane === undefined) {
      lane = newLane(key, learned.get(key))
      learned.delete(key)
      lanes.set(key, lane)
    }
    return lane
  }

  const policyOf = (inDoubt: RetryPolicy['inDoubt']): RetryPolicy => ({
    maxRetries: options.maxRetries,
    retryDelaysMs: options.retryDelaysMs,
    inDoubt,
  })
  const contentOf = (seq: number) => loadContent(db, seq)
  const reconciling = { db, clock, log, journal, settings, settler, policyOf, leftInDoubt: events.leftInDoubt }

  const hint = (accountKeys: readonly number[], priority: number) => {
    hinted = true
    for (const key of accountKeys) {
      const lane = laneOf(key)
      lane.ready = true
      lane.hints += 1
      lane.priority = Math.min(lane.priority, priority)
    }
  }

  const step = async (): Promise<Step> => {
    const lease = deps.lease()
    if (lease === null || draining || !deps.mayClaim()) return { nextAt: null, again: false }
    await reconcile(lease)
    const moreDue = await look(lease)
    const moreFound = await discover()
    if (!isSending(settings)) return { nextAt: scheduled, again: moreDue }
    const claimed = await claimRound(lease)
    return { nextAt: nextTurn(), again: moreDue || moreFound || claimed > 0 }
  }

  /** What time or others changed: at most every LOOK_MS while busy, so that claims do not wait for it. */
  const look = async (lease: Lease): Promise<boolean> => {
    const now = clock.monotonic()
    const isDue = scheduled !== null && scheduled <= clock.now()
    if (!isDue && now < (hinted ? lookAt : lookAt - LOOK_MS + lookEveryMs)) return false
    lookAt = now + LOOK_MS
    hinted = false
    const [, next] = await Promise.all([settings.refresh(), isDue ? scheduled : nextDue(db)])
    scheduled = next
    await reviewBuffers(lease)
    makeRoom()
    if (scheduled === null || scheduled > clock.now()) return false
    // Scheduled and retried messages whose time has come.
    const due = await readyDue(db, clock.now(), READY_CHUNK)
    hint(due.accountKeys, due.priority)
    scheduled = due.more ? clock.now() : await nextDue(db)
    return due.more
  }

  /** Claims are made only in this loop, so none is under way here. */
  const reconcile = async (lease: Lease) => {
    const now = clock.monotonic()
    if (now < reconcileAt) return
    const keys = await giveBackUnknown(reconciling, lease, seq => held.has(seq))
    reconcileAt = now + RECONCILE_MS
    if (keys.length > 0) hint(keys, 0)
  }

  /** Polling for ready messages that nobody hinted at, a piece of the accounts at a time. */
  const discover = async (): Promise<boolean> => {
    const now = clock.monotonic()
    if (cursor === 0 && now - lastScan < scanEveryMs) return false
    if (cursor === 0) lastScan = now
    const found = await readyAccounts(db, cursor, SCAN_CHUNK)
    for (const { accountKey, priority } of found) hint([accountKey], priority)
    cursor = found.length === SCAN_CHUNK ? (found.at(-1)?.accountKey ?? 0) : 0
    return cursor !== 0
  }

  const claimRound = async (lease: Lease): Promise<number> => {
    const candidates = [...lanes.values()].filter(lane => lane.ready && !lane.claiming)
    // Immediate ones of all accounts first; the order of the map is the rotation.
    candidates.sort((a, b) => Number(a.priority > 0) - Number(b.priority > 0))
    let total = 0
    for (let i = 0; i < candidates.length; i += CLAIMS_PER_UNIT) {
      const room = places.free + options.batchSizePerAccount - bufferedTotal()
      if (room <= 0 || draining) break
      total += await claimFor(lease, candidates.slice(i, i + CLAIMS_PER_UNIT), room)
    }
    return total
  }

  const bufferedTotal = () => {
    let sum = 0
    for (const lane of lanes.values()) sum += lane.buffer.length
    return sum
  }

  const claimFor = async (lease: Lease, candidates: readonly Lane[], room: number): Promise<number> => {
    const lookups = await settings.get(candidates.map(lane => lane.key))
    const now = clock.now()
    const asked: Asked[] = []
    for (const lane of candidates) {
      const lookup = lookups.get(lane.key)
      const request = lookup === undefined ? null : ask(lane, lookup, now, room)
      if (request === null || lookup === undefined) {
        if (lookup === undefined || isHeld(lookup)) lane.ready = false
        continue
      }
      room -= request.limit
      asked.push({ lane, lookup, request, hints: lane.hints })
      lane.claiming = true
      // To the back of the rotation.
      lanes.delete(lane.key)
      lanes.set(lane.key, lane)
      if (room <= 0) break
    }
    if (asked.length === 0) return 0
    try {
      const results = await claimDue(
        db,
        lease.id,
        steadyNow(),
        asked.map(each => each.request),
      )
      await fill(asked.map((each, i) => ({ lane: each.lane, rows: results[i] ?? [] })))
      for (const [i, each] of asked.entries()) await afterClaim(each, results[i]?.length ?? 0)
      return results.reduce((sum, rows) => sum + rows.length, 0)
    } catch (error) {
      reconcileAt = Number.NEGATIVE_INFINITY
      throw error
    } finally {
      for (const { lane } of asked) lane.claiming = false
      // Whatever failed above: what is in the buffers by now must not wait for another claim.
      for (const { lane, lookup } of asked) pump(lane, lookup)
    }
  }

  /** Fewer than asked: either nothing more is ready, or a limit or a tick stands before the rest. */
  const afterClaim = async ({ lane, lookup, request, hints }: Asked, got: number) => {
    if (got === request.limit) return
    if (lookup.limits.length > 0 && (await isWaiting(request))) {
      lane.notBefore = await events.limited(lookup, request)
      return
    }
    // No immediate ones are left, unless one came meanwhile.
    if (lane.hints === hints) lane.priority = 3
    if (request.dueBy === null && request.maxPriority === 3 && lane.hints === hints) lane.ready = false
  }

  const permissionsOf = ({ account, tenant }: Lookup, now: number): Permissions => ({
    now,
    batchSize: account.batchSize ?? options.batchSizePerAccount,
    testMode: options.testMode,
    asked: Math.max(runNowAll, runNowTenants.get(tenant.id) ?? 0),
  })

  /** null: nothing may be claimed for this lane now. */
  const ask = (lane: Lane, lookup: Lookup, now: number, room: number): ClaimRequest | null => {
    const { account } = lookup
    if (isHeld(lookup) || lane.notBefore > now) return null
    const permissions = permissionsOf(lookup, now)
    const width = widthOf(lane, account.maxConnections, clock.monotonic(), options.slowSendMs)
    lane.server = `${account.host}:${account.port}`
    // Claimed only when it can be sent: what waits behind a server in trouble stays where others and people can reach it.
    const favoured = lane.inFlight === 0 || lane.priority === 0
    const standing = places.standing(lane.server)
    if (standing !== 'good') {
      if (lane.buffer.length > 0) return null
      // An immediate one is claimed before its place is free: until the claim came back, others would have taken it.
      const ahead = lane.priority === 0 && standing === 'new'
      if (!ahead && !places.couldTake(lane.server, favoured)) {
        starved.add(lane)
        return null
      }
    }
    const limit = Math.min(room, wanted(lane, width, permissions.batchSize))
    if (limit > 0) return requestFor(lane, lookup, limit, permissions)
    // Immediate ones go before what the lane has claimed already.
    const urgent = lane.priority === 0 && lane.buffer.length > 0 && lane.buffer[0]!.priority > 0 && room > 0
    if (!urgent) return null
    const request = requestFor(lane, lookup, Math.min(room, MOST_URGENT), permissions)
    return request === null ? null : { ...request, maxPriority: 0, dueBy: null }
  }

  const isWaiting = async (request: ClaimRequest): Promise<boolean> => {
    const params: (string | number)[] = []
    const rows = await db.read({ sql: `select 1 from messages where ${claimableSql(request, params)} limit 1`, params })
    return rows.length > 0
  }

  /** Contents follow in one query for all that was claimed. */
  const fill = async (taken: readonly { lane: Lane; rows: readonly Claimed[] }[]) => {
    const seqs = taken.flatMap(each => each.rows.map(row => row.seq))
    if (seqs.length === 0) return
    const contents = await retryWhileAway(() => loadContents(db, seqs, MOST_AHEAD))
    for (const { lane, rows } of taken) {
      for (const row of rows) {
        const content = contents.get(row.seq)
        if (content === undefined) {
          log.error(`Message ${row.id} has no content and cannot be sent`)
          continue
        }
        held.set(row.seq, row.claim)
        lane.buffer.push({ ...row, ...content })
      }
      if (rows.length > 0) lane.buffer.sort((a, b) => a.priority - b.priority || a.seq - b.seq)
    }
  }

  const retryWhileAway = async <T>(work: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (!(error instanceof DatabaseUnavailable) || draining) throw error
        await clock.sleep(500)
      }
    }
  }

  /** Starts as many of the lane's sends as it may have. */
  const pump = (lane: Lane, lookup: Lookup) => {
    const { account } = lookup
    const permissions = permissionsOf(lookup, clock.now())
    while (lane.buffer.length > 0 && !draining && isSending(settings)) {
      if (lane.inFlight >= widthOf(lane, account.maxConnections, clock.monotonic(), options.slowSendMs)) break
      const claimed = lane.buffer[0]!
      // An operator has spoken since it was claimed: the next review gives it back.
      if (!mayBegin(claimed, lookup, permissions)) break
      const sending: Sending = { abort: new AbortController(), isBegun: false }
      const favoured = lane.inFlight === 0 || claimed.priority === 0
      const place = places.take(lane.server, favoured, () => breakOff(sending))
      if (place === null) {
        starved.add(lane)
        break
      }
      lane.buffer.shift()
      lane.inFlight += 1
      sendings.add(sending)
      const send = sendOne(lane, lookup, claimed, place, sending).finally(() => {
        sendings.delete(sending)
        lane.inFlight -= 1
        place.give(null)
        running.delete(send)
        after(lane)
      })
      running.add(send)
    }
  }

  /** Only while nothing but commands has gone out: a content that is being sent makes progress, a dot is in doubt. */
  const breakOff = (sending: Sending): boolean => {
    if (sending.isBegun || sending.abort.signal.aborted) return false
    sending.abort.abort(HUNG)
    return true
  }

  /** A server that hangs gives up its place to one that waits; to an immediate message sooner. */
  const makeRoom = () => {
    let made = 0
    for (const lane of starved) {
      if (made >= MOST_WOKEN) break
      const turn = turnOf(lane)
      if (turn === 'troubled') continue
      const isUrgent = turn === 'immediate' || lane.priority === 0
      if (places.breakLongest(isUrgent ? options.slowSendMs / 6 : options.slowSendMs)) made += 1
    }
  }

  /**
   * A place came free: for immediate messages, then those whose server answers, then the others; among them whoever
   * waits longest. Then the lane's own next.
   */
  const after = (lane: Lane) => {
    let woken = 0
    for (const turn of TURNS) {
      for (const waiting of starved) {
        if (woken >= MOST_WOKEN) break
        if (turnOf(waiting) !== turn) continue
        starved.delete(waiting)
        woken += 1
        if (waiting.buffer.length > 0) void repump(waiting)
        else deps.wakeLoop()
      }
    }
    if (lane.buffer.length > 0) void repump(lane)
    if (lane.ready && lane.buffer.length < options.batchSizePerAccount / 2) deps.wakeLoop()
    else if (!lane.ready && lane.buffer.length === 0 && lane.inFlight === 0) retire(lane)
  }

  const retire = ({ key, window, pace }: Lane) => {
    lanes.delete(key)
    learned.set(key, { window, pace })
    const [longest] = learned.keys()
    if (learned.size > MOST_LEARNED && longest !== undefined) learned.delete(longest)
  }

  const turnOf = (lane: Lane): (typeof TURNS)[number] => {
    if (places.standing(lane.server) === 'bad') return 'troubled'
    return lane.buffer[0]?.priority === 0 ? 'immediate' : 'answering'
  }

  /**
   * What was claimed ahead and cannot go now goes back, to where others and people can reach it: its server began to hang
   * or became slow, somebody suspended, paused or deleted, a rule's window closed.
   */
  const reviewBuffers = async (lease: Lease) => {
    const full = [...lanes.values()].filter(lane => lane.buffer.length > 0)
    if (full.length === 0) return
    const lookups = await settings.get(full.map(lane => lane.key))
    const now = clock.now()
    for (const lane of full) {
      const lookup = lookups.get(lane.key)
      if (lookup === undefined) {
        running.add(abandonLane(lane, lease))
        continue
      }
      const permissions = permissionsOf(lookup, now)
      const stays =
        places.standing(lane.server) === 'bad' || !isSending(settings) ? 0 : spare(lane, permissions.batchSize)
      let kept = 0
      giveBack(lane, lease, lookup, claimed => {
        const isKept = kept < stays && mayBegin(claimed, lookup, permissions)
        if (isKept) kept += 1
        return !isKept
      })
      // A window opens by itself while an answer is waited for.
      pump(lane, lookup)
    }
  }

  /** The account is gone: what was claimed goes back without its limits, and ends with the rest of its queue. */
  const abandonLane = (lane: Lane, lease: Lease): Promise<void> => {
    const waiting = lane.buffer
    lane.buffer = []
    const done = (async () => {
      for (const claimed of waiting) held.delete(claimed.seq)
      await Promise.all(
        waiting.map(claimed => {
          const outcome = interrupted(claimed.envelope.to)
          const transition = nextTransition(
            claimed,
            claimed.envelope.to,
            outcome,
            policyOf('retry'),
            clock.now(),
            random,
          )
          return settler.add(lease, { transition, claim: claimed.claim, tenantId: claimed.tenantId, limits: [] })
        }),
      )
      await events.accountGone(lane.key)
    })()
      .catch(error => log.warning(`The queue of a deleted account waits: ${(error as Error).message}`))
      .finally(() => running.delete(done))
    return done
  }

  const repump = async (lane: Lane) => {
    const lookup = (await settings.get([lane.key]).catch(() => null))?.get(lane.key)
    if (lookup !== undefined) pump(lane, lookup)
  }

  const sendOne = async (
    lane: Lane,
    lookup: Lookup,
    claimed: ClaimedMessage,
    place: Place,
    sending: Sending,
  ): Promise<void> => {
    const lease = deps.lease()
    // Its claim was under a lease that is lost: the rescuer has it.
    if (lease === null || lease.id !== claimed.lease) return
    const start = { at: clock.monotonic() }
    lane.starts.add(start)
    let outcome: Outcome
    try {
      const { fetchAttachments, offload } = deps
      const sources = { fetchAttachments, offload, loadContent: contentOf }
      const delivering = { clock, log, transport, journal, lease, marginMs, ...sources }
      outcome = await deliver(claimed, lookup, delivering, sending)
    } catch (error) {
      log.error(`Message ${claimed.id} could not be handled: ${(error as Error).message}`)
      outcome = unexpected(claimed)
    } finally {
      lane.starts.delete(start)
    }
    const durationMs = clock.monotonic() - start.at
    // The account's own trouble (a refused login) says nothing of the server; a stop of ours says nothing at all.
    place.give(outcome.interrupted || outcome.failure?.scope === 'account' ? null : outcome.failure === null)
    learn(lane, durationMs, outcome.failure === null, lookup.account.maxConnections, options.slowSendMs)
    events.attempted(claimed, outcome, durationMs)
    await tellAccount(lane, lease, lookup, outcome)
    await conclude(lease, lookup, claimed, outcome)
  }

  /** The outcome is settled whatever becomes of this. */
  const tellAccount = async (lane: Lane, lease: Lease, lookup: Lookup, { failure, attempt }: Outcome) => {
    const { account } = lookup
    try {
      if (failure?.scope === 'account') {
        await events.accountFailed(lookup, failure.text, failure.code)
        giveBack(lane, lease, lookup, () => true)
      } else if (account.trial !== null && failure === null && typeof attempt?.remote === 'string') {
        await events.accountWorks(lookup)
      }
    } catch (error) {
      log.warning(`The state of account ${account.id} could not be recorded: ${(error as Error).message}`)
    }
  }

  const conclude = async (lease: Lease, lookup: Lookup, claimed: ClaimedMessage, outcome: Outcome) => {
    const transition = nextTransition(
      claimed,
      claimed.envelope.to,
      outcome,
      policyOf(lookup.account.inDoubt),
      clock.now(),
      random,
    )
    const settled = await settler.add(lease, {
      transition,
      claim: claimed.claim,
      tenantId: claimed.tenantId,
      limits: lookup.limits,
    })
    // Another claim of the same row may be under way by now.
    if (held.get(claimed.seq) === claimed.claim) held.delete(claimed.seq)
    if (settled === 'lost') {
      log.warning(`The result of message ${claimed.id} came after its lease was lost and was not recorded`)
      return
    }
    if (settled === 'failed') {
      log.error(`The result of message ${claimed.id} could not be recorded: it goes back, in doubt if it was sent`)
      reconcileAt = Number.NEGATIVE_INFINITY
      return
    }
    if (transition.stage === 1) hint([claimed.accountKey], claimed.priority)
    // A reserved slot was given back unused: the next may have its turn before the projected one.
    if (transition.used === 0 && lookup.limits.length > 0) laneOf(claimed.accountKey).notBefore = 0
    if (transition.stage === 2 && (scheduled === null || transition.dueAt < scheduled)) scheduled = transition.dueAt
    events.settled(claimed, transition, outcome)
  }

  /** Of what the lane claimed ahead these go back to their place, as if never claimed. */
  const giveBack = (lane: Lane, lease: Lease, lookup: Lookup, which: (claimed: ClaimedMessage) => boolean) => {
    const [back, stays] = [[], []] as [ClaimedMessage[], ClaimedMessage[]]
    for (const claimed of lane.buffer) (which(claimed) ? back : stays).push(claimed)
    lane.buffer = stays
    for (const claimed of back) {
      const done = conclude(lease, lookup, claimed, interrupted(claimed.envelope.to)).finally(() =>
        running.delete(done),
      )
      running.add(done)
    }
  }

  const nextTurn = (): number | null => {
    let next = scheduled
    for (const lane of lanes.values()) {
      if (!lane.ready || lane.claiming) continue
      const at = Math.max(lane.notBefore, lane.tickAt)
      // A turn already past is waiting for room, which wakes the loop by itself.
      if (at > clock.now() && (next === null || at < next)) next = at
    }
    return next
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
      for (const lane of lanes.values()) lane.tickAt = 0
      lastScan = Number.NEGATIVE_INFINITY
    },
    reconsider() {
      for (const lane of lanes.values()) {
        lane.notBefore = 0
        lane.tickAt = 0
      }
      lastScan = Number.NEGATIVE_INFINITY
      scheduled = 0
    },
    async drain(graceMs) {
      draining = true
      // A claim under way is waited for: what it brings goes back too.
      await Promise.race([stepping, clock.sleep(graceMs)])
      const lease = deps.lease()
      const lookups = await settings.get([...lanes.keys()]).catch(() => new Map<number, Lookup>())
      for (const lane of lanes.values()) {
        const lookup = lookups.get(lane.key)
        if (lease === null || lane.buffer.length === 0) continue
        if (lookup !== undefined) giveBack(lane, lease, lookup, () => true)
        else running.add(abandonLane(lane, lease))
      }
      const ended = () => Promise.allSettled([...running])
      await Promise.race([ended(), clock.sleep(graceMs)])
      for (const { abort } of sendings) abort.abort()
      await Promise.race([ended(), clock.sleep(2_000)])
      await Promise.race([settler.idle(), clock.sleep(2_000)])
    },
    abandon() {
      for (const { abort } of sendings) abort.abort()
      held.clear()
      for (const lane of lanes.values()) lane.buffer = []
    },
    stats() {
      return { inFlight: places.used, buffered: bufferedTotal(), lanes: lanes.size }
    },
  }
}

function interrupted(to: readonly string[]): Outcome {
  const verdicts = to.map(address => ({ address, verdict: 'open' as const, code: null, text: null }))
  return { verdicts, failure: null, inDoubt: false, reachedData: false, interrupted: true, attempt: null }
}

/** A bug of ours: tried again like a broken session, so that it neither loses the message nor spins. */
function unexpected(claimed: ClaimedMessage): Outcome {
  const failure = { scope: 'session' as const, offered: true, code: 'internal_error', text: 'internal error' }
  return { ...interrupted(claimed.envelope.to), interrupted: false, failure }
}
