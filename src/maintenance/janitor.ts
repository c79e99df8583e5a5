/** What time makes stale: expired messages, reported ones past their retention, old audit records. Small units each. */
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Step } from '../lib/loop.js'
import { failAccountQueue, orphanedAccountKeys } from '../queue/account-deleted.js'
import { expireDue } from '../queue/due.js'
import { createPruner, type Pruner } from '../queue/prune.js'

export interface JanitorDeps {
  readonly db: Db
  readonly clock: Clock
  readonly retentionMs: number
  readonly commandLogRetentionMs: number
  /** Messages ended without an attempt: their tenants have reports. */
  ended(tenantIds: readonly string[], count: number): void
}

const EXPIRE_CHUNK = 500
const PRUNE_EVERY_MS = 30_000
const LOG_CHUNK = 1_000
/** Messages whose account went while they were in flight or being submitted: rare, and the look costs the queue's length. */
const ORPHANS_EVERY_MS = 120_000

export function createJanitor({ db, clock, retentionMs, commandLogRetentionMs, ended: tell }: JanitorDeps): {
  step(): Promise<Step>
} {
  let purge: Pruner | null = null
  let pruneAt = Number.NEGATIVE_INFINITY
  let orphansAt = Number.NEGATIVE_INFINITY
  return {
    async step() {
      const now = clock.now()
      // How often is no matter of the wall clock: set back an hour, nothing would be done for an hour.
      const at = clock.monotonic()
      const ended = await expireDue(db, now, EXPIRE_CHUNK)
      if (ended.seqs.length > 0) tell(ended.tenantIds, ended.seqs.length)
      if (ended.seqs.length === EXPIRE_CHUNK) return { nextAt: null, again: true }
      if (at >= orphansAt) {
        orphansAt = at + ORPHANS_EVERY_MS
        for (const key of await orphanedAccountKeys(db)) {
          const failed = await failAccountQueue(db, key, now)
          if (failed.ended > 0) tell(failed.tenantIds, failed.ended)
        }
      }
      if (at >= pruneAt) {
        purge ??= createPruner(db, clock, { tenantId: null, before: now - retentionMs })
        const { pauseMs } = await purge.next()
        // A million go in some minutes, a piece a step; what else time makes stale does not wait for their end.
        if (pauseMs !== null) return { nextAt: clock.now() + pauseMs, again: false }
        purge = null
        pruneAt = at + PRUNE_EVERY_MS
        await db.write([
          {
            sql: 'delete from command_log where id in (select id from command_log where at < $1 order by at limit $2)',
            params: [now - commandLogRetentionMs, LOG_CHUNK],
          },
        ])
      }
      return { nextAt: null, again: false }
    },
  }
}
