/**
 * Where a queue row stands for the dispatcher. The column is apart from `status`, which is what the tenant is told:
 * a message whose account is over its limit is told `deferred` yet keeps its place among the ready ones, because the
 * limit acts on the account and not on the row.
 */
export const Stage = {
  /** sent, error, cancelled */
  ended: 0,
  /** may be claimed, in the order (priority, seq) of its account */
  ready: 1,
  /** not before due_at: scheduled or to be tried again */
  waiting: 2,
  /** under a lease, being sent */
  claimed: 3,
  /** held in doubt until released or discarded */
  doubt: 4,
} as const

export type Stage = (typeof Stage)[keyof typeof Stage]

/** Bits of messages.causes. */
export const Cause = {
  /** Told deferred for a full limit. */
  limit: 1,
  /** Told deferred for a paused account. */
  account: 2,
  /** An attempt ended in doubt. */
  doubt: 4,
} as const
