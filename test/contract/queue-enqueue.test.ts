import { describe, expect, it } from 'vitest'
import type { Db } from '../../src/db/db.js'
import type { Message } from '../../src/messages/message.js'
import { loadContent } from '../../src/queue/claim.js'
import { enqueue } from '../../src/queue/enqueue.js'
import { Stage } from '../../src/queue/stage.js'
import { LATER, type QueueRig, REFUSED, SENT, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('enqueue on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
  })

  const contentOf = async (id: string) => {
    const { seq } = await rig.row(id)
    const [row] = await rig.rows('select envelope, trace from contents where seq = $1', Number(seq))
    const content = await loadContent(rig.db, Number(seq))
    return { content, envelope: JSON.parse(row!.envelope as string), trace: row!.trace }
  }
  const resubmit = (id: string, subject = 'corrected') => {
    const fresh = rig.message(account, { id })
    return rig.enqueue({ ...fresh, content: { ...fresh.content, subject } })
  }

  it('a message comes back as it was given, whatever it holds', async () => {
    const message = rig.message(account, {
      id: 'grüße 😀 "quoted" \\',
      priority: 1,
      batchCode: 'käse',
      expiresAt: rig.now + 5_000,
      envelope: { from: '', to: ['a@y.test', 'b@y.test'] },
    })
    const content = { ...message.content, subject: 'ünï\u0000\ud800 \\u0000 😀', body: '\u2028</script>\r\n' }
    expect(await rig.enqueue({ ...message, content })).toEqual(['queued'])
    expect(await rig.row(message.id)).toMatchObject({
      account_key: account.key,
      account_id: account.id,
      status: 'pending',
      stage: Stage.ready,
      priority: 1,
      batch_code: 'käse',
      due_at: rig.now,
      expires_at: rig.now + 5_000,
      attempts: 0,
      accepted: 0,
      created_at: rig.now,
    })
    expect(await contentOf(message.id)).toEqual({ content, envelope: message.envelope, trace: null })
  })

  it('the trace that brought it is kept, and is that of what was submitted last', async () => {
    const traced = rig.message(account, { trace: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` })
    await rig.enqueue(traced)
    expect((await contentOf(traced.id))?.trace).toBe(traced.trace)
    await rig.enqueue({ ...traced, trace: null })
    expect((await contentOf(traced.id))?.trace).toBe(null)
  })

  it('not before: it waits, and is told deferred until then', async () => {
    const [later, past] = [
      rig.message(account, { notBefore: rig.now + 1 }),
      rig.message(account, { notBefore: rig.now }),
    ]
    await rig.enqueue(later, past)
    expect(await rig.row(later.id)).toMatchObject({
      stage: Stage.waiting,
      status: 'deferred',
      due_at: rig.now + 1,
      deferred_ts: rig.now + 1,
    })
    expect(await rig.row(past.id)).toMatchObject({ stage: Stage.ready, status: 'pending', deferred_ts: null })
  })

  it('the same id of two tenants is two messages', async () => {
    const other = await rig.account('beta')
    const both = [rig.message(account, { id: 'same' }), rig.message(other, { id: 'same' })]
    expect(await rig.enqueue(...both)).toEqual(['queued', 'queued'])
    expect(await rig.rows("select tenant_id from messages where id = 'same' order by tenant_id")).toEqual([
      { tenant_id: 'acme' },
      { tenant_id: 'beta' },
    ])
  })

  it('of two equal ids in one call the last content wins, and both are queued', async () => {
    const [one, two] = [rig.message(account, { id: 'twice' }), rig.message(account, { id: 'twice' })]
    const answers = await rig.enqueue(one, { ...two, content: { ...two.content, subject: 'second' } })
    expect(answers).toEqual(['queued', 'queued'])
    expect((await contentOf('twice'))?.content?.subject).toBe('second')
    expect(await rig.rows('select id from messages')).toHaveLength(1)
  })

  it('answers stand in the order of the messages', async () => {
    const [sent] = await rig.add(account, 1)
    await rig.settle(await rig.claim(account, await rig.lease()), SENT)
    const answers = await rig.enqueue(rig.message(account), rig.message(account, { id: sent! }), rig.message(account))
    expect(answers).toEqual(['queued', 'already_sent', 'queued'])
  })

  it('an empty call is no work', async () => {
    expect(await rig.enqueue()).toEqual([])
  })

  describe('the same id again', () => {
    it('ready: the content is replaced, the place kept, attempts and all they left reset', async () => {
      const [first, second] = await rig.add(account, 2)
      const before = await rig.row(first!)
      await rig.exec(
        `update messages set attempts = 3, causes = 1, status = 'deferred', deferred_ts = 5, deferred_reason = 'x',
          recipients = '[]', error = 'x', code = 'x' where seq = $1`,
        Number(before.seq),
      )
      rig.now += 1_000
      expect(await resubmit(first!)).toEqual(['queued'])
      expect((await contentOf(first!))?.content?.subject).toBe('corrected')
      expect(await rig.row(first!)).toMatchObject({
        seq: before.seq,
        created_at: before.created_at,
        attempts: 0,
        causes: 0,
        status: 'pending',
        deferred_ts: null,
        deferred_reason: null,
        recipients: null,
        error: null,
        code: null,
      })
      const claims = await rig.claim(account, await rig.lease())
      expect(claims.map(each => each.id)).toEqual([first, second])
    })

    it('waiting for a retry: replaced and due now, attempts reset', async () => {
      const [id] = await rig.add(account, 1)
      await rig.settle(await rig.claim(account, await rig.lease()), LATER)
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.waiting, attempts: 1 })
      expect(await resubmit(id!)).toEqual(['queued'])
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.ready, attempts: 0, due_at: rig.now })
    })

    it('it may move to another account', async () => {
      const other = await rig.account()
      const [id] = await rig.add(account, 1)
      await rig.enqueue(rig.message(other, { id: id! }))
      const lease = await rig.lease()
      expect(await rig.claim(account, lease)).toEqual([])
      expect(await rig.claim(other, lease)).toMatchObject([{ id, accountId: other.id }])
    })

    it('being sent: in_progress, and nothing changes', async () => {
      const [id] = await rig.add(account, 1)
      await rig.claim(account, await rig.lease())
      const before = await rig.dump()
      expect(await resubmit(id!)).toEqual(['in_progress'])
      expect(await rig.dump()).toEqual(before)
      expect((await contentOf(id!))?.content?.subject).toBe('Subject')
    })

    it('sent: already_sent, and nothing changes', async () => {
      const [id] = await rig.add(account, 1)
      await rig.settle(await rig.claim(account, await rig.lease()), SENT)
      const before = await rig.dump()
      expect(await resubmit(id!)).toEqual(['already_sent'])
      expect(await rig.dump()).toEqual(before)
      expect((await contentOf(id!))?.content?.subject).toBe('Subject')
    })

    it.each([
      ['held in doubt', { stage: Stage.doubt, status: 'in_doubt', accepted: 0 }],
      ['waiting with one recipient accepted', { stage: Stage.waiting, status: 'deferred', accepted: 1 }],
      ['ready with one recipient accepted', { stage: Stage.ready, status: 'pending', accepted: 1 }],
      ['cancelled with one recipient accepted', { stage: Stage.ended, status: 'cancelled', accepted: 1 }],
    ])('%s: already_sent, and nothing changes', async (_, { stage, status, accepted }) => {
      const [id] = await rig.add(account, 1)
      await rig.exec(
        'update messages set stage = $2, status = $3, accepted = $4 where id = $1',
        id!,
        stage,
        status,
        accepted,
      )
      const before = await rig.dump()
      expect(await resubmit(id!)).toEqual(['already_sent'])
      expect(await rig.dump()).toEqual(before)
    })

    it('waiting for a retry after an attempt in doubt: already_sent, for the server may have the first content', async () => {
      const [id] = await rig.add(account, 1)
      const lost = {
        ...LATER,
        inDoubt: true,
        failure: { scope: 'session' as const, offered: true, code: null, text: 'cut' },
      }
      await rig.settle(await rig.claim(account, await rig.lease()), lost)
      const before = await rig.dump()
      expect(before).toMatchObject({ messages: [{ stage: Stage.waiting }] })
      expect(await resubmit(id!)).toEqual(['already_sent'])
      expect(await rig.dump()).toEqual(before)
    })

    it('being sent with one recipient accepted: in_progress', async () => {
      const [id] = await rig.add(account, 1)
      await rig.exec('update messages set accepted = 1 where id = $1', id!)
      await rig.claim(account, await rig.lease())
      expect(await resubmit(id!)).toEqual(['in_progress'])
    })

    it.each(['error', 'cancelled'])(
      '%s with nothing accepted: a new submission at the end of the queue',
      async status => {
        const [id] = await rig.add(account, 1)
        await rig.settle(await rig.claim(account, await rig.lease()), REFUSED)
        await rig.exec('update messages set status = $2 where id = $1', id!, status)
        const before = await rig.row(id!)
        const [waiting] = await rig.add(account, 1)
        rig.now += 1_000
        expect(await resubmit(id!)).toEqual(['queued'])
        const after = await rig.row(id!)
        expect(Number(after.seq)).toBeGreaterThan(Number((await rig.row(waiting!)).seq))
        expect(after).toMatchObject({
          status: 'pending',
          attempts: 0,
          error: null,
          error_at: null,
          created_at: rig.now,
        })
        // The report of the first life is still owed.
        expect(await rig.rows('select type, pending from events where seq = $1', Number(before.seq))).toEqual([
          { type: 'error', pending: 1 },
        ])
        expect((await contentOf(id!))?.content?.subject).toBe('corrected')
        expect(await rig.rows('select seq from contents')).toHaveLength(2)
      },
    )

    it('new ones and one that ended unsent in one call: all are queued, each with its content', async () => {
      const [id] = await rig.add(account, 1)
      await rig.settle(await rig.claim(account, await rig.lease()), REFUSED)
      const given = ['before', id!, 'after'].map(each => rig.message(account, { id: each }))
      const messages = given.map(each => ({ ...each, content: { ...each.content, subject: `of ${each.id}` } }))
      expect(await rig.enqueue(...messages)).toEqual(['queued', 'queued', 'queued'])
      for (const each of messages) expect((await contentOf(each.id)).content.subject).toBe(`of ${each.id}`)
    })

    it('ended unsent between the two looks: in_progress, for already_sent would be the end of it', async () => {
      const [id] = await rig.add(account, 1)
      const claims = await rig.claim(account, await rig.lease())
      const racing: Db = {
        ...rig.db,
        async read(statement) {
          await rig.settle(claims, REFUSED)
          return rig.db.read(statement)
        },
      }
      const { answers } = await enqueue(racing, [rig.message(account, { id: id! })], { now: rig.now })
      expect(answers).toEqual(['in_progress'])
      expect(await rig.row(id!)).toMatchObject({ status: 'error' })
    })

    it('deleted between the two looks: in_progress too', async () => {
      const [id] = await rig.add(account, 1)
      await rig.claim(account, await rig.lease())
      const racing: Db = {
        ...rig.db,
        async read(statement) {
          await rig.exec('delete from messages')
          return rig.db.read(statement)
        },
      }
      const { answers } = await enqueue(racing, [rig.message(account, { id: id! })], { now: rig.now })
      expect(answers).toEqual(['in_progress'])
    })
  })

  it('calls that overlap in any order all succeed, and leave one row an id with one content', async () => {
    const ids = Array.from({ length: 40 }, (_, i) => `overlap${i}`)
    const calls = Array.from({ length: 8 }, (_, n) => {
      const own = n % 2 === 0 ? ids : [...ids].reverse()
      return rig.enqueue(...own.map(id => rig.message(account, { id })))
    })
    const answers = (await Promise.all(calls)).flat()
    expect(new Set(answers)).toEqual(new Set(['queued']))
    expect(await rig.rows('select id from messages')).toHaveLength(ids.length)
    expect(await rig.rows('select seq from contents')).toHaveLength(ids.length)
  })

  describe('tells what is ready', () => {
    const readyOf = async (...messages: Message[]) => (await enqueue(rig.db, messages, { now: rig.now })).ready
    const seqOf = async (id: string) => Number((await rig.row(id)).seq)
    const isSqlite = dialect === 'sqlite'

    it('the first of each account and priority; on SQLite only from which priority on', async () => {
      const other = await rig.account()
      const ready = await readyOf(
        rig.message(account, { id: 'late', priority: 3 }),
        rig.message(account, { id: 'first', priority: 1 }),
        rig.message(account, { id: 'second', priority: 1 }),
        rig.message(other, { id: 'others', priority: 2 }),
        rig.message(account, { priority: 0, notBefore: rig.now + 1_000 }),
      )
      const place = async (accountKey: number, priority: number, id: string) => {
        return { accountKey, priority, seq: isSqlite ? 0 : await seqOf(id), onward: isSqlite }
      }
      const [first, others] = [await place(account.key, 1, 'first'), await place(other.key, 2, 'others')]
      expect(new Set(ready)).toEqual(
        new Set(isSqlite ? [first, others] : [first, others, await place(account.key, 3, 'late')]),
      )
    })

    it('of a replaced one its old place, of a new submission under a known id its new one, of a refused one nothing', async () => {
      const lease = await rig.lease()
      const [failed, sent] = await rig.add(account, 2)
      const [bad, good] = await rig.claim(account, lease)
      await rig.settle([bad!], REFUSED)
      await rig.settle([good!], SENT)
      const [old] = await rig.add(account, 1)
      const place = await seqOf(old!)
      const before = await seqOf(failed!)
      const ready = await readyOf(
        rig.message(account, { id: old!, priority: 1 }),
        rig.message(account, { id: failed!, priority: 2 }),
        rig.message(account, { id: sent!, priority: 0 }),
      )
      expect(await seqOf(failed!)).toBeGreaterThan(before)
      expect(ready).toHaveLength(2)
      expect(ready).toContainEqual({ accountKey: account.key, priority: 1, seq: place, onward: false })
      expect(ready).toContainEqual({ accountKey: account.key, priority: 2, seq: await seqOf(failed!), onward: false })
    })
  })

  describe('the quota', () => {
    const withQuota = async (limit: number, ...ids: string[]) => {
      const messages = ids.map(id => rig.message(account, { id }))
      return (await enqueue(rig.db, messages, { now: rig.now, quota: new Map([['acme', limit]]) })).answers
    }

    it('what goes beyond it is refused, in order, and leaves no trace', async () => {
      await withQuota(3, 'a', 'b')
      expect(await withQuota(3, 'c', 'd', 'e')).toEqual(['queued', 'quota_exceeded', 'quota_exceeded'])
      expect((await rig.rows('select id from messages order by seq')).map(row => row.id)).toEqual(['a', 'b', 'c'])
    })

    it('waiting, claimed and in doubt take a place, ended ones do not', async () => {
      await withQuota(9, 'ready', 'waiting', 'claimed', 'doubt', 'ended')
      for (const [stage, id] of ['ended', 'ready', 'waiting', 'claimed', 'doubt'].entries()) {
        await rig.exec('update messages set stage = $2 where id = $1', id, stage)
      }
      expect(await withQuota(4, 'more')).toEqual(['quota_exceeded'])
      expect(await withQuota(5, 'more')).toEqual(['queued'])
    })

    it('replacing an open message needs no place', async () => {
      await withQuota(2, 'a', 'b')
      expect(await withQuota(2, 'a', 'c', 'b')).toEqual(['queued', 'quota_exceeded', 'queued'])
    })

    it('two equal ids take one place', async () => {
      expect(await withQuota(1, 'a', 'a')).toEqual(['queued', 'queued'])
    })

    it('a tenant that is not named has none, and others’ messages do not count', async () => {
      const other = await rig.account('beta')
      const quota = new Map([['acme', 1]])
      const mixed = [rig.message(other), rig.message(other), rig.message(account), rig.message(account)]
      expect((await enqueue(rig.db, mixed, { now: rig.now, quota })).answers).toEqual([
        'queued',
        'queued',
        'queued',
        'quota_exceeded',
      ])
    })
  })
})
