/** What one claim costs with a short and a long queue behind it: the database and the claim alone, no SMTP. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Db } from '../src/db/db.js'
import { migrate } from '../src/db/migrate.js'
import { openPostgres } from '../src/db/postgres.js'
import { openSqlite } from '../src/db/sqlite.js'
import type { Message } from '../src/messages/message.js'
import { claimDue } from '../src/queue/claim.js'
import { enqueue } from '../src/queue/enqueue.js'
import { quantile } from './client.js'

export interface ClaimCost {
  readonly queued: number
  /** Median and 99th percentile of one claim of 50, ms. */
  readonly p50: number
  readonly p99: number
}

const CLAIM = 50
const ROUNDS = 200

/** Claims 50 and puts them back, 200 times, at each length of the queue. `databaseUrl`: an empty database. */
export async function measureClaims(databaseUrl: string | null, lengths: readonly number[]): Promise<ClaimCost[]> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-claims-'))
  const log = { debug() {}, info() {}, warning() {}, error() {} }
  const db =
    databaseUrl === null
      ? await openSqlite(join(dir, 'claims.db'))
      : await openPostgres(databaseUrl, { clock: 'process', poolSize: 5, log })
  try {
    await migrate(db)
    const accountKey = await prepare(db)
    const costs: ClaimCost[] = []
    let queued = 0
    for (const length of lengths) {
      for (; queued < length; queued += 500) await enqueue(db, batch(accountKey, queued), { now: Date.now() })
      costs.push({ queued: length, ...(await claimAgainAndAgain(db, accountKey)) })
    }
    return costs
  } finally {
    await db.close()
    await rm(dir, { recursive: true, force: true })
  }
}

async function prepare(db: Db): Promise<number> {
  const [, , , rows] = await db.write([
    { sql: "insert into tenants (id, created_at, updated_at) values ('claims', 0, 0)", params: [] },
    {
      sql: "insert into accounts (tenant_id, id, host, port, created_at, updated_at) values ('claims', 'main', 'mx', 25, 0, 0)",
      params: [],
    },
    {
      sql: "insert into leases (id, holder, epoch, until, started_at) values (1, 'bench', 'now', $1, 0)",
      params: [Date.now() + 86_400_000],
    },
    { sql: "select key from accounts where tenant_id = 'claims'", params: [] },
  ])
  return Number(rows?.[0]?.key)
}

function batch(accountKey: number, from: number): Message[] {
  return Array.from({ length: 500 }, (_, i) => ({
    tenantId: 'claims',
    id: `claims-${from + i}`,
    accountKey,
    accountId: 'main',
    priority: 2,
    batchCode: null,
    notBefore: null,
    expiresAt: null,
    envelope: { from: 'a@example.com', to: ['b@example.net'] },
    content: { from: 'a@example.com', to: ['b@example.net'], subject: 's', contentType: 'plain', body: BODY },
  }))
}

async function claimAgainAndAgain(db: Db, accountKey: number): Promise<{ p50: number; p99: number }> {
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const now = Date.now()
    const from = performance.now()
    const [claimed] = await claimDue(db, 1, now, [
      { accountKey, limit: CLAIM, maxPriority: 3, dueBy: null, suspendedBatches: [], limits: [], now },
    ])
    times.push(performance.now() - from)
    if (claimed?.length !== CLAIM) throw new Error(`claimed ${claimed?.length} in place of ${CLAIM}`)
    await db.write([{ sql: 'update messages set stage = 1, lease = null where lease = $1 and stage = 3', params: [1] }])
  }
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
}

const BODY = 'x'.repeat(2_000)
