/**
 * What may be claimed for a lane, and what of the claimed may still go: pauses, suspensions, rules. Limits act inside the
 * claim itself. Pure; asked before each claim, and again before each send, because an operator may have spoken since.
 */
import type { ClaimedMessage, ClaimRequest } from '../queue/claim.js'
import type { Lane } from './lane.js'
import type { Lookup, Settings } from './settings.js'

export interface Permissions {
  readonly now: number
  readonly batchSize: number
  /** Dispatch only what run-now asked for. */
  readonly testMode: boolean
  /** Up to when run-now asked for everything of this tenant, epoch ms; 0: never. */
  readonly asked: number
}

/** Nothing of this account goes now, whatever it is. */
export function isHeld({ account, tenant }: Lookup): boolean {
  return account.pause !== null || !tenant.active || tenant.suspendedBatches.includes('*')
}

/** False for the whole service: switched off, or a restored database that nobody has released. */
export function isSending({ schedulerActive, releaseNeeded }: Settings): boolean {
  return schedulerActive && releaseNeeded === null
}

/** A claimed message that has not begun: may it begin now? */
export function mayBegin(claimed: ClaimedMessage, lookup: Lookup, { now, testMode, asked }: Permissions): boolean {
  if (isHeld(lookup)) return false
  const { batchCode, priority, dueAt } = claimed
  if (batchCode !== null && lookup.tenant.suspendedBatches.includes(batchCode)) return false
  if (dueAt <= asked) return true
  if (testMode) return false
  return priority === 0 || lookup.opening(now).kind !== 'closed'
}

/**
 * The claim that fits the lane now: `limit` messages at most, by the rules of its account. null: none, and the lane's
 * tick says when to ask again.
 */
export function requestFor(
  lane: Lane,
  lookup: Lookup,
  limit: number,
  { now, testMode, asked }: Permissions,
): ClaimRequest | null {
  const { tenant, limits } = lookup
  const base = { accountKey: lane.key, limit, suspendedBatches: tenant.suspendedBatches, limits, now }
  const opening = testMode ? { kind: 'closed' as const, opensAt: Number.POSITIVE_INFINITY } : lookup.opening(now)
  if (opening.kind === 'continuous') return { ...base, maxPriority: 3, dueBy: null }
  // Priority 0 ignores rules: while it waits it goes alone, the others have their turn at the tick.
  if (lane.frontier.priority === 0 && !testMode) return { ...base, maxPriority: 0, dueBy: null }
  const dueBy = Math.max(asked, opening.kind === 'open' ? opening.tick : 0)
  lane.tickAt = opening.kind === 'open' ? opening.nextTick : opening.opensAt
  return dueBy === 0 ? null : { ...base, maxPriority: 3, dueBy }
}
