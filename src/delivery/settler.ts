/**
 * Gathers what sends came to and settles it in batches: while one unit is being committed the next one fills. Nothing
 * is dropped while the database is away; the results wait until they are written or the lease is lost.
 */
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import { beforeTurnEnds } from '../lib/turn-end.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import type { Lease } from '../queue/lease.js'
import { type Settlement, settleApart } from '../queue/settle.js'

const MAX_UNIT = 400
const RETRY_MS = 500
/** How often the database may refuse a result before it is given up. */
const MAX_REFUSALS = 5

/** lost: the claim was no longer ours. failed: the database refused to record it. */
export type Settled = 'recorded' | 'lost' | 'failed'

export interface Settler {
  /** Resolves when the settlement is durable, or changed nothing and never will. */
  add(lease: Lease, settlement: Settlement): Promise<Settled>
  /** Resolves when nothing is left to write. */
  idle(): Promise<void>
  readonly waiting: number
}

interface Pending {
  readonly lease: Lease
  readonly settlement: Settlement
  done(settled: Settled): void
}

export interface SettlerDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly journal: DoubtJournal
  /** Time base of limits and leases on SQLite, epoch ms. */
  steadyNow(): number
}

export function createSettler({ db, clock, log, journal, steadyNow }: SettlerDeps): Settler {
  let queue: Pending[] = []
  let running: Promise<void> | null = null

  const flush = async () => {
    while (queue.length > 0) {
      // Results of one turn of the event loop go together.
      await new Promise<void>(beforeTurnEnds)
      const lease = queue[0]!.lease
      const unit: Pending[] = []
      const others: Pending[] = []
      for (const each of queue) (each.lease === lease && unit.length < MAX_UNIT ? unit : others).push(each)
      queue = others
      await write(lease, unit)
    }
    running = null
  }

  const write = async (lease: Lease, unit: readonly Pending[]) => {
    const left = new Set(unit)
    let refusals = 0
    for (let tries = 1; left.size > 0; tries += 1) {
      if (tries > 1) await clock.sleep(RETRY_MS)
      const times = { now: clock.now(), steadyNow: steadyNow() }
      let reason: Error | null = null
      try {
        for await (const { part, ours, refusal } of settleApart(db, lease.id, times, [...left])) {
          reason = refusal ?? reason
          if (refusal !== null) continue
          markSettled(lease, part)
          for (const each of part) {
            left.delete(each)
            each.done(ours.has(each.settlement.transition.seq) ? 'recorded' : 'lost')
          }
        }
      } catch (error) {
        if (tries === 1 || tries % 60 === 0) {
          log.warning(`Results of ${left.size} sends wait for the database: ${(error as Error).message}`)
        }
        continue
      }
      if (reason === null) return
      log.error(`The database refused ${left.size} of ${unit.length} results: ${reason.message}`)
      refusals += 1
      if (refusals < MAX_REFUSALS) continue
      for (const each of left) each.done('failed')
      return
    }
  }

  /** Only spares a later crash a false doubt: the results stand whether it can be written or not. */
  const markSettled = (lease: Lease, unit: readonly Pending[]) => {
    try {
      // Also of those that were no longer ours: their claims are over.
      journal.settled(
        lease.id,
        unit.map(({ settlement: { transition, claim } }) => ({ seq: transition.seq, claim })),
      )
    } catch (error) {
      log.warning(`The doubt journal could not be written: ${(error as Error).message}`)
    }
  }

  return {
    add(lease, settlement) {
      return new Promise(done => {
        queue.push({ lease, settlement, done })
        running ??= flush()
      })
    },
    async idle() {
      while (running !== null) await running
    },
    get waiting() {
      return queue.length
    },
  }
}
