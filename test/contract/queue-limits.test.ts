/** Limits end to end: claims reserve, settles count, time frees. The server's own view is kept beside, as the judge. */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deleteAccount } from '../../src/accounts/store.js'
import type { Db } from '../../src/db/db.js'
import { openPostgres } from '../../src/db/postgres.js'
import { systemClock } from '../../src/lib/clock.js'
import { projectTurns } from '../../src/limits/store.js'
import { freedAt, type Limit, RING, SPANS } from '../../src/limits/windows.js'
import type { Claimed } from '../../src/queue/claim.js'
import { claimDue } from '../../src/queue/claim.js'
import { declareDead, takeLease } from '../../src/queue/lease.js'
import { rescue } from '../../src/queue/rescue.js'
import { settle } from '../../src/queue/settle.js'
import { nextTransition } from '../../src/queue/transition.js'
import { deleteTenant } from '../../src/tenants/delete.js'
import {
  INTERRUPTED,
  openQueueRig,
  POLICY,
  type QueueRig,
  REFUSED,
  SENT,
  type TestAccount,
  useQueueRig,
} from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

const MINUTE = 60_000
const WIDTH = 600

describe.each(dialects)('limits on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  let lease: number
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
    lease = await rig.lease()
  })

  const perMinute = (limit: number): Limit[] => [{ scope: `a:${account.key}`, span: MINUTE, limit }]
  const claim = (limits: readonly Limit[], limit = 100, from = account) => rig.claim(from, lease, { limits, limit })

  it('a claim reserves: what is in flight counts', async () => {
    await rig.add(account, 10)
    expect(await claim(perMinute(3))).toHaveLength(3)
    expect(await claim(perMinute(3))).toHaveLength(0)
    expect(await claim(perMinute(4))).toHaveLength(1)
  })

  it('a settled transaction counts until its bucket is wholly past, to the millisecond', async () => {
    await rig.add(account, 10)
    const limits = perMinute(2)
    await rig.settle(await claim(limits), SENT, limits)
    const freed = freedAt(MINUTE, rig.now / WIDTH)
    rig.now = freed - 1
    expect(await claim(limits)).toHaveLength(0)
    rig.now = freed
    expect(await claim(limits)).toHaveLength(2)
  })

  it('the windows of an account go with it, also where its tenant goes; those of the tenant stay', async () => {
    const [other, third] = [await rig.account(), await rig.account('gone')]
    for (const each of [account, other, third]) {
      const limits: Limit[] = [`a:${each.key}`, `t:${each.tenantId}`].map(scope => ({
        scope,
        span: 3_600_000,
        limit: 9,
      }))
      await rig.add(each, 1)
      await rig.settle(await claim(limits, 1, each), SENT, limits)
    }
    const scopes = async () =>
      (await rig.rows('select scope from limit_buckets union all select scope from limit_scopes order by scope')).map(
        each => each.scope,
      )
    // Counted, and on PostgreSQL locked.
    const known = (...given: string[]) =>
      given.flatMap(each => (rig.db.dialect === 'sqlite' ? [each] : [each, each])).sort()
    expect(await scopes()).toEqual(known(`a:${account.key}`, `a:${other.key}`, `a:${third.key}`, 't:acme', 't:gone'))
    expect(await deleteAccount(rig.db, account.tenantId, account.id)).toBe(account.key)
    expect(await deleteAccount(rig.db, account.tenantId, account.id)).toBeNull()
    await deleteTenant(rig.db, 'gone', rig.now)
    expect(await scopes()).toEqual(known(`a:${other.key}`, 't:acme', 't:gone'))
  })

  it('a slow send counts from its settlement, for that is when the server may last have seen it', async () => {
    await rig.add(account, 10)
    const limits = perMinute(1)
    const claims = await claim(limits)
    rig.now += 10 * MINUTE
    expect(await claim(limits)).toHaveLength(0)
    await rig.settle(claims, SENT, limits)
    rig.now += MINUTE
    expect(await claim(limits)).toHaveLength(0)
    rig.now += WIDTH
    expect(await claim(limits)).toHaveLength(1)
  })

  it.each([
    ['refused before DATA', REFUSED],
    ['interrupted before DATA', INTERRUPTED],
  ])('a transaction %s gives its place back at once', async (_, outcome) => {
    await rig.add(account, 10)
    const limits = perMinute(2)
    await rig.settle(await claim(limits), outcome, limits)
    expect(await rig.rows('select * from limit_buckets')).toEqual([])
    expect(await claim(limits)).toHaveLength(2)
  })

  it('interrupted after DATA began counts', async () => {
    await rig.add(account, 10)
    const limits = perMinute(2)
    await rig.settle(await claim(limits), { ...INTERRUPTED, reachedData: true }, limits)
    expect(await claim(limits)).toHaveLength(0)
  })

  it('of several windows the fullest decides, and all are counted', async () => {
    await rig.add(account, 10)
    const limits: Limit[] = [...perMinute(5), { scope: `a:${account.key}`, span: 3_600_000, limit: 3 }]
    await rig.settle(await claim(limits, 2), SENT, limits)
    expect(await claim(limits)).toHaveLength(1)
    expect((await rig.rows('select span, used from limit_buckets order by span')).map(row => ({ ...row }))).toEqual([
      { span: MINUTE, used: 2 },
      { span: 3_600_000, used: 2 },
    ])
  })

  it('a transaction counts in the windows that its limits have, and in no other', async () => {
    const scopes = [`a:${account.key}`, 't:acme']
    for (const window of scopes.flatMap(scope => SPANS.map(span => ({ scope, span })))) {
      await rig.add(account, 1)
      const limits = [{ ...window, limit: 9 }]
      await rig.settle(await claim(limits), SENT, limits)
      expect(await rig.rows('select scope, span, used from limit_buckets')).toEqual([{ ...window, used: 1 }])
      await rig.exec('delete from limit_buckets')
    }
  })

  it('the tenant’s limit is shared by its accounts, in flight and settled, also within one unit', async () => {
    const second = await rig.account()
    const stranger = await rig.account('beta')
    for (const each of [account, second, stranger]) await rig.add(each, 10)
    const limits: Limit[] = [{ scope: 't:acme', span: 3_600_000, limit: 5 }]
    const request = (from: TestAccount, limit: number, own = limits) => ({
      accountKey: from.key,
      limit,
      maxPriority: 3,
      dueBy: null,
      suspendedBatches: [],
      limits: own,
      now: rig.now,
    })
    const foreign: Limit[] = [{ scope: 't:beta', span: 3_600_000, limit: 2 }]
    const [a, b, c] = await claimDue(rig.db, lease, rig.now, [
      request(account, 3),
      request(second, 10),
      request(stranger, 10, foreign),
    ])
    expect([a!.length, b!.length, c!.length]).toEqual([3, 2, 2])
    await rig.settle([...a!, ...b!], SENT, limits)
    expect(await claim(limits)).toHaveLength(0)
    expect(await claim(limits, 10, second)).toHaveLength(0)
  })

  it('claimers at the same time together never pass the limit', async () => {
    await rig.add(account, 200)
    const limits = perMinute(50)
    const leases = await Promise.all(Array.from({ length: 4 }, () => rig.lease()))
    for (let round = 0; round < 5; round += 1) {
      const taken = await Promise.all(leases.map(mine => rig.claim(account, mine, { limits, limit: 20 })))
      if (round === 0) expect(taken.flat()).toHaveLength(50)
      else expect(taken.flat()).toHaveLength(0)
      await Promise.all(taken.map(claims => rig.settle(claims, SENT, limits)))
    }
    expect((await rig.rows('select sum(used) as n from limit_buckets')).map(row => Number(row.n))).toEqual([50])
  })

  it('claims that a crash left count until rescued, and then as used', async () => {
    await rig.add(account, 10)
    const limits = perMinute(3)
    await rig.exec('update accounts set limit_per_minute = 3 where key = $1', account.key)
    const dying = await rig.lease({ leaseMs: 10_000 })
    expect(await rig.claim(account, dying, { limits })).toHaveLength(3)
    rig.now += 10 * MINUTE
    expect(await claim(limits)).toHaveLength(0)
    const journal = rig.journal()
    for (const dead of await declareDead(rig.db, rig.now, false)) {
      await rescue(
        {
          db: rig.db,
          log: silentLog,
          journal,
          epoch: 'today',
          steadyNow: () => rig.now,
          policyOf: () => POLICY,
        },
        dead,
        rig.now,
      )
    }
    expect(await rig.rows('select seq from messages where stage = 3')).toEqual([])
    rig.now += MINUTE
    expect(await claim(limits)).toHaveLength(0)
    rig.now += WIDTH
    expect(await claim(limits)).toHaveLength(3)
  })

  it('a place of the ring is used anew, and only for its new bucket', async () => {
    await rig.add(account, 20)
    const limits = perMinute(5)
    await rig.settle(await claim(limits), SENT, limits)
    rig.now += RING * WIDTH
    await rig.settle(await claim(limits, 2), SENT, limits)
    expect((await rig.rows('select slot, used from limit_buckets')).map(row => Number(row.used))).toEqual([2])
    expect(await claim(limits)).toHaveLength(3)
  })

  it('a clock that goes back makes it count too much for a while, never too little', async () => {
    await rig.add(account, 20)
    const limits = perMinute(5)
    const early = await claim(limits, 2)
    rig.now += RING * WIDTH
    await rig.settle(await claim(limits, 3), SENT, limits)
    rig.now -= RING * WIDTH
    await rig.settle(early, SENT, limits)
    expect(await claim(limits)).toHaveLength(0)
    rig.now += RING * WIDTH
    expect(await claim(limits)).toHaveLength(0)
  })

  it('projected turns are those at which the claim lets in', async () => {
    await rig.add(account, 30)
    const limits: Limit[] = [...perMinute(3), { scope: `a:${account.key}`, span: 3_600_000, limit: 5 }]
    await rig.settle(await claim(limits, 2), SENT, limits)
    rig.now += 5_000
    const turns = await projectTurns(rig.db, limits, rig.now, 6)
    expect(turns[0]).toBe(rig.now)
    for (const [i, turn] of turns.entries()) {
      // Exact as far as slots already used come free; beyond, a bucket is allowed for the sends to come.
      if (i < 3 && turn > rig.now) {
        rig.now = turn - 1
        expect(await claim(limits)).toHaveLength(0)
      }
      rig.now = turn
      const claims = await claim(limits, 1)
      expect(claims).toHaveLength(1)
      await rig.settle(claims, SENT, limits)
    }
  })

  it('projected turns know what is in flight', async () => {
    await rig.add(account, 5)
    await claim(perMinute(2))
    expect(await projectTurns(rig.db, perMinute(2), rig.now, 1)).toEqual([rig.now + MINUTE + WIDTH])
    expect(await projectTurns(rig.db, [{ scope: 't:acme', span: MINUTE, limit: 3 }], rig.now, 2)).toEqual([
      rig.now,
      rig.now + MINUTE + WIDTH,
    ])
  })

  it('whatever the order of claims and settles, the server never sees more than the limit in a window', async () => {
    const step = fc.record({
      moveMs: fc.oneof(fc.nat(2_000), fc.nat(70_000)),
      claims: fc.nat(4),
      settles: fc.array(fc.record({ which: fc.nat(9), seen: fc.double({ min: 0, max: 1, noNaN: true }) }), {
        maxLength: 4,
      }),
    })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 25 }), async (limit, steps) => {
        await rig.clear()
        account = await rig.account()
        lease = await rig.lease()
        await rig.add(account, 110)
        const limits = perMinute(limit)
        const open: { claimed: Claimed; at: number }[] = []
        const seen: number[] = []
        for (const each of steps) {
          rig.now += each.moveMs
          if (each.claims > 0)
            open.push(...(await claim(limits, each.claims)).map(claimed => ({ claimed, at: rig.now })))
          for (const { which, seen: share } of each.settles) {
            const [one] = open.splice(which % Math.max(1, open.length), 1)
            if (one === undefined) break
            seen.push(one.at + share * (rig.now - one.at))
            await rig.settle([one.claimed], SENT, limits)
          }
        }
        seen.push(...open.map(each => each.at))
        seen.sort((a, b) => a - b)
        for (let i = limit; i < seen.length; i += 1) expect(seen[i]! - seen[i - limit]!).toBeGreaterThan(MINUTE)
      }),
      { numRuns: 15 },
    )
  })
})

describe('limits and leases by PostgreSQL’s own clock', () => {
  let rig: QueueRig
  let db: Db
  beforeAll(async () => {
    rig = await openQueueRig('postgres')
    db = await openPostgres(rig.temp.url, { clock: 'database', poolSize: 2, log: silentLog })
  })
  afterAll(async () => {
    await db.close()
    await rig.temp.drop()
  })

  it('the process’s time, however wrong, changes nothing', async () => {
    const account = await rig.account()
    await rig.add(account, 5)
    const limits: Limit[] = [{ scope: `a:${account.key}`, span: MINUTE, limit: 1 }]
    const held = await takeLease({ db, clock: systemClock, leaseMs: MINUTE, holder: 'x', epoch: 'today' }, 0)
    const request = {
      accountKey: account.key,
      limit: 5,
      maxPriority: 3,
      dueBy: null,
      suspendedBatches: [],
      limits,
      now: Date.now(),
    }
    const claim = async () => (await claimDue(db, held.id, 0, [request]))[0]!
    const claims = await claim()
    expect(claims).toHaveLength(1)
    const transition = nextTransition(claims[0]!, ['b@y.test'], SENT, POLICY, rig.now, () => 0.5)
    await settle(db, held.id, { now: 0, steadyNow: 0 }, [
      { transition, claim: claims[0]!.claim, tenantId: 'acme', limits },
    ])
    const [bucket] = await rig.rows('select bucket, slot, used from limit_buckets')
    expect(Math.abs(Number(bucket!.bucket) - Date.now() / WIDTH)).toBeLessThan(10)
    expect(bucket).toMatchObject({ slot: Number(bucket!.bucket) % RING, used: 1 })
    expect(await claim()).toHaveLength(0)
    expect(await held.renew(0)).toBe(true)
    expect(await held.renew(Number.MAX_SAFE_INTEGER)).toBe(true)
    expect(await declareDead(db, Number.MAX_SAFE_INTEGER, false)).toEqual([])
  })
})
