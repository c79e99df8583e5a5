/**
 * Gathers what sends came to and settles it in batches: while one unit is being committed the next one fills. Nothing
 * is dropped while the database is away; the results wait until they are written or the lease is lost.
 */
import { DatabaseUnavailable, type Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import { beforeTurnEnds } from '../lib/turn-end.js'
import type { DoubtJournal } from '../queue/doubt-journal.js'
import type { Lease } from '../queue/lease.js'
import { type Settlement, settle } from '../queue/settle.js'

const MAX_UNIT = 400
const RETRY_MS = 500

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
      const unit = queue.filter(each => each.lease === lease).slice(0, MAX_UNIT)
      const taken = new Set(unit)
      queue = queue.filter(each => !taken.has(each))
      await write(lease, unit)
    }
    running = null
  }

  const write = async (lease: Lease, unit: readonly Pending[]) => {
    for (let tries = 1; ; tries += 1) {
      try {
        const settled = await settle(
          db,
          lease.id,
          { now: clock.now(), steadyNow: steadyNow() },
          unit.map(each => each.settlement),
        )
        markSettled(lease, unit)
        for (const { settlement, done } of unit) done(settled.has(settlement.transition.seq) ? 'recorded' : 'lost')
        return
      } catch (error) {
        if (!(error instanceof DatabaseUnavailable)) {
          // A statement that cannot work: try each alone, so that one odd row does not hold back the others.
          log.error(`Settling ${unit.length} results failed: ${(error as Error).message}`)
          if (unit.length > 1) {
            for (const each of unit) await write(lease, [each])
            return
          }
          if (tries >= 5) {
            unit[0]!.done('failed')
            return
          }
        } else if (tries === 1 || tries % 60 === 0) {
          log.warning(`Results of ${unit.length} sends wait for the database: ${error.message}`)
        }
        await clock.sleep(RETRY_MS)
      }
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
