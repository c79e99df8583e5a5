import { describe, expect, it } from 'vitest'
import { type Db, rowsParam } from '../../src/db/db.js'
import { failAccountQueue, orphanedAccountKeys } from '../../src/queue/account-deleted.js'
import { readyAccounts } from '../../src/queue/discover.js'
import { expireDue, nextDue, readyDue } from '../../src/queue/due.js'
import { type Ended, endOpen } from '../../src/queue/end.js'
import { Stage } from '../../src/queue/stage.js'
import { LATER, type QueueRig, SENT, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('what time and operators move on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
  })

  /** The database, with something happening between the first look of what runs on it and its write. */
  const racing = (meanwhile: () => Promise<unknown>): Db => {
    let done = false
    return {
      ...rig.db,
      async write(unit) {
        if (!done) {
          done = true
          await meanwhile()
        }
        return rig.db.write(unit)
      },
    }
  }
  const events = () => rig.rows('select type, entry, pending from events order by id')

  /** As hints tell of it. */
  const placeOf = async (id: string, tenantId = 'acme') => {
    const { account_key, priority, seq } = await rig.row(id, tenantId)
    return { accountKey: Number(account_key), priority: Number(priority), seq: Number(seq), onward: false }
  }

  describe('readyDue', () => {
    it('never early, and at its very millisecond', async () => {
      const [id] = await rig.add(account, 1, { notBefore: rig.now + 1_000 })
      expect(await nextDue(rig.db)).toBe(rig.now + 1_000)
      expect(await readyDue(rig.db, rig.now + 999, 10)).toEqual({ ready: [], more: false })
      rig.now += 1_000
      expect(await readyDue(rig.db, rig.now, 10)).toEqual({ ready: [await placeOf(id!)], more: false })
      expect(await rig.row(id!)).toMatchObject({
        stage: Stage.ready,
        status: 'pending',
        deferred_ts: null,
        due_at: rig.now,
      })
      expect(await nextDue(rig.db)).toBeNull()
    })

    it('tells of each account and priority where the first stands, and when there are more than it takes', async () => {
      const other = await rig.account('beta')
      const [first] = await rig.add(account, 2, { notBefore: rig.now + 1, priority: 3 })
      const [urgent] = await rig.add(account, 1, { notBefore: rig.now + 2, priority: 1 })
      const [others] = await rig.add(other, 1, { notBefore: rig.now + 3, priority: 0 })
      rig.now += 10
      const { ready, more } = await readyDue(rig.db, rig.now, 3)
      expect([new Set(ready), more]).toEqual([new Set([await placeOf(first!), await placeOf(urgent!)]), true])
      expect(await readyDue(rig.db, rig.now, 3)).toEqual({ ready: [await placeOf(others!, 'beta')], more: false })
    })

    it('a retried message takes its old place before those that came after it', async () => {
      const [first] = await rig.add(account, 1)
      const lease = await rig.lease()
      await rig.settle(await rig.claim(account, lease), LATER)
      const [second] = await rig.add(account, 1)
      rig.now += 60_000
      await readyDue(rig.db, rig.now, 10)
      expect((await rig.claim(account, lease)).map(each => each.id)).toEqual([first, second])
    })

    it('two at once move each message once', async () => {
      await rig.add(account, 50, { notBefore: rig.now + 1 })
      rig.now += 10
      await Promise.all([readyDue(rig.db, rig.now, 30), readyDue(rig.db, rig.now, 30)])
      expect(await rig.rows('select count(*) as n from messages where stage = 1')).toEqual([{ n: 50 }])
    })
  })

  describe('expireDue', () => {
    it('ready and waiting ones are cancelled and reported, at their very millisecond', async () => {
      const [ready] = await rig.add(account, 1, { expiresAt: rig.now + 1_000 })
      const [waiting] = await rig.add(account, 1, { expiresAt: rig.now + 1_000, notBefore: rig.now + 60_000 })
      const [later] = await rig.add(account, 1, { expiresAt: rig.now + 1_001 })
      expect((await expireDue(rig.db, rig.now + 999, 10)).seqs).toEqual([])
      rig.now += 1_000
      const ended = await expireDue(rig.db, rig.now, 10)
      expect(ended.seqs).toHaveLength(2)
      expect(ended.tenantIds).toEqual(['acme'])
      for (const id of [ready!, waiting!]) {
        expect(await rig.row(id)).toMatchObject({
          stage: Stage.ended,
          status: 'cancelled',
          code: 'expired',
          error_at: rig.now,
          sent_at: null,
          deferred_ts: null,
        })
      }
      expect(await rig.row(later!)).toMatchObject({ stage: Stage.ready })
      expect((await events()).map(each => [each.type, each.pending])).toEqual([
        ['cancelled', 1],
        ['cancelled', 1],
      ])
    })

    it('what is being sent, or is held in doubt, is let be', async () => {
      const [held] = await rig.add(account, 1, { expiresAt: rig.now + 1 })
      await rig.exec('update messages set stage = 4')
      await rig.add(account, 1, { expiresAt: rig.now + 1 })
      const claims = await rig.claim(account, await rig.lease())
      rig.now += 1_000
      expect((await expireDue(rig.db, rig.now, 10)).seqs).toEqual([])
      expect(await rig.row(held!)).toMatchObject({ stage: Stage.doubt })
      expect((await rig.settle(claims, SENT)).size).toBe(1)
    })

    it('accepted for somebody before: it ends as sent, with the time of that acceptance', async () => {
      const [id] = await rig.add(account, 1, { expiresAt: rig.now + 1_000 })
      const recipients = [
        { address: 'a@y.test', status: 'accepted', code: '250', reply: 'ok' },
        { address: 'b@y.test', status: 'open', code: '451', reply: 'later' },
      ]
      await rig.exec(
        'update messages set accepted = 1, sent_at = $1, recipients = $2',
        rig.now,
        JSON.stringify(recipients),
      )
      const acceptedAt = rig.now
      rig.now += 5_000
      await expireDue(rig.db, rig.now, 10)
      const row = await rig.row(id!)
      expect(row).toMatchObject({
        status: 'sent',
        stage: Stage.ended,
        sent_at: acceptedAt,
        error_at: null,
        error: null,
        code: null,
      })
      const told = [
        recipients[0],
        { address: 'b@y.test', status: 'refused', code: 'expired', reply: 'expired before it could be sent' },
      ]
      expect(JSON.parse(row.recipients as string)).toEqual(told)
      const [event] = await events()
      expect(event).toMatchObject({ type: 'sent', pending: 1 })
      expect(JSON.parse(event!.entry as string)).toMatchObject({ sent_ts: acceptedAt / 1000, recipients: told })
    })

    it('in chunks, the longest expired first', async () => {
      await rig.add(account, 2, { expiresAt: rig.now + 2 })
      const [first] = await rig.add(account, 1, { expiresAt: rig.now + 1 })
      rig.now += 10
      expect((await expireDue(rig.db, rig.now, 1)).seqs).toEqual([Number((await rig.row(first!)).seq)])
      expect((await expireDue(rig.db, rig.now, 10)).seqs).toHaveLength(2)
    })
  })

  describe('endOpen beside the others', () => {
    const end = (db: Db, seqs: number[], stages = [1, 2]): Promise<Ended> =>
      endOpen(db, {
        now: rig.now,
        from: { sql: 'select g.k from @rows($1: k bigint) g', given: rowsParam(seqs.map(k => ({ k }))) },
        stages,
        status: 'error',
        type: 'error',
        code: 'x',
        error: 'words',
      })
    const seqOf = async (id: string) => Number((await rig.row(id)).seq)

    it('claimed in between: the attempt decides, nothing is written', async () => {
      const [id] = await rig.add(account, 1)
      const lease = await rig.lease()
      let claims: Awaited<ReturnType<QueueRig['claim']>> = []
      const db = racing(async () => {
        claims = await rig.claim(account, lease)
      })
      expect(await end(db, [await seqOf(id!)])).toEqual({ seqs: [], tenantIds: [] })
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.claimed, lease, error: null })
      expect(await events()).toEqual([])
      expect((await rig.settle(claims, SENT)).size).toBe(1)
    })

    it('replaced in between: the new content was acknowledged and stays', async () => {
      const [id] = await rig.add(account, 1, { expiresAt: rig.now + 1 })
      rig.now += 10
      const db = racing(() => rig.enqueue(rig.message(account, { id: id!, expiresAt: rig.now + 60_000 })))
      expect((await expireDue(db, rig.now, 10)).seqs).toEqual([])
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.ready, status: 'pending' })
      expect(await events()).toEqual([])
    })

    it('tried in between: what the attempt told is not overwritten', async () => {
      const [id] = await rig.add(account, 1)
      const lease = await rig.lease()
      const db = racing(async () => rig.settle(await rig.claim(account, lease), LATER))
      expect((await end(db, [await seqOf(id!)])).seqs).toEqual([])
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.waiting, attempts: 1, deferred_reason: '451 later' })
    })

    it('a claim and an end at the same moment: each message goes one way', async () => {
      await rig.add(account, 60)
      const lease = await rig.lease()
      const seqs = (await rig.rows('select seq from messages')).map(row => Number(row.seq))
      const [claims, ended] = await Promise.all([rig.claim(account, lease, { limit: 30 }), end(rig.db, seqs)])
      expect(new Set([...claims.map(each => each.seq), ...ended.seqs]).size).toBe(claims.length + ended.seqs.length)
      expect(await rig.rows('select count(*) as n from events')).toEqual([{ n: ended.seqs.length }])
      expect(await rig.rows('select count(*) as n from messages where stage = 3')).toEqual([{ n: claims.length }])
    })

    it('only those named and at one of the stages', async () => {
      const [a, b, c] = await rig.add(account, 3)
      await rig.exec('update messages set stage = 4 where id = $1', b!)
      const ended = await end(rig.db, [await seqOf(a!), await seqOf(b!)])
      expect(ended.seqs).toEqual([await seqOf(a!)])
      expect(await rig.row(b!)).toMatchObject({ stage: Stage.doubt })
      expect(await rig.row(c!)).toMatchObject({ stage: Stage.ready })
    })

    it('ended twice counts once', async () => {
      const [id] = await rig.add(account, 1)
      const seqs = [await seqOf(id!)]
      const both = await Promise.all([end(rig.db, seqs), end(rig.db, seqs)])
      expect(both.map(each => each.seqs.length).sort()).toEqual([0, 1])
      expect(await events()).toHaveLength(1)
    })
  })

  describe('the queue of a deleted account', () => {
    it('ends as errors, each reported; what is being sent is left to its settle', async () => {
      const lease = await rig.lease()
      await rig.add(account, 1_100)
      const claims = await rig.claim(account, lease, { limit: 2 })
      await rig.exec('update messages set stage = 2 where seq in (select seq from messages where stage = 1 limit 40)')
      await rig.exec('update messages set stage = 4 where seq in (select seq from messages where stage = 1 limit 40)')
      await rig.exec('delete from accounts where key = $1', account.key)
      expect(await failAccountQueue(rig.db, account.key, rig.now)).toEqual({ ended: 1_098, tenantIds: ['acme'] })
      expect(
        await rig.rows("select count(*) as n from messages where status = 'error' and code = 'account_deleted'"),
      ).toEqual([{ n: 1_098 }])
      expect(await rig.rows('select count(*) as n from events where pending = 1')).toEqual([{ n: 1_098 }])
      expect((await rig.settle(claims, LATER)).size).toBe(2)
      expect(await orphanedAccountKeys(rig.db)).toEqual([account.key])
    })

    it('an account that stands has no orphans', async () => {
      await rig.add(account, 3)
      expect(await orphanedAccountKeys(rig.db)).toEqual([])
    })
  })

  describe('readyAccounts', () => {
    it('each account with ready messages once, ascending, with the place of its first', async () => {
      const [second, third, idle, waiting] = [
        await rig.account(),
        await rig.account('beta'),
        await rig.account(),
        await rig.account(),
      ]
      await rig.add(account, 5)
      const [urgent] = await rig.add(account, 2, { priority: 1 })
      const [thirds] = await rig.add(third, 3, { priority: 3 })
      const [seconds] = await rig.add(second, 2, { priority: 0 })
      await rig.add(waiting, 2, { notBefore: rig.now + 1 })
      await rig.add(idle, 1)
      await rig.claim(idle, await rig.lease())
      const places = [placeOf(urgent!), placeOf(seconds!), placeOf(thirds!, 'beta')]
      const all = (await Promise.all(places)).map(({ accountKey, priority, seq }) => ({ accountKey, priority, seq }))
      expect(await readyAccounts(rig.db, 0, 10)).toEqual(all)
      expect(await readyAccounts(rig.db, 0, 2)).toEqual(all.slice(0, 2))
      expect(await readyAccounts(rig.db, account.key, 10)).toEqual(all.slice(1))
      expect(await readyAccounts(rig.db, third.key, 10)).toEqual([])
    })
  })
})
