/**
 * The end of a claim of this process: what its outcome makes of the message is settled, and whoever waits for that hears
 * of it. A claim that was not used goes back to its place.
 */
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Ready } from '../lib/wake.js'
import type { Claimed, ClaimedMessage } from '../queue/claim.js'
import type { Lease } from '../queue/lease.js'
import type { Outcome } from '../queue/outcome.js'
import { nextTransition, type RetryPolicy, type Transition } from '../queue/transition.js'
import type { TraceContext } from '../tracing/tracer.js'
import type { Lookup } from './settings.js'
import type { Settler } from './settler.js'

export interface ConcludeDeps {
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
  readonly settler: Settler
  readonly events: {
    settled(lookup: Lookup, claimed: ClaimedMessage, transition: Transition, outcome: Outcome): void
  }
}

/** What the end of a claim tells the loop that claims. */
export interface Afterwards {
  policyOf(inDoubt: RetryPolicy['inDoubt']): RetryPolicy
  hint(ready: readonly Ready[]): void
  /** A reserved slot was given back unused: the account's next may have its turn before the projected one. */
  slotFreed(accountKey: number): void
  /** A message waits until then, epoch ms. */
  dueAt(at: number): void
  /** A result could not be recorded: its claim is to be looked for in the database. */
  reconcileSoon(): void
}

export interface Conclusions {
  /** From now on these are claims of this process. */
  hold(claimed: readonly ClaimedMessage[]): void
  holds(seq: number): boolean
  /** How many claims are not concluded yet, each counted once for every PIECE of its content. */
  readonly held: number
  /** Resolves when the outcome is settled, or cannot be; never rejects for the latter. */
  conclude(
    lease: Lease,
    lookup: Lookup,
    claimed: ClaimedMessage,
    outcome: Outcome,
    trace?: TraceContext | null,
  ): Promise<void>
  /** To its place, as if never claimed; a server that was told DATA may have counted it. */
  putBack(lease: Lease, lookup: Lookup, claimed: ClaimedMessage, reachedData: boolean): Promise<void>
  /** Claims of an account that is gone: back without its limits, to end with the rest of its queue. */
  putBackOrphans(lease: Lease, claimed: readonly ClaimedMessage[]): Promise<void>
  /** Its lease was lost before it began: the rescuer has it. */
  letGo(claimed: Claimed): void
  /** The lease is lost: none of them is ours any more. */
  forget(): void
}

/** Characters of a content: what is in memory is bounded by them, too. */
const PIECE = 16 * 1024

export function createConclusions(deps: ConcludeDeps, afterwards: Afterwards): Conclusions {
  const { clock, log, random, settler, events } = deps
  const { policyOf } = afterwards
  /** By row. */
  const held = new Map<number, { readonly claim: number; readonly pieces: number }>()
  let pieces = 0

  const drop = (seq: number) => {
    pieces -= held.get(seq)?.pieces ?? 0
    held.delete(seq)
  }

  const letGo = ({ seq, claim }: Claimed) => {
    // Another claim of the same row may be under way by now.
    if (held.get(seq)?.claim === claim) drop(seq)
  }

  const transitionOf = (claimed: ClaimedMessage, outcome: Outcome, inDoubt: RetryPolicy['inDoubt']) =>
    nextTransition(claimed, claimed.envelope.to, outcome, policyOf(inDoubt), clock.now(), random)

  const conclude: Conclusions['conclude'] = async (lease, lookup, claimed, outcome, trace = null) => {
    const transition = transitionOf(claimed, outcome, lookup.account.inDoubt)
    const settled = await settler.add(lease, {
      transition,
      claim: claimed.claim,
      tenantId: claimed.tenantId,
      limits: lookup.limits,
      trace,
      isUntold: lookup.isUntold,
    })
    letGo(claimed)
    if (settled === 'lost') {
      log.warning(
        `The result of message ${claimed.id} was not recorded: its lease was lost, or it had been recorded before, without an answer`,
      )
      return
    }
    if (settled === 'failed') {
      log.error(`The result of message ${claimed.id} could not be recorded: it goes back, in doubt if it was sent`)
      afterwards.reconcileSoon()
      return
    }
    if (transition.stage === 1) {
      const { accountKey, priority, seq } = claimed
      afterwards.hint([{ accountKey, priority, seq, onward: false }])
    }
    if (transition.used === 0 && lookup.limits.length > 0) afterwards.slotFreed(claimed.accountKey)
    if (transition.stage === 2) afterwards.dueAt(transition.dueAt)
    events.settled(lookup, claimed, transition, outcome)
  }

  return {
    hold(claimed) {
      for (const each of claimed) {
        drop(each.seq)
        const entry = { claim: each.claim, pieces: piecesOf(each) }
        held.set(each.seq, entry)
        pieces += entry.pieces
      }
    },
    holds: seq => held.has(seq),
    get held() {
      return pieces
    },
    conclude,
    putBack: (lease, lookup, claimed, reachedData) =>
      conclude(lease, lookup, claimed, { ...interrupted(claimed.envelope.to), reachedData }),
    async putBackOrphans(lease, orphans) {
      for (const claimed of orphans) drop(claimed.seq)
      await Promise.all(
        orphans.map(claimed => {
          const transition = transitionOf(claimed, interrupted(claimed.envelope.to), 'retry')
          return settler.add(lease, { transition, claim: claimed.claim, tenantId: claimed.tenantId, limits: [] })
        }),
      )
    },
    letGo,
    forget() {
      held.clear()
      pieces = 0
    },
  }
}

function piecesOf({ content }: ClaimedMessage): number {
  const { body = '', bodyText = '', bodyHtml = '' } = content ?? {}
  return 1 + Math.floor((body.length + bodyText.length + bodyHtml.length) / PIECE)
}

function interrupted(to: readonly string[]): Outcome {
  const verdicts = to.map(address => ({ address, verdict: 'open' as const, code: null, text: null }))
  return { verdicts, failure: null, inDoubt: false, reachedData: false, interrupted: true, attempt: null }
}

/** A bug of ours: tried again like a broken session, so that it neither loses the message nor spins. */
export function unexpected(to: readonly string[]): Outcome {
  const failure = { scope: 'session' as const, offered: true, code: 'internal_error', text: 'internal error' }
  return { ...interrupted(to), interrupted: false, failure }
}
