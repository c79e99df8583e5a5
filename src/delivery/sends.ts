/**
 * What was claimed and has not ended: begins as many messages of each lane as it may have at once, shares out the places that
 * come free, breaks off what hangs. What waits, and goes back, is in `claimed-ahead.ts`.
 */

import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import { takeOut } from '../lib/take-out.js'
import type { ClaimedMessage } from '../queue/claim.js'
import { loadContent } from '../queue/claim.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import type { Lease } from '../queue/lease.js'
import type { Outcome } from '../queue/outcome.js'
import type { Transition } from '../queue/transition.js'
import type { MailTransport } from '../smtp/transport.js'
import type { AttemptSpan, Tracer } from '../tracing/tracer.js'
import { isSending, mayBegin, type Permissions } from './admission.js'
import { createClaimedAhead } from './claimed-ahead.js'
import { type Afterwards, createConclusions, unexpected } from './conclude.js'
import { type DeliverDeps, deliver, HUNG, letterAhead, type Sending } from './deliver.js'
import { type Ahead, isQuick, type Lane, LONGEST_TURN_MS, learn, MOST_IN_TURN, spare, wanted, widthOf } from './lane.js'
import type { Lanes } from './lanes.js'
import type { Place, Places } from './places.js'
import type { Lookup, Settings } from './settings.js'
import type { Settler } from './settler.js'
import { createWaitingLanes } from './waiting-lanes.js'

export interface SendOptions {
  readonly batchSizePerAccount: number
  readonly slowSendMs: number
  readonly leaseMs: number
}

/** What others are told of sends; metrics, log, reports and pauses hang on here. */
export interface SendEvents {
  attempted(claimed: ClaimedMessage, outcome: Outcome, durationMs: number): void
  settled(lookup: Lookup, claimed: ClaimedMessage, transition: Transition, outcome: Outcome): void
  /** The server will not have this account now. Resolves when the pause is recorded. */
  accountFailed(lookup: Lookup, text: string, code: string | null): Promise<void>
  /** A transaction went well after a probe had ended the account's pause. */
  accountWorks(lookup: Lookup): Promise<void>
  /** The account was deleted while messages of it were claimed; they are back in the queue. */
  accountGone(accountKey: number): Promise<void>
}

export interface SendDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
  readonly transport: MailTransport
  readonly journal: DoubtJournal
  readonly settings: Settings
  readonly settler: Settler
  readonly fetchAttachments: DeliverDeps['fetchAttachments']
  readonly offload: DeliverDeps['offload']
  readonly events: SendEvents
  readonly tracer: Tracer
  /** The lease in force; null while there is none. */
  lease(): Lease | null
  wakeLoop(): void
}

/** What sends share with the loop that claims for them. */
export interface Shared extends Afterwards {
  readonly lanes: Lanes
  readonly places: Places
  permissionsOf(lookup: Lookup, now: number): Permissions
}

export interface Sends {
  /** Takes what was claimed into its lane. */
  add(lane: Lane, claimed: readonly ClaimedMessage[]): void
  /** Starts as many of the lane's sends as it may have. */
  pump(lane: Lane, lookup: Lookup): void
  /** The lane is to be tried when a place comes free. */
  starve(lane: Lane): void
  /** A server that hangs gives up its place to one that waits. */
  makeRoom(): void
  /** Lanes wait for a place. */
  isCrowded(): boolean
  /** One of them for which a send that hangs would be broken off. */
  isRoomWanted(): boolean
  /** Gives back what was claimed ahead and cannot go now, and sends what can. */
  review(lease: Lease): Promise<void>
  /** Claims this process knows of; what the database shows beyond them was claimed without our hearing of it. */
  holds(seq: number): boolean
  /** How many they are, one with a long content counted more than once. */
  readonly held: number
  /** Claimed and not yet being sent, in all lanes. */
  readonly waiting: number
  /** Starts none any more, gives back what waits and what `claiming` brings, lets sends end, then breaks them off. */
  drain(claiming: Promise<unknown>, graceMs: number): Promise<void>
  /** The lease is lost: what is under way must not reach its final dot, and nothing that waits is ours. */
  abandon(): void
}

/** Lanes tried for a place that came free: the first may not be allowed to take it. */
const MOST_WOKEN = 4
const MARGIN_SHARE = 0.25
const MARGIN_MAX_MS = 10_000

/** Sends that follow each other over one connection and in one place. */
interface Turn {
  /** Monotonic. */
  readonly since: number
  readonly sends: number
}

interface Sent extends Sending {
  readonly turn: Turn
  /** Leaves with its final dot. */
  following: Ahead | null
}

export function createSends(deps: SendDeps, options: SendOptions, shared: Shared): Sends {
  const { db, clock, log, transport, journal, settings, settler, events, tracer } = deps
  const { lanes, places, permissionsOf } = shared
  const claims = createConclusions(deps, shared)
  const claimedAhead = createClaimedAhead(deps, claims)
  const marginMs = Math.min(options.leaseMs * MARGIN_SHARE, MARGIN_MAX_MS)
  /** Sends that are not settled yet. */
  let running = 0
  /** Called when the last of them is. */
  let onSettled = () => {}
  /** Of sends that have ended, not aborted and listened to by nobody: a new one costs 10 µs with its first listener. */
  const spareAborts: AbortController[] = []
  /** For a place. */
  const starved = createWaitingLanes(places)
  let draining = false

  const { fetchAttachments, offload } = deps
  const contentOf = (seq: number) => loadContent(db, seq)
  const delivering = { clock, log, transport, journal, marginMs, fetchAttachments, offload, loadContent: contentOf }

  const pump = (lane: Lane, lookup: Lookup) => {
    const { account } = lookup
    let permissions: Permissions | null = null
    let isStarved = false
    while (lane.buffer.length > 0 && !draining && isSending(settings)) {
      const since = clock.monotonic()
      if (lane.sends.length >= widthOf(lane, account.maxConnections, since, options.slowSendMs)) break
      const claimed = lane.buffer[0]!
      // An operator has spoken since it was claimed: the next review gives it back.
      permissions ??= permissionsOf(lookup, clock.now())
      if (!mayBegin(claimed, lookup, permissions)) break
      const sending = newSending(null, since, { since, sends: 1 })
      const place = placeFor(lane, claimed, sending)
      if (place === null) {
        isStarved = true
        break
      }
      // Who got a place waits behind the others for the next; who got none keeps its turn.
      starved.delete(lane)
      lane.buffer.shift()
      start(lane, lookup, claimed, place, sending)
    }
    if (isStarved) starved.add(lane)
    else starved.delete(lane)
  }

  const newSending = (letter: Sending['letter'], since: number, turn: Turn): Sent => ({
    since,
    abort: spareAborts.pop() ?? new AbortController(),
    letter,
    turn,
    isBegun: false,
    isAsked: false,
    following: null,
  })

  const placeFor = (lane: Lane, claimed: ClaimedMessage, sending: Sending): Place | null => {
    const favoured = (lane.sends.length === 0 && !lane.isHeldUp) || claimed.priority === 0
    return places.take(lane.server, favoured, () => breakOff(sending))
  }

  const start = (lane: Lane, lookup: Lookup, claimed: ClaimedMessage, place: Place, sending: Sent) => {
    sending.place = place
    lane.sends.push(sending)
    running += 1
    void sendOne(lane, lookup, claimed, place, sending).then(endOne, breakOne)
  }

  const endOne = () => {
    running -= 1
    if (running === 0) onSettled()
  }

  /** Nobody knows why; a stop must not wait for it. */
  const breakOne = (error: unknown) => {
    log.error(`A send could not be ended: ${(error as Error).stack}`)
    endOne()
  }

  /** Resolves when no send is under way or waits for its result to be settled. */
  const settledAll = () =>
    new Promise<void>(resolve => {
      if (running === 0) resolve()
      else onSettled = resolve
    })

  const breakOffAll = () => {
    for (const lane of lanes.all()) for (const { abort } of lane.sends) abort.abort()
  }

  /**
   * The lane's next message, to follow over the connection of one that is at its final dot: as the next pump would take
   * it, unless another lane waits and the connection has had its turn.
   */
  const takeAhead = (lane: Lane, lookup: Lookup, lease: Lease, turn: Turn): Ahead | null => {
    const { account } = lookup
    const [claimed] = lane.buffer
    if (claimed === undefined || draining || !isSending(settings)) return null
    if (!starved.isEmpty() && isOver(turn)) return null
    // On trial one message tells for all; and what has changed is to be seen by the next.
    if (account.trial !== null || !settings.isCurrent(lookup)) return null
    const now = clock.now()
    if (claimed.lease !== lease.id || !mayBegin(claimed, lookup, permissionsOf(lookup, now))) return null
    if (lane.sends.length > widthOf(lane, account.maxConnections, clock.monotonic(), options.slowSendMs)) return null
    const letter = letterAhead(claimed, lookup, now)
    if (letter === null) return null
    const ahead = { claimed, letter }
    lane.buffer.shift()
    lane.ahead.push(ahead)
    // Its dot comes with the reply that is awaited now. Should the process die before, it is in doubt without having been
    // sent: that must not need a person, nor cost it its last attempt, and takes no longer than a moment.
    if (account.inDoubt === 'retry' && claimed.attempts === 0 && isQuick(lane)) journal.expect(lease.id, claimed)
    return ahead
  }

  /** Its turn has come: the message before has ended well, and leaves its place to it. */
  const follow = (lane: Lane, lookup: Lookup, { claimed, letter }: Ahead, place: Place, { since, sends }: Turn) => {
    const sending = newSending(letter, clock.monotonic(), { since, sends: sends + 1 })
    start(
      lane,
      lookup,
      claimed,
      place.passOn(() => breakOff(sending)),
      sending,
    )
  }

  /** Only while nothing but commands has gone out: a content that is being sent makes progress, a dot is in doubt. */
  const breakOff = (sending: Sending): boolean => {
    if (sending.isBegun || sending.abort.signal.aborted) return false
    sending.abort.abort(HUNG)
    return true
  }

  /** While others wait for a place, a connection keeps its own for a few messages: anew for each it would hardly stay open. */
  const isOver = ({ since, sends }: Turn) =>
    starved.isUrgent() || sends >= MOST_IN_TURN || clock.monotonic() - since > LONGEST_TURN_MS

  /** To an immediate message sooner than to others. */
  const makeRoom = () => {
    let made = 0
    for (const { isImmediate } of starved.worthRoom()) {
      if (made >= MOST_WOKEN) break
      if (places.breakLongest(isImmediate ? options.slowSendMs / 6 : options.slowSendMs)) made += 1
    }
  }

  /** A place came free: for those that wait, then for the lane's own next. */
  const after = (lane: Lane, lookup: Lookup) => {
    const woken = starved.first(MOST_WOKEN)
    for (const waiting of woken) {
      if (waiting.buffer.length > 0) {
        void repump(waiting)
        continue
      }
      starved.delete(waiting)
      lanes.call(waiting)
      deps.wakeLoop()
    }
    if (lane.buffer.length > 0) {
      // Not at once where another was woken, which would find the place taken.
      if (woken.length === 0 && settings.isCurrent(lookup)) pump(lane, lookup)
      else void repump(lane)
    }
    if (!lane.frontier.isEmpty && hasRoom(lane, lookup)) deps.wakeLoop()
    else lanes.retire(lane)
  }

  const hasRoom = (lane: Lane, lookup: Lookup): boolean => {
    const width = widthOf(lane, lookup.account.maxConnections, clock.monotonic(), options.slowSendMs)
    const serverPace = lane.pace === 0 ? places.pace(lane.server) : 0
    return wanted(lane, width, lookup.account.batchSize ?? options.batchSizePerAccount, serverPace) > 0
  }

  /**
   * To where others and people can reach it: its server began to hang or became slow, somebody suspended, paused or
   * deleted, a rule's window closed.
   */
  const review = async (lease: Lease) => {
    const full = claimedAhead.lanes()
    if (full.length === 0) return
    const lookups = await settings.get(full.map(lane => lane.key))
    const now = clock.now()
    for (const lane of full) {
      const lookup = lookups.get(lane.key)
      if (lookup === undefined) {
        claimedAhead.giveBackOrphans(lane, lease)
        continue
      }
      const permissions = permissionsOf(lookup, now)
      const stays =
        places.standing(lane.server) === 'bad' || !isSending(settings) ? 0 : spare(lane, permissions.batchSize)
      let kept = 0
      claimedAhead.giveBack(lane, lease, lookup, claimed => {
        const isKept = kept < stays && mayBegin(claimed, lookup, permissions)
        if (isKept) kept += 1
        return !isKept
      })
      // A window opens by itself while an answer is waited for.
      pump(lane, lookup)
    }
  }

  const repump = async (lane: Lane) => {
    const lookup = (await settings.get([lane.key]).catch(() => null))?.get(lane.key)
    if (lookup !== undefined) pump(lane, lookup)
  }

  /** From the first word to the server until the result is settled. */
  const sendOne = async (
    lane: Lane,
    lookup: Lookup,
    claimed: ClaimedMessage,
    place: Place,
    sending: Sent,
  ): Promise<void> => {
    const lease = deps.lease()
    let outcome: Outcome
    let span: AttemptSpan
    let hasLeft = false
    /** Its turn ends here; the message whose envelope is out already takes the place in the same moment. */
    const leave = (good: boolean | null, goesOn: boolean) => {
      if (hasLeft) return
      hasLeft = true
      takeOut(lane.sends, sending)
      // A source of attachments may still listen to it.
      const isPlain = claimed.content !== null && claimed.content.attachments === undefined
      if (isPlain && !sending.abort.signal.aborted) spareAborts.push(sending.abort)
      // Unless it was taken back meanwhile.
      const { following } = sending
      const next = following !== null && takeOut(lane.ahead, following) ? following : null
      if (next !== null && goesOn && deps.lease() === lease) return follow(lane, lookup, next, place, sending.turn)
      place.give(good)
      if (next === null || lease === null) return
      claimedAhead.forgo(lease, lookup, next)
    }
    try {
      // Of claims that were answered after their lease was lost; what was there by then is forgotten.
      if (lease === null || lease.id !== claimed.lease) return claims.letGo(claimed)
      sending.next = () => {
        sending.following = takeAhead(lane, lookup, lease, sending.turn)
        return sending.following?.letter ?? null
      }
      span = tracer.attempt(claimed, lookup.account, claimed.trace)
      try {
        outcome = await deliver(claimed, lookup, lease, delivering, sending)
      } catch (error) {
        log.error(`Message ${claimed.id} could not be handled: ${(error as Error).message}`)
        outcome = unexpected(claimed.envelope.to)
      }
      span.end(outcome)
      const durationMs = clock.monotonic() - sending.since
      leave(learnFrom(outcome, durationMs, lane, lookup, sending), outcome.failure === null && !outcome.interrupted)
      events.attempted(claimed, outcome, durationMs)
      if (outcome.failure !== null || lookup.account.trial !== null) await tellAccount(lane, lease, lookup, outcome)
    } finally {
      leave(null, false)
      after(lane, lookup)
      // It is held until its result is settled, which takes longer than most sends; grown old by then, and dead, it would hold
      // on to whatever it refers to until the next full collection: its own mail, and the one that followed.
      sending.following = null
      sending.letter = null
      sending.next = undefined
    }
    await claims.conclude(lease, lookup, claimed, outcome, span.context)
  }

  /** How the server stands after it: good or not, null when it tells nothing. */
  const learnFrom = (
    outcome: Outcome,
    durationMs: number,
    lane: Lane,
    lookup: Lookup,
    sending: Sent,
  ): boolean | null => {
    // The account's own trouble (a refused login) says nothing of the server; a stop of ours, or the trouble of an
    // attachment's source, nothing at all.
    const isSilent = outcome.interrupted || !sending.isAsked || outcome.failure?.scope === 'account'
    const isGood = outcome.failure === null
    // A source that hangs narrows its account as a server does: what else it has to send would only fill the places.
    lane.isHeldUp = !sending.isAsked && durationMs >= options.slowSendMs / 2
    learn(lane, durationMs, isGood && !lane.isHeldUp, lookup.account.maxConnections, options.slowSendMs)
    return isSilent ? null : isGood
  }

  /** The outcome is settled whatever becomes of this. */
  const tellAccount = async (lane: Lane, lease: Lease, lookup: Lookup, { failure, attempt }: Outcome) => {
    const { account } = lookup
    try {
      if (failure?.scope === 'account') {
        await events.accountFailed(lookup, failure.text, failure.code)
        claimedAhead.giveBack(lane, lease, lookup, () => true)
      } else if (account.trial !== null && failure === null && typeof attempt?.remote === 'string') {
        await events.accountWorks(lookup)
      }
    } catch (error) {
      log.warning(`The state of account ${account.id} could not be recorded: ${(error as Error).message}`)
    }
  }

  return {
    add: claimedAhead.add,
    pump,
    starve: starved.add,
    makeRoom,
    isCrowded: () => !starved.isEmpty(),
    isRoomWanted: () => starved.worthRoom().next().done === false,
    review,
    holds: claims.holds,
    get held() {
      return claims.held
    },
    get waiting() {
      return claimedAhead.count
    },
    async drain(claiming, graceMs) {
      draining = true
      // The same for all that is waited for: a database that does not answer takes the time of a stop once.
      const over = clock.sleep(graceMs)
      await Promise.race([claiming, over])
      const lease = deps.lease()
      const full = claimedAhead.lanes()
      const none: ReadonlyMap<number, Lookup> = new Map()
      const known = settings.get(full.map(lane => lane.key)).catch(() => none)
      const lookups = await Promise.race([known, over.then(() => none)])
      for (const lane of full) {
        const lookup = lookups.get(lane.key)
        if (lease === null) continue
        if (lookup !== undefined) claimedAhead.giveBack(lane, lease, lookup, () => true)
        else claimedAhead.giveBackOrphans(lane, lease)
      }
      const ended = () => Promise.allSettled([settledAll(), ...claimedAhead.returning])
      await Promise.race([ended(), over])
      breakOffAll()
      await Promise.race([ended(), clock.sleep(2_000)])
      await Promise.race([settler.idle(), clock.sleep(2_000)])
    },
    abandon() {
      breakOffAll()
      claims.forget()
      claimedAhead.forget()
    },
  }
}
