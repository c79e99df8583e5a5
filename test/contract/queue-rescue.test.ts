import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DatabaseUnavailable, type Db } from '../../src/db/db.js'
import { giveBack } from '../../src/delivery/reconcile.js'
import { createSettler } from '../../src/delivery/settler.js'
import { systemClock } from '../../src/lib/clock.js'
import type { DoubtJournal } from '../../src/queue/doubt-journal.js'
import { declareDead, type Lease } from '../../src/queue/lease.js'
import { claimedSeqs, type RescueDeps, rescue } from '../../src/queue/rescue.js'
import { Stage } from '../../src/queue/stage.js'
import type { RetryPolicy } from '../../src/queue/transition.js'
import { openQueueRig, POLICY, type QueueRig, SENT, type TestAccount } from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('rescue on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  let lease: number
  let journal: DoubtJournal
  beforeAll(async () => {
    rig = await openQueueRig(dialect)
    journal = rig.journal()
  })
  beforeEach(async () => {
    await rig.clear()
    account = await rig.account()
    lease = await rig.lease({ leaseMs: 60_000 })
  })
  afterAll(async () => {
    journal.close()
    await rig.temp.drop()
  })

  const depsOf = (fields: Partial<RescueDeps> = {}): RescueDeps => ({
    db: rig.db,
    log: silentLog,
    // Another process's: it knows the journal only by what was written.
    journal: rig.journal(),
    epoch: 'today',
    steadyNow: () => rig.now,
    policyOf: inDoubt => ({ ...POLICY, inDoubt }),
    ...fields,
  })
  const die = async () => {
    rig.now += 60_000
    return declareDead(rig.db, rig.now, false)
  }
  const rescueAll = async (fields: Partial<RescueDeps> = {}) => {
    const results = []
    for (const dead of await die()) results.push(await rescue(depsOf(fields), dead, rig.now))
    return results
  }

  /** What was counted, of all windows. */
  const used = () => rig.rows('select scope, span, used from limit_buckets order by scope, span')

  /** All claims of the lease, by the process that has it. */
  const giveBackOwn = async () => {
    const clock = { ...systemClock, now: () => rig.now, sleep: async () => {} }
    const settler = createSettler({ db: rig.db, clock, log: silentLog, journal, steadyNow: () => rig.now })
    const policyOf = (inDoubt: RetryPolicy['inDoubt']) => ({ ...POLICY, inDoubt })
    const deps = { db: rig.db, clock, log: silentLog, journal, settler, policyOf, leftInDoubt: () => {} }
    return giveBack(deps, { id: lease } as Lease, await claimedSeqs(rig.db, lease))
  }

  it('not journalled: back in its old place, no attempt, no event', async () => {
    const [a, b] = await rig.add(account, 2)
    await rig.claim(account, lease)
    await rig.add(account, 1)
    expect(await rescueAll()).toMatchObject([{ freed: 2, inDoubt: 0, accountKeys: [account.key], tenantIds: ['acme'] }])
    expect(await rig.row(a!)).toMatchObject({ stage: Stage.ready, status: 'pending', attempts: 0, lease: null })
    expect(await rig.rows('select * from events')).toEqual([])
    expect((await rig.claim(account, await rig.lease())).slice(0, 2).map(each => each.id)).toEqual([a, b])
    expect(await rig.rows('select * from leases where id = $1', lease)).toEqual([])
  })

  it('journalled: in doubt by the account’s policy', async () => {
    const holding = await rig.account()
    const [retried] = await rig.add(account, 1)
    const [held] = await rig.add(holding, 1)
    const claims = [...(await rig.claim(account, lease)), ...(await rig.claim(holding, lease))]
    for (const claimed of claims) await journal.append(lease, claimed)
    await rig.exec("update accounts set in_doubt = 'hold' where key = $1", holding.key)
    expect(await rescueAll()).toMatchObject([{ freed: 0, inDoubt: 2 }])
    expect(await rig.row(retried!)).toMatchObject({
      stage: Stage.waiting,
      status: 'deferred',
      attempts: 1,
      due_at: rig.now,
    })
    expect(await rig.row(held!)).toMatchObject({ stage: Stage.doubt, status: 'in_doubt', attempts: 1, lease: null })
    const events = await rig.rows('select type, pending from events order by id')
    expect(events).toEqual([
      { type: 'in_doubt', pending: 1 },
      { type: 'in_doubt', pending: 1 },
    ])
  })

  it('journalled and settled before the crash is no doubt of a later claim', async () => {
    await rig.add(account, 1)
    const [first] = await rig.claim(account, lease)
    await journal.append(lease, first!)
    await rig.settle([first!], { ...SENT, verdicts: [] })
    journal.settled(lease, [first!])
    expect(await rig.claim(account, lease)).toHaveLength(1)
    expect(await rescueAll()).toMatchObject([{ freed: 1, inDoubt: 0 }])
  })

  it('of another epoch nothing is sure: all are in doubt', async () => {
    await rig.add(account, 3)
    await rig.claim(account, lease)
    expect(await rescueAll({ epoch: 'tomorrow' })).toMatchObject([{ freed: 0, inDoubt: 3 }])
  })

  it('a claim under a lease that is gone is in doubt', async () => {
    const [id] = await rig.add(account, 1)
    await rig.claim(account, lease)
    await rig.exec('delete from leases')
    expect(await rescueAll()).toMatchObject([{ freed: 0, inDoubt: 1 }])
    expect(await rig.row(id!)).toMatchObject({ stage: Stage.waiting, attempts: 1 })
  })

  it('only the dead one’s claims', async () => {
    const [mine, theirs] = await rig.add(account, 2)
    const alive = await rig.lease()
    await rig.claim(account, lease, { limit: 1 })
    await rig.claim(account, alive, { limit: 1 })
    await rescueAll()
    expect(await rig.row(mine!)).toMatchObject({ stage: Stage.ready })
    expect(await rig.row(theirs!)).toMatchObject({ stage: Stage.claimed, lease: alive })
  })

  it('more than one chunk', async () => {
    await rig.add(account, 1_001)
    await rig.claim(account, lease, { limit: 2_000 })
    expect(await rescueAll()).toMatchObject([{ freed: 1_001, inDoubt: 0 }])
    expect(await rig.rows('select seq from messages where stage = 3')).toEqual([])
  })

  it('more claims of this process than one chunk, of which it does not know', async () => {
    await rig.add(account, 1_001)
    await rig.claim(account, lease, { limit: 2_000 })
    expect(await giveBackOwn()).toEqual([account.key])
    expect(await rig.rows('select seq from messages where stage = 3')).toEqual([])
  })

  it('of a deleted account the claims are freed by the default policy, and count for the tenant', async () => {
    const gone = await rig.account('limited')
    const [id] = await rig.add(gone, 1)
    const [claimed] = await rig.claim(gone, lease)
    await journal.append(lease, claimed!)
    await rig.exec('update accounts set limit_per_hour = 5 where key = $1', gone.key)
    await rig.exec('update tenants set rate_hourly = 5 where id = $1', gone.tenantId)
    await rig.exec('delete from accounts where key = $1', gone.key)
    await rescueAll()
    expect(await rig.row(id!, gone.tenantId)).toMatchObject({ stage: Stage.waiting, attempts: 1 })
    expect(await used()).toEqual([{ scope: 't:limited', span: 3_600_000, used: 1 }])
  })

  it.each([
    ['a dead worker', false],
    ['this process', true],
  ])('what %s left in doubt goes by the account’s row, whether its secrets open or not', async (_, isOwn) => {
    await rig.exec("update accounts set password = 'ENC:of another key', limit_per_day = 5 where key = $1", account.key)
    const [id] = await rig.add(account, 1)
    const [retried] = await rig.add(await rig.account(), 1)
    await rig.exec("update accounts set in_doubt = 'hold' where key = $1", account.key)
    const keys = await rig.rows('select key from accounts')
    for (const { key } of keys) {
      for (const claimed of await rig.claim({ ...account, key: Number(key) }, lease))
        await journal.append(lease, claimed)
    }
    if (isOwn) await giveBackOwn()
    else await rescueAll()
    expect(await rig.row(id!)).toMatchObject({ stage: Stage.doubt })
    expect(await rig.row(retried!)).toMatchObject({ stage: Stage.waiting, attempts: 1 })
    expect(await used()).toEqual([{ scope: `a:${account.key}`, span: 86_400_000, used: 1 }])
  })

  it('a rescuer that dies halfway is followed by another, and nothing is freed twice', async () => {
    await rig.add(account, 600)
    const claims = await rig.claim(account, lease, { limit: 600 })
    for (const claimed of claims.slice(400)) await journal.append(lease, claimed)
    let units = 0
    const dying: Db = {
      ...rig.db,
      write: unit => {
        units += 1
        if (units > 1) throw new DatabaseUnavailable('killed')
        return rig.db.write(unit)
      },
    }
    const [dead] = await die()
    await expect(rescue(depsOf({ db: dying }), dead!, rig.now)).rejects.toThrow('killed')
    // The first 500 are free and may be claimed already.
    const again = await rig.claim(account, await rig.lease(), { limit: 10 })
    expect(again).toHaveLength(10)
    const next = await declareDead(rig.db, rig.now, false)
    expect(next.map(each => each.id)).toEqual([lease])
    expect(await rescue(depsOf(), next[0]!, rig.now)).toMatchObject({ freed: 0, inDoubt: 100 })
    expect(await rig.rows('select count(*) as n from events')).toEqual([{ n: 200 }])
    expect((await rig.row(again[0]!.id)).stage).toBe(Stage.claimed)
    expect(await declareDead(rig.db, rig.now, false)).toEqual([])
  })

  it('one claim that the database refuses to settle holds back no other, and is freed once it is taken', async () => {
    const ids = await rig.add(account, 600)
    for (const claimed of (await rig.claim(account, lease, { limit: 600 })).slice(0, 4))
      await journal.append(lease, claimed)
    const accept = await rig.refuseToSettle(ids[2]!)
    expect(await rescueAll()).toMatchObject([{ freed: 596, inDoubt: 3 }])
    expect(await rig.rows('select id from messages where stage = 3')).toEqual([{ id: ids[2] }])
    await accept()
    // By its journal still: of a lease that is gone it would be in doubt anyway.
    expect(await rig.journal().read(lease)).toContain(Number((await rig.row(ids[2]!)).seq))
    expect(await rescueAll()).toMatchObject([{ freed: 0, inDoubt: 1 }])
    expect(await declareDead(rig.db, rig.now, false)).toEqual([])
  })

  it('of this process, too', async () => {
    const ids = await rig.add(account, 3)
    await rig.claim(account, lease)
    const accept = await rig.refuseToSettle(ids[1]!)
    await giveBackOwn()
    expect(await rig.rows('select id from messages where stage = 3')).toEqual([{ id: ids[1] }])
    await accept()
  })

  it('two rescuers at once free each claim once, and tell of it once', async () => {
    await rig.add(account, 50)
    const claims = await rig.claim(account, lease)
    for (const claimed of claims) await journal.append(lease, claimed)
    const [dead] = await die()
    const both = await Promise.all([rescue(depsOf(), dead!, rig.now), rescue(depsOf(), dead!, rig.now)])
    // What both had read is told by one of them.
    expect(both.reduce((sum, { inDoubt }) => sum + inDoubt, 0)).toBe(50)
    expect(both.flatMap(({ doubts }) => doubts)).toHaveLength(50)
    expect(await rig.rows('select count(*) as n, max(attempts) as most from messages')).toEqual([{ n: 50, most: 1 }])
    expect(await rig.rows('select count(*) as n from events')).toEqual([{ n: 50 }])
  })

  it('the late worker and the rescuer: whoever settles first, the other changes nothing', async () => {
    await rig.add(account, 20)
    const claims = await rig.claim(account, lease)
    const [dead] = await die()
    const [settled] = await Promise.all([rig.settle(claims, SENT), rescue(depsOf(), dead!, rig.now)])
    const rows = await rig.rows('select stage, count(*) as n from messages group by stage')
    const byStage = new Map(rows.map(row => [Number(row.stage), Number(row.n)]))
    expect(byStage.get(Stage.ended) ?? 0).toBe(settled.size)
    expect(byStage.get(Stage.ready) ?? 0).toBe(20 - settled.size)
  })

  it('a rescuer leaves the journal for the next one until every claim is settled', async () => {
    await rig.add(account, 1)
    const [claimed] = await rig.claim(account, lease)
    await journal.append(lease, claimed!)
    const [dead] = await die()
    const failing = { ...rig.db, write: async () => Promise.reject(new DatabaseUnavailable('away')) }
    await expect(rescue(depsOf({ db: failing }), dead!, rig.now)).rejects.toThrow('away')
    expect(await rig.journal().read(lease)).toEqual(new Set([claimed!.seq]))
    await rescue(depsOf(), dead!, rig.now)
    expect(await rig.journal().read(lease)).toEqual(new Set())
  })
})
