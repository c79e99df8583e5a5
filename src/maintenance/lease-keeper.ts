/**
 * Keeps this process's lease alive and frees the claims of those that died. A lease that is lost (the process was
 * frozen, or the database away for longer than the lease) is replaced by a new one; what was claimed under the old one
 * is no longer ours.
 */
import { answeringWithin, type Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Step } from '../lib/loop.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import { declareDead, type Lease, takeLease } from '../queue/lease.js'
import { type RescueDeps, type Rescued, rescue } from '../queue/rescue.js'

export interface LeaseKeeperDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly holder: string
  readonly leaseMs: number
  steadyNow(): number
  readonly journal: DoubtJournal
  /** Asked anew for each lease: the database server may have been restarted. */
  epoch(): Promise<string>
  rescueDeps(epoch: string): Omit<RescueDeps, 'db'>
  /** Resolves when the results that wait are written, or after a moment. */
  flush(): Promise<void>
  /** The lease in force changed; null: lost. */
  changed(lease: Lease | null): void
  rescued(result: Rescued): void
}

export interface LeaseKeeper {
  readonly lease: Lease | null
  /** False: the last try to keep or to take a lease found no database that could be written. */
  readonly couldWrite: boolean
  /** Frees what a crash left (`alone`: all leases are dead ones) and takes the first lease. */
  begin(alone: boolean): Promise<void>
  step(): Promise<Step>
  /** Ends the lease when nothing is claimed under it any more; otherwise it is left to run out. */
  end(): Promise<void>
}

/** Renewals in a lease's time: three may fail before it runs out. */
const RENEWALS = 4

export function createLeaseKeeper(deps: LeaseKeeperDeps): LeaseKeeper {
  const { clock, log, leaseMs, steadyNow } = deps
  // One answer that never comes must not cost the lease: the next try takes another connection.
  const db = answeringWithin(deps.db, leaseMs / RENEWALS)
  let lease: Lease | null = null
  let couldWrite = true

  const written = async <T>(work: Promise<T>): Promise<T> => {
    try {
      const result = await work
      couldWrite = true
      return result
    } catch (error) {
      couldWrite = false
      throw error
    }
  }

  const take = async () => {
    const epoch = await deps.epoch()
    lease = await written(takeLease({ db, clock, leaseMs, holder: deps.holder, epoch }, steadyNow()))
    deps.changed(lease)
  }

  const freeTheDead = async (alone: boolean) => {
    const dead = await declareDead(db, steadyNow(), alone)
    if (dead.length === 0) return
    // Asked now, not when our own lease began: the server may have been restarted since, and its journal with it.
    const epoch = await deps.epoch()
    for (const each of dead) deps.rescued(await rescue({ ...deps.rescueDeps(epoch), db }, each, clock.now()))
  }

  return {
    get lease() {
      return lease
    },
    get couldWrite() {
      return couldWrite
    },
    async begin(alone) {
      await freeTheDead(alone)
      await take()
    },
    async step() {
      if (lease !== null && !(await written(lease.renew(steadyNow())))) {
        log.error('The lease of this process was lost; what it had claimed is freed and may be sent by another')
        lease = null
        deps.changed(null)
        // What is known and waited for the database is told before the rest is taken for doubtful.
        await deps.flush()
      }
      if (lease === null) await take()
      await freeTheDead(false)
      return { nextAt: clock.now() + leaseMs / RENEWALS, again: false }
    },
    async end() {
      const held = lease
      lease = null
      if (held === null) return
      const left = await db.read({
        sql: 'select 1 from messages where stage = 3 and lease = $1 limit 1',
        params: [held.id],
      })
      // Something could not be settled: left alone, the lease runs out and the rescuer decides by the journal.
      if (left.length > 0) return
      // In this order: cut off in between, it leaves a lease for the rescuer, and not a journal for ever.
      await deps.journal.forget(held.id)
      await held.end()
    },
  }
}
