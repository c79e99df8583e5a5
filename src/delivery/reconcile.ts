/**
 * Claims of this process that it does not know of: their answer got lost (the database went away in between), or the
 * database would not take their result. They would stay claimed for as long as this process lives, so they go back; what
 * stands in the doubt journal goes back as doubtful.
 */
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Claimed } from '../queue/claim.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import type { Lease } from '../queue/lease.js'
import { claimedSeqs, claimsOf } from '../queue/rescue.js'
import { type RetryPolicy, rescueTransition, type Transition } from '../queue/transition.js'
import { createBeside } from './beside.js'
import type { Settler } from './settler.js'

export interface ReconcileDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly journal: DoubtJournal
  readonly settler: Settler
  policyOf(inDoubt: RetryPolicy['inDoubt']): RetryPolicy
  /** A message went back in doubt. */
  leftInDoubt(claimed: Claimed, transition: Transition): void
}

export interface Reconciler {
  /** While no claim is under way. Answers the accounts of what went back. */
  step(lease: Lease): Promise<number[]>
  /** A claim or a result may be lost. */
  soon(): void
}

const EVERY_MS = 30_000

/** `isKnown`: this very claim is under way here. `found`: a step would give something back. */
export function createReconciler(
  deps: ReconcileDeps,
  isKnown: (seq: number) => boolean,
  found: () => void,
): Reconciler {
  /** Not known when they were read; most are of claims that were under way then. */
  let suspects: readonly number[] = []
  let current: Lease | null = null

  // 55 ms of PostgreSQL at full load, which walks what was claimed lately.
  const look = async () => {
    if (current === null) return
    suspects = (await claimedSeqs(deps.db, current.id)).filter(seq => !isKnown(seq))
    if (suspects.length > 0) found()
  }
  const looking = createBeside(deps.clock, EVERY_MS, look, found)

  return {
    async step(lease) {
      current = lease
      looking.step()
      const lost = suspects.filter(seq => !isKnown(seq))
      suspects = []
      try {
        return lost.length === 0 ? [] : await giveBack(deps, lease, lost)
      } catch (error) {
        looking.soon()
        throw error
      }
    },
    soon: looking.soon,
  }
}

/** Of these rows what is claimed under the lease. Answers the accounts of what went back. */
export async function giveBack(deps: ReconcileDeps, lease: Lease, lost: readonly number[]): Promise<number[]> {
  const { db, clock, log, journal, settler } = deps
  const [rows, journalled] = await Promise.all([claimsOf(db, lease.id, lost), journal.read(lease.id)])
  // All of them were settled meanwhile.
  if (rows.length === 0) return []
  await Promise.all(
    rows.map(async ({ claimed, to, inDoubt, limits }) => {
      const doubt = journalled.has(claimed.seq)
      const transition = rescueTransition(claimed, to, doubt, deps.policyOf(inDoubt), clock.now())
      const { claim, tenantId } = claimed
      // Only what may have reached the server counts against its limits.
      const settled = await settler.add(lease, { transition, claim, tenantId, limits: doubt ? limits : [] })
      if (doubt && settled === 'recorded') deps.leftInDoubt(claimed, transition)
    }),
  )
  log.warning(`Gave back ${rows.length} messages whose claim or result was not recorded`)
  return [...new Set(rows.map(each => each.claimed.accountKey))]
}
