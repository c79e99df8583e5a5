/** What the hot queries cost must follow what is still to be sent, never what was: they go through the partial indexes. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Db, rowsParam, type Statement } from '../../src/db/db.js'
import { systemClock } from '../../src/lib/clock.js'
import { fullScopes, projectTurns } from '../../src/limits/store.js'
import { limitsOf } from '../../src/limits/windows.js'
import { ownersOf } from '../../src/messages/find.js'
import { failAccountQueue, orphanedAccountKeys } from '../../src/queue/account-deleted.js'
import { claimDue } from '../../src/queue/claim.js'
import { countOpen } from '../../src/queue/counts.js'
import { readyAccounts } from '../../src/queue/discover.js'
import { createFileJournal } from '../../src/queue/doubt-journal.js'
import { expireDue, nextDue, readyDue } from '../../src/queue/due.js'
import { endOpen } from '../../src/queue/end.js'
import { enqueue } from '../../src/queue/enqueue.js'
import { declareDead, orphanedLeases } from '../../src/queue/lease.js'
import { countOpenBatch, countOpenUpTo } from '../../src/queue/open-rows.js'
import { cancelMessage, deleteMessages } from '../../src/queue/operate.js'
import { createPruner } from '../../src/queue/prune.js'
import { claimedSeqs, claimsOf, rescue } from '../../src/queue/rescue.js'
import { settle } from '../../src/queue/settle.js'
import { readQueueState } from '../../src/queue/state.js'
import { owedReports } from '../../src/reports/outbox.js'
import { fill, openQueueRig, POLICY, type QueueRig, SENT, type TestAccount } from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'

/** SQLite plans without statistics, PostgreSQL with those that autovacuum gathered, which may be of empty tables still. */
const cases = [
  ['sqlite', 'no statistics'],
  ['postgres', 'statistics of today'],
  ['postgres', 'statistics of empty tables'],
] as const

describe.each(cases)('query plans on %s with %s', (dialect, statistics) => {
  let rig: QueueRig
  let account: TestAccount
  beforeAll(async () => {
    rig = await openQueueRig(dialect)
    if (statistics === 'statistics of empty tables') {
      for (const table of ['messages', 'contents', 'events'])
        await rig.exec(`alter table ${table} set (autovacuum_enabled = false)`)
      await rig.exec('analyze')
    }
    account = await rig.account()
    const other = await rig.account('beta')
    await fill(rig, account, { ended: 50_000, open: 1_000 })
    await fill(rig, other, { ended: 0, open: 1_000 })
    if (statistics === 'statistics of today') await rig.exec('analyze')
  })
  afterAll(() => rig.temp.drop())

  /** The plans of all statements that `work` sends; it runs for real, so that later ones see what earlier ones did. */
  async function plansOf(work: (db: Db) => Promise<unknown>): Promise<string[]> {
    const seen: Statement[] = []
    const spy: Db = {
      ...rig.db,
      write(unit) {
        seen.push(...unit)
        return rig.db.write(unit)
      },
      read(statement) {
        seen.push(statement)
        return rig.db.read(statement)
      },
    }
    await work(spy)
    const plans: string[] = []
    for (const { sql, params, rows: given } of seen) {
      // A read within the pool of writers, so that a locking select may be explained too.
      const prefix = dialect === 'sqlite' ? 'explain query plan ' : 'explain '
      const [rows] = await rig.db.write([{ sql: prefix + sql, params, rows: given?.slice(0, 1) }])
      plans.push(rows!.map(row => String(row.detail ?? row['QUERY PLAN'])).join('\n'))
    }
    return plans
  }

  /** Fails on a walk through the table, or through an index over all of it. */
  function expectCheap(plans: readonly string[]) {
    expect(plans.length).toBeGreaterThan(0)
    for (const plan of plans) {
      if (dialect === 'postgres') {
        expect(plan).not.toMatch(/Seq Scan on (messages|events|contents)\b/)
        expect(plan).not.toMatch(
          /Index (Only )?Scan using (messages_pkey|messages_tenant|messages_tenant_id_id_key) on \w+ \w+ +\(cost[^\n]*\n(?!\s*Index Cond)/,
        )
      } else {
        for (const line of plan.split('\n')) {
          if (!/^SCAN (messages|m|f|events|contents|c)\b/.test(line)) continue
          expect(line).toMatch(
            /USING (COVERING )?INDEX (messages_(ready|waiting|waiting_account|claimed|doubt|expiring|reported)|events_pending)\b/,
          )
        }
      }
    }
  }

  const limits = () =>
    limitsOf(
      { key: account.key, tenantId: 'acme', limitPerMinute: 5, limitPerHour: 9, limitPerDay: 99 },
      { rateHourly: 50, rateDaily: 500 },
    )
  const request = () => ({
    accountKey: account.key,
    limit: 10,
    maxPriority: 3,
    dueBy: null,
    suspendedBatches: [],
    limits: [],
    now: rig.now,
  })

  it.each([
    'select id from messages m where m.lease = 1',
    'select id from messages m where m.batch_code = $1',
    'select m.seq from messages m where m.stage = 0 order by m.seq limit 10',
  ])('the check itself catches a walk: %s', async sql => {
    const plans = await plansOf(db => db.read({ sql, params: sql.includes('$1') ? ['x'] : [] }))
    expect(() => expectCheap(plans)).toThrow(/Scan|SCAN/)
  })

  it('claim, with and without everything that may hold a message back', async () => {
    const lease = await rig.lease()
    const full = { ...request(), limits: limits(), dueBy: rig.now, suspendedBatches: ['b'], maxPriority: 0 }
    const plans = await plansOf(db => claimDue(db, lease, rig.now, [request(), full]))
    expectCheap(plans)
    expect(plans.at(-1)).toMatch(/messages_ready/)
    expect(plans.at(-2)).toMatch(/messages_ready/)
  })

  it('a claim that starts at a place reads nothing before it', async () => {
    const lease = await rig.lease()
    const from = { priority: 2, seq: 5 }
    const plans = await plansOf(db => claimDue(db, lease, rig.now, [{ ...request(), from }]))
    expectCheap(plans)
    // Only PostgreSQL is asked so.
    if (dialect === 'postgres') expect(plans.at(-1)).toMatch(/Index Cond: .*ROW\(priority, seq\) >= ROW/)
  })

  it('free slots count what is in flight by its own index', async () => {
    const lease = await rig.lease()
    const [plan] = (await plansOf(db => claimDue(db, lease, rig.now, [{ ...request(), limits: limits() }]))).slice(-1)
    expect(plan).toMatch(/messages_claimed/)
    expectCheap(await plansOf(db => projectTurns(db, limits(), rig.now, 10)))
  })

  it('readyDue, nextDue and expireDue', async () => {
    await rig.exec(
      `update messages set stage = 2, expires_at = $1 where seq in (select seq from messages where stage = 1 limit 20)`,
      rig.now + 1_000,
    )
    const next = await plansOf(nextDue)
    const ready = await plansOf(db => readyDue(db, rig.now + 10, 100))
    expectCheap([...next, ...ready])
    expect(next[0]).toMatch(/messages_waiting\b/)
    expect(ready[0]).toMatch(/messages_waiting\b/)
    const expire = await plansOf(db => expireDue(db, rig.now + 5_000, 100))
    expectCheap(expire)
    expect(expire[0]).toMatch(/messages_expiring/)
  })

  it('discover', async () => {
    const plans = await plansOf(db => readyAccounts(db, 0, 10))
    expectCheap(plans)
    expect(plans[0]).toMatch(/messages_ready/)
  })

  it('settle', async () => {
    const claims = await rig.claim(account, await rig.lease(), { limit: 10 })
    expect(claims).toHaveLength(10)
    const plans = await plansOf(async db => {
      const real = rig.db
      Object.assign(rig, { db })
      await rig
        .settle(claims.slice(0, 5), SENT, limits())
        .then(() => rig.settle(claims.slice(5), SENT, limits(), { isUntold: true }))
        .finally(() => Object.assign(rig, { db: real }))
      await settle(db, 1, { now: rig.now, steadyNow: rig.now }, [])
    })
    expectCheap(plans)
  })

  it('rescue and the looks for claims', async () => {
    const lease = await rig.lease()
    await rig.claim(account, lease, { limit: 5 })
    const journal = createFileJournal(join(mkdtempSync(join(tmpdir(), 'gmp-')), 'db'))
    expectCheap(await plansOf(async db => claimsOf(db, lease, await claimedSeqs(db, lease))))
    expectCheap(await plansOf(orphanedLeases))
    expectCheap(await plansOf(db => declareDead(db, rig.now, false)))
    const deps = {
      log: silentLog,
      journal,
      epoch: 'today',
      steadyNow: () => rig.now,
      policyOf: () => POLICY,
    }
    expectCheap(await plansOf(db => rescue({ ...deps, db }, { id: lease, holder: 'x', epoch: 'today' }, rig.now)))
  })

  it('enqueue, also with a quota and of ids that are known', async () => {
    const ids = (await rig.rows('select id from messages where stage = 1 and tenant_id = $1 limit 5', 'acme')).map(
      row => row.id as string,
    )
    const messages = [
      ...ids.map(id => rig.message(account, { id })),
      rig.message(account),
      rig.message(account, { id: 'ended1' }),
    ]
    expectCheap(await plansOf(db => enqueue(db, messages, { now: rig.now, quota: new Map([['acme', 10_000]]) })))
  })

  it('counts', async () => {
    expectCheap(await plansOf(db => countOpen(db, null)))
    expectCheap(await plansOf(db => countOpen(db, 'acme')))
    expectCheap(await plansOf(db => countOpenUpTo(db, 'acme', 100)))
    expectCheap(await plansOf(db => countOpenBatch(db, 'acme', 'b')))
  })

  it('the queue’s state and the owed reports, for metrics', async () => {
    const plans = await plansOf(db => readQueueState(db, rig.now))
    expectCheap(plans)
    // The age of what is due is read from the index alone.
    expect(plans[0]).toMatch(
      dialect === 'sqlite' ? /USING COVERING INDEX messages_ready/ : /Index Only Scan using messages_ready/,
    )
    expectCheap(await plansOf(db => fullScopes(db, limits(), rig.now)))
    const owed = await plansOf(owedReports)
    expectCheap(owed)
    expect(owed[0]).toMatch(/events_pending/)
  })

  it('what operators do', async () => {
    const target = { tenantId: 'acme', id: 'open900', now: rig.now }
    expectCheap(await plansOf(db => cancelMessage(db, target)))
    expectCheap(await plansOf(db => ownersOf(db, ['open900', 'nobody'])))
    expectCheap(await plansOf(db => deleteMessages(db, { tenantId: 'acme', ids: ['open901', 'nobody'] })))
    expectCheap(await plansOf(db => deleteMessages(db, { tenantId: null, ids: ['open902', 'nobody'] })))
    const given = rowsParam([{ k: 1 }])
    const words = { status: 'error', type: 'error', code: 'x', error: 'x', stages: [1, 2] } as const
    expectCheap(
      await plansOf(db =>
        endOpen(db, { now: rig.now, from: { sql: 'select g.k from @rows($1: k bigint) g', given }, ...words }),
      ),
    )
  })

  it('an account’s end and the orphans', async () => {
    expectCheap(await plansOf(orphanedAccountKeys))
    const gone = await rig.account('gamma')
    await rig.add(gone, 3)
    expectCheap(await plansOf(db => failAccountQueue(db, gone.key, rig.now)))
  })

  it('purges', async () => {
    const plans = await plansOf(db => createPruner(db, systemClock, { tenantId: null, before: rig.now }).next())
    expectCheap(plans)
    expect(plans[0]).toMatch(/messages_reported/)
  })
})
