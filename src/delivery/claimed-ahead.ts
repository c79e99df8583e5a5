/**
 * What the lanes have claimed and not begun to send: it waits in the order of the queue, and goes back to its place there
 * when it cannot go now.
 */
import type { Log } from '../lib/log.js'
import { takeOut } from '../lib/take-out.js'
import type { ClaimedMessage } from '../queue/claim.js'
import type { Lease } from '../queue/lease.js'
import type { MailTransport } from '../smtp/transport.js'
import type { Conclusions } from './conclude.js'
import type { Ahead, Lane } from './lane.js'
import type { Lookup } from './settings.js'

export interface ClaimedAheadDeps {
  readonly log: Log
  readonly transport: Pick<MailTransport, 'forgo'>
  readonly events: {
    accountGone(accountKey: number): Promise<void>
  }
}

export interface ClaimedAhead {
  /** Takes what was claimed into its lane. */
  add(lane: Lane, claimed: readonly ClaimedMessage[]): void
  /** Lanes with messages that wait. */
  lanes(): Lane[]
  /** How many messages wait, in all lanes. */
  readonly count: number
  /** Of what the lane claimed ahead these go back to their place, as if never claimed. */
  giveBack(lane: Lane, lease: Lease, lookup: Lookup, which: (claimed: ClaimedMessage) => boolean): void
  /** One that was taken out of its lane, its envelope out already: the connection it was to follow on ends. */
  forgo(lease: Lease, lookup: Lookup, ahead: Ahead): void
  /** The account is gone: what was claimed goes back without its limits, and ends with the rest of its queue. */
  giveBackOrphans(lane: Lane, lease: Lease): void
  /** The lease is lost: nothing that waits is ours. */
  forget(): void
  /** What is on its way back. */
  readonly returning: ReadonlySet<Promise<void>>
}

export function createClaimedAhead({ log, transport, events }: ClaimedAheadDeps, claims: Conclusions): ClaimedAhead {
  /** Lanes that claimed something; some of them have nothing left that waits. */
  const stocked = new Set<Lane>()
  const returning = new Set<Promise<void>>()

  const isHolding = (lane: Lane) => lane.buffer.length + lane.ahead.length > 0
  const holding = (): Lane[] => {
    for (const lane of stocked) if (!isHolding(lane)) stocked.delete(lane)
    return [...stocked]
  }

  /** Those of the lane whose envelope is out ahead of their turn: the connections they were to follow on end. */
  const takeBackAhead = (lane: Lane, which: (claimed: ClaimedMessage) => boolean): ClaimedMessage[] => {
    const back = lane.ahead.filter(({ claimed }) => which(claimed))
    for (const ahead of back) {
      takeOut(lane.ahead, ahead)
      transport.forgo(ahead.letter.mail)
    }
    return back.map(({ claimed }) => claimed)
  }

  /** To its place, as if never claimed; a server that was told DATA may have counted it. */
  const returnClaim = (lease: Lease, lookup: Lookup, claimed: ClaimedMessage, reachedData: boolean) => {
    const done = claims.putBack(lease, lookup, claimed, reachedData).finally(() => returning.delete(done))
    returning.add(done)
  }

  return {
    add(lane, claimed) {
      claims.hold(claimed)
      stocked.add(lane)
      lane.buffer.push(...claimed)
      lane.buffer.sort((a, b) => a.priority - b.priority || a.seq - b.seq)
    },
    lanes: holding,
    get count() {
      return holding().reduce((sum, lane) => sum + lane.buffer.length + lane.ahead.length, 0)
    },
    giveBack(lane, lease, lookup, which) {
      for (const claimed of takeBackAhead(lane, which)) returnClaim(lease, lookup, claimed, true)
      const [back, stays] = [[], []] as [ClaimedMessage[], ClaimedMessage[]]
      for (const claimed of lane.buffer) (which(claimed) ? back : stays).push(claimed)
      lane.buffer = stays
      for (const claimed of back) returnClaim(lease, lookup, claimed, false)
    },
    forgo(lease, lookup, { claimed, letter }) {
      transport.forgo(letter.mail)
      returnClaim(lease, lookup, claimed, true)
    },
    giveBackOrphans(lane, lease) {
      const waiting = [...takeBackAhead(lane, () => true), ...lane.buffer]
      lane.buffer = []
      const done = claims
        .putBackOrphans(lease, waiting)
        .then(() => events.accountGone(lane.key))
        .catch(error => log.warning(`The queue of a deleted account waits: ${(error as Error).message}`))
        .finally(() => returning.delete(done))
      returning.add(done)
    },
    forget() {
      for (const lane of holding()) {
        lane.buffer = []
        takeBackAhead(lane, () => true)
      }
    },
    returning,
  }
}
