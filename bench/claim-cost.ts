/**
 * What one claim costs: the database and the claim alone, in this process, on a queue that a service has filled and left.
 */
import { type Db, keysParam } from '../src/db/db.js'
import { openPostgres } from '../src/db/postgres.js'
import { openSqlite } from '../src/db/sqlite.js'
import { claimDue, type Position } from '../src/queue/claim.js'
import { enqueue } from '../src/queue/enqueue.js'
import { BODY } from './messages.js'

export const CLAIM = 50
/** Far from the numbers that services take. */
const LEASE = 4_000_001

export interface Claimer {
  readonly db: Db
  /** Claims 50 and answers how long it took, ms. `onward`: from where the last claim ended, as a service does on PostgreSQL. */
  claim(options?: { readonly onward?: boolean }): Promise<number>
  /** Puts back what is claimed. */
  giveBack(): Promise<void>
  /** Ends what is claimed, as sent. */
  end(): Promise<void>
  /** Submits so many more. */
  add(count: number): Promise<void>
}

export async function withClaimer<T>(database: string, work: (claimer: Claimer) => Promise<T>): Promise<T> {
  const log = { debug() {}, info() {}, warning() {}, error() {} }
  const db = database.startsWith('/')
    ? await openSqlite(database)
    : await openPostgres(database, { clock: 'process', poolSize: 5, log })
  try {
    const [, accounts] = await db.write([
      {
        sql: `insert into leases (id, holder, epoch, until, started_at) values (${LEASE}, 'bench', 'now', $1, 0)
          on conflict (id) do nothing`,
        params: [Date.now() + 86_400_000],
      },
      { sql: "select key from accounts where id = 'main'", params: [] },
    ])
    return await work(claimerOf(db, Number(accounts?.[0]?.key)))
  } finally {
    await db.close()
  }
}

function claimerOf(db: Db, accountKey: number): Claimer {
  /** By their keys, as settles do. */
  const release = (set: string) => async () => {
    const sql = `update messages set ${set}, lease = null where seq in (select g.key from @keys($1) g)`
    await db.write([{ sql, params: [keysParam(mine)] }])
  }
  let mine: readonly number[] = []
  let added = 0
  let next: Position | null = null
  const claimFrom = async (from: Position | null) => {
    const now = Date.now()
    const [claimed = []] = await claimDue(db, LEASE, now, [
      { accountKey, limit: CLAIM, maxPriority: 3, dueBy: null, suspendedBatches: [], limits: [], now, from },
    ])
    return claimed
  }
  return {
    db,
    async claim({ onward = false } = {}) {
      const from = performance.now()
      const claimed = await claimFrom(onward ? next : null)
      const took = performance.now() - from
      const end = claimed.at(-1)
      if (end === undefined || claimed.length < CLAIM) throw new Error(`claimed ${claimed.length} in place of ${CLAIM}`)
      next = { priority: end.priority, seq: end.seq + 1 }
      mine = claimed.map(({ seq }) => seq)
      return took
    },
    giveBack: release('stage = 1'),
    end: release("stage = 0, status = 'sent'"),
    async add(count) {
      const [from, to] = ['bench@example.com', ['recipient@example.net']]
      const message = () => ({
        tenantId: 'default',
        id: `added-${added++}`,
        accountKey,
        accountId: 'main',
        priority: 2 as const,
        batchCode: null,
        notBefore: null,
        expiresAt: null,
        envelope: { from, to },
        content: { from, to, subject: 'Message of the bench', contentType: 'plain' as const, body: BODY },
      })
      await enqueue(db, Array.from({ length: count }, message), { now: Date.now() })
    },
  }
}

/** Claims and gives back, again and again. The durations, ms. */
export async function claimAgainAndAgain(database: string, times: number): Promise<number[]> {
  return withClaimer(database, async claimer => {
    const took: number[] = []
    for (let i = 0; i < times; i += 1) {
      took.push(await claimer.claim())
      await claimer.giveBack()
    }
    return took
  })
}
