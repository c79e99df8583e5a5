/** The queue at a glance: counts by stage and by age, and who waits longest. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readQueueState } from '../../src/queue/state.js'
import { openQueueRig, type QueueRig, SENT } from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('the queue’s state on %s', dialect => {
  let rig: QueueRig
  beforeAll(async () => {
    rig = await openQueueRig(dialect)
  })
  afterAll(() => rig.temp.drop())

  it('is all zeros when the queue is empty', async () => {
    await rig.clear()
    const state = await readQueueState(rig.db, rig.now)
    expect(state).toMatchObject({ due: 0, waiting: 0, sending: 0, inDoubt: 0, oldestDueAt: null, accounts: [] })
    expect([...state.byAge.values()]).toEqual([0, 0, 0, 0, 0, 0])
  })

  it('counts each message once, where it stands and by how long it has been due', async () => {
    await rig.clear()
    const [old, young] = [await rig.account('acme'), await rig.account('beta')]
    const start = rig.now
    await rig.add(old, 2)
    rig.now = start + 7 * 3_600_000 - 59_999
    await rig.add(young, 3)
    const [ended] = await rig.add(young, 1)
    rig.now = start + 7 * 3_600_000
    await rig.add(young, 1, { notBefore: rig.now + 60_000 })
    const lease = await rig.lease()
    const claims = await rig.claim(young, lease, { limit: 4 })
    await rig.settle(claims.filter(({ id }) => id === ended).slice(0, 1), SENT)
    // Held in doubt, and one whose time has come while nobody dispatched.
    await rig.exec('update messages set stage = 4, lease = null where seq = $1', claims[0]!.seq)
    await rig.exec('update messages set stage = 2, lease = null, due_at = $2 where seq = $1', claims[1]!.seq, start)

    const state = await readQueueState(rig.db, rig.now)
    expect(state).toMatchObject({ due: 3, waiting: 1, sending: 1, inDoubt: 1, oldestDueAt: start })
    expect(Object.fromEntries(state.byAge)).toEqual({
      '0-1m': 0,
      '1-5m': 0,
      '5-15m': 0,
      '15m-1h': 0,
      '1-6h': 0,
      '6h+': 3,
    })
    expect(state.accounts).toContainEqual({
      accountKey: old.key,
      tenantId: 'acme',
      accountId: old.id,
      due: 2,
      oldestDueAt: start,
    })
    expect(state.accounts).toContainEqual({
      accountKey: young.key,
      tenantId: 'beta',
      accountId: young.id,
      due: 1,
      oldestDueAt: start,
    })
  })

  it('puts an age at a boundary into the older class', async () => {
    await rig.clear()
    const account = await rig.account('acme')
    await rig.add(account, 1)
    const at = async (ms: number) => {
      const { byAge } = await readQueueState(rig.db, rig.now + ms)
      return [...byAge].find(([, count]) => count === 1)?.[0]
    }
    expect([await at(0), await at(59_999), await at(60_000), await at(299_999), await at(300_000)]).toEqual([
      '0-1m',
      '0-1m',
      '1-5m',
      '1-5m',
      '5-15m',
    ])
    expect([await at(899_999), await at(900_000), await at(3_600_000), await at(21_600_000)]).toEqual([
      '5-15m',
      '15m-1h',
      '1-6h',
      '6h+',
    ])
  })
})
