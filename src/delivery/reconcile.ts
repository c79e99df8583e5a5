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

/** `isKnown`: this very claim is under way here. Answers the accounts of what went back. */
export async function giveBackUnknown(
  deps: ReconcileDeps,
  lease: Lease,
  isKnown: (seq: number) => boolean,
): Promise<number[]> {
  const { db, clock, log, journal, settler } = deps
  const lost = (await claimedSeqs(db, lease.id)).filter(seq => !isKnown(seq))
  if (lost.length === 0) return []
  const [rows, journalled] = await Promise.all([claimsOf(db, lease.id, lost), journal.read(lease.id)])
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
