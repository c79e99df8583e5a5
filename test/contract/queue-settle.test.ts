import { describe, expect, it } from 'vitest'
import type { Limit } from '../../src/limits/windows.js'
import { settle } from '../../src/queue/settle.js'
import { Stage } from '../../src/queue/stage.js'
import { nextTransition } from '../../src/queue/transition.js'
import {
  INTERRUPTED,
  LATER,
  POLICY,
  type QueueRig,
  REFUSED,
  SENT,
  type TestAccount,
  useQueueRig,
} from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('settle on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  let lease: number
  let limits: Limit[]
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
    lease = await rig.lease()
    limits = [{ scope: `a:${account.key}`, span: 60_000, limit: 10 }]
  })

  const events = async () =>
    (await rig.rows('select seq, type, at, entry, attempt, pending from events order by id')).map(row => ({
      seq: Number(row.seq),
      type: row.type,
      at: row.at,
      pending: row.pending,
      entry: JSON.parse(row.entry as string),
      attempt: row.attempt === null ? null : JSON.parse(row.attempt as string),
    }))

  it('sent: state, event and use together', async () => {
    const [id] = await rig.add(account, 1)
    const [claimed] = await rig.claim(account, lease)
    rig.now += 700
    expect(await rig.settle([claimed!], SENT, limits)).toEqual(new Set([claimed!.seq]))
    expect(await rig.row(id!)).toMatchObject({
      status: 'sent',
      stage: Stage.ended,
      attempts: 1,
      accepted: 1,
      lease: null,
      sent_at: rig.now,
      error_at: null,
      recipients: null,
      updated_at: rig.now,
    })
    expect(await events()).toEqual([
      {
        seq: claimed!.seq,
        type: 'sent',
        at: rig.now,
        entry: {
          id,
          sent_ts: Math.floor(rig.now / 1000),
          tenant_id: 'acme',
          account_id: account.id,
          priority: 2,
          attempts: 1,
        },
        attempt: SENT.attempt,
        pending: 1,
      },
    ])
    const buckets = await rig.rows('select scope, span, bucket, used from limit_buckets')
    expect(buckets).toEqual([{ scope: `a:${account.key}`, span: 60_000, bucket: Math.floor(rig.now / 600), used: 1 }])
  })

  it('each outcome leaves its own columns', async () => {
    const [refused, later, back] = await rig.add(account, 3)
    const claims = await rig.claim(account, lease)
    await rig.settle([claims[0]!], REFUSED)
    await rig.settle([claims[1]!], LATER)
    await rig.settle([claims[2]!], INTERRUPTED)
    expect(await rig.row(refused!)).toMatchObject({
      status: 'error',
      error: '550 no',
      code: '550',
      error_at: rig.now,
      sent_at: null,
    })
    expect(await rig.row(later!)).toMatchObject({
      status: 'deferred',
      stage: Stage.waiting,
      due_at: rig.now + 60_000,
      deferred_ts: rig.now + 60_000,
      deferred_reason: '451 later',
      error: null,
    })
    expect(await rig.row(back!)).toMatchObject({ status: 'pending', stage: Stage.ready, attempts: 0, lease: null })
    // What left no event and no attempt leaves no row.
    expect((await events()).map(each => each.type)).toEqual(['error', 'deferred'])
  })

  it('an attempt without a report is kept for people and owed to nobody', async () => {
    await rig.add(account, 1)
    const claims = await rig.claim(account, lease)
    await rig.settle(claims, {
      ...LATER,
      verdicts: [],
      failure: { scope: 'account', offered: false, code: '535', text: '535 bad' },
    })
    expect(await events()).toMatchObject([{ type: 'attempt', pending: 0, entry: {}, attempt: LATER.attempt }])
  })

  describe('of a tenant that was seen to have no endpoint', () => {
    const untold = { isUntold: true }
    const reported = async () => ({
      messages: (await rig.rows('select reported_at from messages order by seq')).map(row => row.reported_at),
      events: (await rig.rows('select pending, reported_at from events order by id')).map(row => [
        row.pending,
        row.reported_at,
      ]),
    })

    it('the end counts as reported at once, another tenant’s beside it does not', async () => {
      const other = await rig.account('beta')
      await rig.exec(`update tenants set client_base_url = 'https://beta.test' where id = 'beta'`)
      await rig.add(account, 1)
      await rig.add(other, 1)
      const claims = [...(await rig.claim(account, lease)), ...(await rig.claim(other, lease))]
      rig.now += 700
      await rig.settle(claims, REFUSED, limits, untold)
      expect(await reported()).toEqual({
        messages: [rig.now, null],
        events: [
          [0, rig.now],
          [1, null],
        ],
      })
    })

    it('one that got an endpoint meanwhile is told', async () => {
      await rig.add(account, 1)
      const claims = await rig.claim(account, lease)
      await rig.exec(`update tenants set client_base_url = 'https://acme.test' where id = 'acme'`)
      await rig.settle(claims, SENT, limits, untold)
      await rig.exec(`update tenants set client_base_url = null where id = 'acme'`)
      expect(await reported()).toEqual({ messages: [null], events: [[1, null]] })
    })

    it('what is owed from before, as that it was deferred, keeps the end owed', async () => {
      await rig.add(account, 1)
      await rig.settle(await rig.claim(account, lease), LATER, limits, untold)
      expect(await reported()).toEqual({ messages: [null], events: [[1, null]] })
      await rig.exec('update messages set stage = 1')
      await rig.settle(await rig.claim(account, lease), SENT, limits, untold)
      expect((await reported()).messages).toEqual([null])
      expect((await reported()).events).toEqual([
        [1, null],
        [1, null],
      ])
    })
  })

  it('many at once, in one unit', async () => {
    await rig.add(account, 100)
    const claims = await rig.claim(account, lease)
    expect((await rig.settle(claims, SENT, limits)).size).toBe(100)
    expect(await events()).toHaveLength(100)
    expect((await rig.rows('select used from limit_buckets')).map(row => Number(row.used))).toEqual([100])
  })

  it('the result of an earlier claim, told twice, does not end a later one under the same lease', async () => {
    await rig.add(account, 1)
    const [first] = await rig.claim(account, lease)
    await rig.settle([first!], INTERRUPTED)
    const [second] = await rig.claim(account, lease)
    expect(second).toMatchObject({ seq: first!.seq, lease })
    const before = await rig.dump()
    expect(await rig.settle([first!], SENT)).toEqual(new Set())
    expect(await rig.dump()).toEqual(before)
    expect((await rig.settle([second!], SENT)).size).toBe(1)
  })

  it('the result of an earlier claim, told with that of the later one, is not written', async () => {
    await rig.add(account, 1)
    const [first] = await rig.claim(account, lease)
    await rig.settle([first!], INTERRUPTED)
    const [second] = await rig.claim(account, lease)
    expect(await rig.settle([first!, second!], SENT, limits)).toEqual(new Set([second!.seq]))
    expect(await events()).toHaveLength(1)
    expect((await rig.rows('select used from limit_buckets')).map(row => Number(row.used))).toEqual([1])
  })

  it('nothing to settle is no work', async () => {
    expect(await settle(rig.db, lease, { now: rig.now, steadyNow: rig.now }, [])).toEqual(new Set())
  })

  describe('a lost lease writes nothing at all', () => {
    it.each([
      ['the rescuer gave the message back', async () => rig.exec('update messages set stage = 1, lease = null')],
      ['another worker has it by now', async () => rig.exec('update messages set lease = 987654')],
      ['it was settled before', async () => rig.exec("update messages set stage = 0, status = 'sent', lease = null")],
      ['it was deleted', async () => rig.exec('delete from messages')],
    ])('%s', async (_, lose) => {
      await rig.add(account, 2)
      const claims = await rig.claim(account, lease)
      await lose()
      const before = await rig.dump()
      for (const outcome of [SENT, REFUSED, LATER, INTERRUPTED]) {
        expect(await rig.settle(claims, outcome, limits)).toEqual(new Set())
      }
      expect(await rig.dump()).toEqual(before)
    })

    it('settling twice counts once', async () => {
      await rig.add(account, 1)
      const claims = await rig.claim(account, lease)
      await rig.settle(claims, LATER, limits)
      const before = await rig.dump()
      expect(await rig.settle(claims, SENT, limits)).toEqual(new Set())
      expect(await rig.dump()).toEqual(before)
    })

    it('of a batch only those that are still ours are written, whole', async () => {
      const ids = await rig.add(account, 3)
      const claims = await rig.claim(account, lease)
      await rig.exec('update messages set lease = 987654 where id = $1', ids[1]!)
      const mine = [claims[0]!.seq, claims[2]!.seq]
      expect(await rig.settle(claims, SENT, limits)).toEqual(new Set(mine))
      expect((await events()).map(each => each.seq).sort()).toEqual([...mine].sort())
      expect((await rig.rows('select used from limit_buckets')).map(row => Number(row.used))).toEqual([2])
      expect(await rig.row(ids[1]!)).toMatchObject({
        status: 'sending',
        stage: Stage.claimed,
        lease: 987654,
        attempts: 0,
      })
    })
  })

  it('the worker and the rescuer settle the same claim at once: one of them counts', async () => {
    await rig.add(account, 30)
    const claims = await rig.claim(account, lease)
    const [mine, theirs] = await Promise.all([rig.settle(claims, SENT, limits), rig.settle(claims, LATER, limits)])
    expect(mine!.size + theirs!.size).toBe(30)
    expect(await events()).toHaveLength(30)
    expect((await rig.rows('select sum(used) as n from limit_buckets')).map(row => Number(row.n))).toEqual([30])
  })

  it('a unit that fails writes no part of itself', async () => {
    await rig.add(account, 2)
    const claims = await rig.claim(account, lease)
    const before = await rig.dump()
    const settlements = claims.map(claimed => ({
      transition: nextTransition(claimed, ['b@y.test'], SENT, POLICY, rig.now, () => 0.5),
      claim: claimed.claim,
      tenantId: claimed.tenantId,
      limits,
    }))
    // The last statement of the unit breaks on a column that may not be null.
    const broken = [
      settlements[0]!,
      { ...settlements[1]!, transition: { ...settlements[1]!.transition, status: null as never } },
    ]
    await expect(settle(rig.db, lease, { now: rig.now, steadyNow: rig.now }, broken)).rejects.toThrow(/null/i)
    expect(await rig.dump()).toEqual(before)
    // The twin: whole, it is accepted.
    expect((await settle(rig.db, lease, { now: rig.now, steadyNow: rig.now }, settlements)).size).toBe(2)
  })

  it('a settle under the lease counts even when the lease has run out, until somebody frees the claim', async () => {
    const dying = await rig.lease({ leaseMs: 1_000 })
    await rig.add(account, 1)
    const claims = await rig.claim(account, dying)
    rig.now += 60_000
    expect((await rig.settle(claims, SENT)).size).toBe(1)
  })

  it('server words of every kind survive', async () => {
    const [id] = await rig.add(account, 1)
    const text = '451 ‘später’ "quoted" \\ 😀'
    await rig.settle(await rig.claim(account, lease), {
      ...LATER,
      verdicts: [{ address: 'b@y.test', verdict: 'transient', code: '451', text }],
    })
    expect(await rig.row(id!)).toMatchObject({ deferred_reason: text })
  })
})
