import { describe, expect, it } from 'vitest'
import type { Db } from '../../src/db/db.js'
import { cancelMessage, deleteMessages, discardMessage, releaseMessage, retryMessage } from '../../src/queue/operate.js'
import { cleanupMessages, createPruner, type Purge } from '../../src/queue/prune.js'
import { Stage } from '../../src/queue/stage.js'
import { LATER, type QueueRig, REFUSED, SENT, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

/** Rows as they stand in each state of a message's life. */
const STATES = {
  ready: { stage: Stage.ready, status: 'pending', accepted: 0 },
  waiting: { stage: Stage.waiting, status: 'deferred', accepted: 0 },
  'partly accepted, waiting': { stage: Stage.waiting, status: 'deferred', accepted: 1 },
  'being sent': { stage: Stage.claimed, status: 'sending', accepted: 0 },
  'in doubt': { stage: Stage.doubt, status: 'in_doubt', accepted: 0 },
  sent: { stage: Stage.ended, status: 'sent', accepted: 1 },
  failed: { stage: Stage.ended, status: 'error', accepted: 0 },
  cancelled: { stage: Stage.ended, status: 'cancelled', accepted: 0 },
} as const
type State = keyof typeof STATES
const states = Object.keys(STATES) as State[]

const VERBS = {
  retry: { run: retryMessage, allowed: ['failed', 'cancelled'] },
  cancel: { run: cancelMessage, allowed: ['ready', 'waiting', 'partly accepted, waiting'] },
  release: { run: releaseMessage, allowed: ['in doubt'] },
  discard: { run: discardMessage, allowed: ['in doubt'] },
} as const
type Verb = keyof typeof VERBS
const table = (Object.keys(VERBS) as Verb[]).flatMap(verb => states.map(state => [verb, state] as const))

describe.each(dialects)('operators on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
  })

  const inState = async (state: State, from = account) => {
    const { stage, status, accepted } = STATES[state]
    const [id] = await rig.add(from, 1)
    await rig.exec(
      'update messages set stage = $2, status = $3, accepted = $4 where id = $1',
      id!,
      stage,
      status,
      accepted,
    )
    return id!
  }
  const target = (id: string, tenantId = 'acme') => ({ tenantId, id, now: rig.now })

  it.each(table)('%s of a message that is %s', async (verb, state) => {
    const id = await inState(state)
    const before = await rig.dump()
    const allowed = (VERBS[verb].allowed as readonly string[]).includes(state)
    expect(await VERBS[verb].run(rig.db, target(id))).toBe(allowed ? 'done' : 'wrong_state')
    if (!allowed) expect(await rig.dump()).toEqual(before)
  })

  it.each(Object.keys(VERBS) as Verb[])('%s of an unknown id, or another tenant’s', async verb => {
    const other = await rig.account('beta')
    const id = await inState('in doubt', other)
    expect(await VERBS[verb].run(rig.db, target('nobody'))).toBe('not_found')
    expect(await VERBS[verb].run(rig.db, target(id))).toBe('not_found')
  })

  it('a retried message starts anew, and is delivered', async () => {
    const [id] = await rig.add(account, 1, { expiresAt: rig.now + 1_000 })
    const lease = await rig.lease()
    await rig.settle(await rig.claim(account, lease), REFUSED)
    await rig.exec('update messages set reported_at = 5, causes = 3')
    rig.now += 5_000
    expect(await retryMessage(rig.db, target(id!))).toBe('done')
    expect(await rig.row(id!)).toMatchObject({
      stage: Stage.ready,
      status: 'pending',
      attempts: 0,
      due_at: rig.now,
      error: null,
      error_at: null,
      code: null,
      causes: 0,
      recipients: null,
      reported_at: null,
      expires_at: null,
    })
    const claims = await rig.claim(account, lease)
    expect(claims.map(each => each.id)).toEqual([id])
    await rig.settle(claims, SENT)
    expect((await rig.rows('select type from events order by id')).map(row => row.type)).toEqual(['error', 'sent'])
  })

  it('a released doubt is sent again, with its attempts', async () => {
    const id = await inState('in doubt')
    await rig.exec('update messages set attempts = 2')
    await releaseMessage(rig.db, target(id))
    expect(await rig.claim(account, await rig.lease())).toMatchObject([{ id, attempts: 2 }])
  })

  it('a discarded doubt is an error that says so', async () => {
    const id = await inState('in doubt')
    await discardMessage(rig.db, target(id))
    expect(await rig.row(id)).toMatchObject({
      status: 'error',
      code: 'in_doubt_discarded',
      error_at: rig.now,
      sent_at: null,
    })
    expect(await rig.rows('select type, pending from events')).toEqual([{ type: 'error', pending: 1 }])
  })

  it('a cancelled message is reported cancelled and never claimed', async () => {
    const id = await inState('waiting')
    await cancelMessage(rig.db, target(id))
    expect(await rig.row(id)).toMatchObject({ status: 'cancelled', code: 'cancelled', error_at: rig.now })
    const [event] = await rig.rows('select type, entry from events')
    expect(JSON.parse(event!.entry as string)).toMatchObject({ id, error: 'cancelled on request', code: 'cancelled' })
    rig.now += 1e9
    expect(await rig.claim(account, await rig.lease())).toEqual([])
  })

  it('cancelled while its content is replaced: the cancel holds for what is there', async () => {
    const id = await inState('ready')
    let raced = false
    const racing: Db = {
      ...rig.db,
      async write(unit) {
        if (!raced) {
          raced = true
          await rig.enqueue(rig.message(account, { id }))
        }
        return rig.db.write(unit)
      },
    }
    expect(await cancelMessage(racing, target(id))).toBe('done')
    expect(await rig.row(id)).toMatchObject({ status: 'cancelled' })
  })

  describe('deleteMessages', () => {
    it.each(states)('a message that is %s', async state => {
      const id = await inState(state)
      await rig.exec(
        "insert into events (tenant_id, seq, type, at, entry, pending) select tenant_id, seq, 'x', 0, '{}', 1 from messages",
      )
      await rig.exec(
        "insert into events (tenant_id, seq, type, at, entry, pending) select tenant_id, seq, 'y', 0, '{}', 0 from messages",
      )
      const before = await rig.dump()
      const deleted = await deleteMessages(rig.db, { tenantId: 'acme', ids: [id] })
      if (state === 'being sent') {
        expect(deleted).toEqual({ removed: 0, notFound: [], unauthorized: [], inProgress: [id] })
        expect(await rig.dump()).toEqual(before)
      } else {
        expect(deleted).toEqual({ removed: 1, notFound: [], unauthorized: [], inProgress: [] })
        // Nothing is left behind: neither content nor history, owed or told.
        expect(await rig.rows('select seq from contents')).toEqual([])
        expect(await rig.rows('select id from events')).toEqual([])
        expect(await rig.rows('select seq from messages')).toEqual([])
      }
    })

    it('sorts what it was given: removed, unknown, being sent; doubles count once', async () => {
      const [open, busy] = [await inState('ready'), await inState('being sent')]
      expect(await deleteMessages(rig.db, { tenantId: 'acme', ids: ['zz', busy, open, 'aa', open] })).toEqual({
        removed: 1,
        notFound: ['aa', 'zz'],
        unauthorized: [],
        inProgress: [busy],
      })
    })

    it('another tenant’s id is as unknown as any', async () => {
      const id = await inState('ready', await rig.account('beta'))
      const busy = await inState('being sent', await rig.account('beta'))
      expect(await deleteMessages(rig.db, { tenantId: 'acme', ids: [id, busy] })).toMatchObject({
        removed: 0,
        notFound: [id, busy].sort(),
        inProgress: [],
      })
      expect(await rig.rows('select id from messages')).toHaveLength(2)
    })

    it('an admin deletes the id of any tenant', async () => {
      const other = await rig.account('beta')
      await rig.enqueue(rig.message(account, { id: 'same' }), rig.message(other, { id: 'same' }))
      const busy = await inState('being sent', other)
      expect(await deleteMessages(rig.db, { tenantId: null, ids: ['same', busy, 'nobody'] })).toEqual({
        removed: 2,
        notFound: ['nobody'],
        unauthorized: [],
        inProgress: [busy],
      })
    })

    it('beside a claim each message goes one way, and none loses its reports', async () => {
      await rig.add(account, 40)
      const lease = await rig.lease()
      await rig.settle(await rig.claim(account, lease), LATER)
      await rig.exec('update messages set stage = 1')
      const ids = (await rig.rows('select id from messages')).map(row => row.id as string)
      const [claims, deleted] = await Promise.all([
        rig.claim(account, lease, { limit: 20 }),
        deleteMessages(rig.db, { tenantId: 'acme', ids }),
      ])
      expect(claims.length + deleted.removed).toBe(40)
      expect(deleted.inProgress).toHaveLength(claims.length)
      // The report that each claimed one still owes is there.
      expect(await rig.rows('select count(*) as n from events where pending = 1')).toEqual([{ n: claims.length }])
    })
  })

  describe('cleanupMessages', () => {
    const DAY = 86_400_000
    let elapsed = 0
    const clock = { now: () => rig.now, monotonic: () => elapsed, sleep: async () => {} }
    const old = () => ({ tenantId: null, before: rig.now - DAY })
    const prune = (fields: Partial<Purge> = {}) => cleanupMessages(rig.db, clock, { ...old(), ...fields })
    /** Ended and reported at this time. */
    const reported = async (count: number, at: number, from = account) => {
      const ids = await rig.add(from, count)
      await rig.settle(await rig.claim(from, await rig.lease(), { limit: count }), SENT)
      await rig.exec('update events set pending = 0, reported_at = $1 where pending = 1', at)
      await rig.exec('update messages set reported_at = $1 where stage = 0 and reported_at is null', at)
      return ids
    }

    it('what was reported long enough ago goes, with content and history; the rest stays', async () => {
      await reported(3, rig.now - DAY)
      const [kept] = await reported(1, rig.now - DAY + 1)
      const [open] = await rig.add(account, 1)
      expect(await prune()).toBe(3)
      expect((await rig.rows('select id from messages order by seq')).map(row => row.id)).toEqual([kept, open])
      expect(await rig.rows('select seq from contents')).toHaveLength(2)
      expect(await rig.rows('select id from events')).toHaveLength(1)
      expect(await prune()).toBe(0)
    })

    it('what is still owed stays, however old', async () => {
      await rig.add(account, 1)
      await rig.settle(await rig.claim(account, await rig.lease()), SENT)
      rig.now += 100 * DAY
      expect(await prune()).toBe(0)
      expect(await rig.rows('select id from events where pending = 1')).toHaveLength(1)
    })

    it('one tenant’s only', async () => {
      const other = await rig.account('beta')
      await reported(2, rig.now - 2 * DAY)
      await reported(3, rig.now - 2 * DAY, other)
      expect(await prune({ tenantId: 'beta' })).toBe(3)
      expect(await rig.rows('select distinct tenant_id from messages')).toEqual([{ tenant_id: 'acme' }])
    })

    it('one tenant’s few among others’ many, chunk after chunk', async () => {
      const other = await rig.account('beta')
      await reported(700, rig.now - 3 * DAY)
      await reported(600, rig.now - 2 * DAY, other)
      await reported(700, rig.now - 2 * DAY)
      expect(await prune({ tenantId: 'beta' })).toBe(600)
      expect(await rig.rows("select count(*) as n from messages where tenant_id = 'beta'")).toEqual([{ n: 0 }])
    })

    it('in pieces, all reported in the same instant', async () => {
      await reported(1_200, rig.now - 2 * DAY)
      const pruner = createPruner(rig.db, clock, old())
      expect(await pruner.next()).toEqual({ removed: 500, pauseMs: 10 })
      // Messages and their events go together, whatever the piece.
      expect(await rig.rows('select count(*) as n from messages')).toEqual([{ n: 700 }])
      expect(await rig.rows('select count(*) as n from events')).toEqual([{ n: 700 }])
      expect(await prune()).toBe(700)
      expect(await rig.rows('select count(*) as n from events')).toEqual([{ n: 0 }])
    })

    it('also where statistics are of a time when there was next to nothing', async () => {
      await reported(1_200, rig.now - 2 * DAY)
      expect(await prune()).toBe(1_200)
      await rig.add(account, 1)
      if (dialect === 'postgres') await rig.exec('analyze')
      await reported(1_200, rig.now - 2 * DAY)
      expect(await prune()).toBe(1_200)
    })

    it('a piece that took long is followed by a longer pause and by smaller ones, down to a hundred', async () => {
      await reported(1_200, rig.now - 2 * DAY)
      let takesMs = 40
      const slow: Db = {
        ...rig.db,
        write(unit) {
          elapsed += takesMs
          return rig.db.write(unit)
        },
      }
      const pruner = createPruner(slow, clock, old())
      const pieces = []
      for (let i = 0; i < 4; i += 1) pieces.push(await pruner.next())
      expect(pieces).toEqual([500, 250, 125, 100].map(removed => ({ removed, pauseMs: 80 })))
      takesMs = 5
      expect(await pruner.next()).toEqual({ removed: 100, pauseMs: 10 })
      expect(await pruner.next()).toEqual({ removed: 125, pauseMs: null })
    })

    it('tried again between the look and the purge: it stays, with its history', async () => {
      const [id] = await rig.add(account, 1)
      await rig.settle(await rig.claim(account, await rig.lease()), REFUSED)
      await rig.exec('update events set pending = 0, reported_at = 1')
      await rig.exec('update messages set reported_at = 1')
      let raced = false
      const racing: Db = {
        ...rig.db,
        async write(unit) {
          if (!raced) {
            raced = true
            await retryMessage(rig.db, { tenantId: 'acme', id: id!, now: rig.now })
          }
          return rig.db.write(unit)
        },
      }
      expect(await cleanupMessages(racing, clock, { tenantId: null, before: rig.now })).toBe(0)
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.ready })
      expect(await rig.rows('select id from events')).toHaveLength(1)
    })

    it('events that outlived their message go too, once they are owed no more and old enough', async () => {
      const [id] = await rig.add(account, 1)
      const lease = await rig.lease()
      await rig.settle(await rig.claim(account, lease), REFUSED)
      // Submitted anew: the first life's report is still owed.
      await rig.enqueue(rig.message(account, { id: id! }))
      rig.now += 30 * DAY
      await prune()
      expect(await rig.rows('select id from events')).toHaveLength(1)
      await rig.exec('update events set pending = 0, reported_at = $1', rig.now)
      rig.now += DAY - 1
      await prune()
      expect(await rig.rows('select id from events')).toHaveLength(1)
      rig.now += 1
      await prune()
      expect(await rig.rows('select id from events')).toEqual([])
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.ready })
    })

    it('the walk for them goes on from call to call, and round again', async () => {
      await rig.exec(
        `insert into events (tenant_id, seq, type, at, entry, pending)
          select 'acme', 1, 'x', 0, '{}', 0 from @rows($1: k bigint) g`,
        JSON.stringify(Array.from({ length: 2_500 }, (_, k) => ({ k }))),
      )
      for (let i = 0; i < 4; i += 1) await prune()
      expect(await rig.rows('select count(*) as n from events')).toEqual([{ n: 0 }])
      await rig.exec(
        "insert into events (tenant_id, seq, type, at, entry, pending) values ('acme', 1, 'x', 0, '{}', 0)",
      )
      for (let i = 0; i < 2; i += 1) await prune()
      expect(await rig.rows('select count(*) as n from events')).toEqual([{ n: 0 }])
    })
  })
})
