import pg from 'pg'
import { describe, expect, it, vi } from 'vitest'
import type { Priority } from '../../src/messages/message.js'
import { claimDue, loadContent } from '../../src/queue/claim.js'
import { Stage } from '../../src/queue/stage.js'
import { INTERRUPTED, type QueueRig, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('claimDue on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  let lease: number
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
    lease = await rig.lease()
  })

  const addPriorities = async (...priorities: Priority[]) => {
    const messages = priorities.map(priority => rig.message(account, { priority }))
    await rig.enqueue(...messages)
    return messages.map(each => each.id)
  }
  const ids = async (...given: Parameters<QueueRig['claim']>) => (await rig.claim(...given)).map(each => each.id)

  it('by priority, then first in first out', async () => {
    const [a, b, c, d, e] = await addPriorities(2, 0, 3, 2, 0)
    expect(await ids(account, lease)).toEqual([b, e, a, d, c])
  })

  it('from a place: what stands there and behind it, in the same order', async () => {
    const [a, b, c, d, e] = await addPriorities(2, 0, 3, 2, 0)
    const [, second, third] = await rig.rows('select seq, priority from messages order by priority, seq')
    const from = { priority: Number(third!.priority), seq: Number(third!.seq) }
    expect(await ids(account, lease, { from })).toEqual([a, d, c])
    // The twin: what was left before it is there for a claim from the first, or from an earlier place.
    expect(await ids(account, lease, { from: { priority: 0, seq: Number(second!.seq) }, limit: 1 })).toEqual([e])
    expect((await ids(account, lease)).at(0)).toBe(b)
  })

  it('tells all that delivery needs to know, and marks the row', async () => {
    const message = rig.message(account, { priority: 1, batchCode: 'b', expiresAt: rig.now + 99 })
    await rig.enqueue(message)
    await rig.exec(
      `update messages set attempts = 2, accepted = 1, causes = 3, sent_at = 7,
        recipients = '[{"address":"b@y.test","status":"open","code":null,"reply":null}]'`,
    )
    const { seq, claim, ...claimed } = (await rig.claim(account, lease))[0]!
    expect(claimed).toEqual({
      tenantId: 'acme',
      id: message.id,
      accountKey: account.key,
      accountId: account.id,
      priority: 1,
      batchCode: 'b',
      attempts: 2,
      accepted: 1,
      recipients: [{ address: 'b@y.test', status: 'open', code: null, reply: null }],
      dueAt: rig.now,
      expiresAt: rig.now + 99,
      sentAt: 7,
      createdAt: rig.now,
      causes: 3,
      lease,
      content: message.content,
      envelope: message.envelope,
      trace: null,
    })
    expect(await rig.row(message.id)).toMatchObject({
      seq,
      claim,
      stage: Stage.claimed,
      status: 'sending',
      lease,
    })
  })

  it('a content that is too long to be kept ahead is read when it is sent', async () => {
    const short = rig.message(account)
    const long = rig.message(account, { content: { ...short.content, body: 'x'.repeat(1_000) } })
    await rig.enqueue(short, long)
    const most = JSON.stringify(short.content).length
    const request = { accountKey: account.key, limit: 9, maxPriority: 3, dueBy: null, suspendedBatches: [], limits: [] }
    const [claimed] = await claimDue(rig.db, lease, rig.now, [{ ...request, now: rig.now }], { most })
    expect(claimed!.map(each => each.content)).toEqual([short.content, null])
    expect(claimed![1]!.envelope).toEqual(long.envelope)
    expect(await loadContent(rig.db, claimed![1]!.seq)).toEqual(long.content)
  })

  it.runIf(dialect === 'postgres')(
    'replaced while its claim is under way: the new content to the new recipients',
    async () => {
      const old = rig.message(account)
      const message = {
        ...old,
        envelope: { from: 'a@x.test', to: ['new@y.test'] },
        content: { ...old.content, body: 'new' },
      }
      await rig.enqueue(old)
      const other = new pg.Client({ connectionString: rig.temp.url })
      await other.connect()
      // Looks for its lease once it has its view of the database, and before it locks a row: there it waits.
      await rig.exec('alter table leases rename to all_leases')
      await rig.exec(
        'create view leases as select * from all_leases where pg_advisory_xact_lock_shared(77)::text is not null',
      )
      try {
        await other.query('select pg_advisory_lock(77)')
        const claiming = rig.claim(account, lease)
        const waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted"
        await vi.waitUntil(async () => (await rig.rows(waiting)).length === 1)
        expect(await rig.enqueue(message)).toEqual(['queued'])
        await other.query('select pg_advisory_unlock(77)')
        expect(await claiming).toMatchObject([{ id: old.id, content: message.content, envelope: message.envelope }])
      } finally {
        await other.end()
        await rig.exec('drop view leases')
        await rig.exec('alter table all_leases rename to leases')
      }
    },
  )

  it('no more than asked, and never the same twice', async () => {
    const [a, b, c] = await rig.add(account, 3)
    expect(await ids(account, lease, { limit: 2 })).toEqual([a, b])
    expect(await ids(account, lease, { limit: 2 })).toEqual([c])
    expect(await ids(account, lease)).toEqual([])
  })

  it('maxPriority 0 takes immediate ones only', async () => {
    const [, b] = await addPriorities(1, 0, 3)
    expect(await ids(account, lease, { maxPriority: 0 })).toEqual([b])
  })

  it('dueBy takes what was due at the tick', async () => {
    const [early] = await rig.add(account, 1)
    rig.now += 1_000
    const [late] = await rig.add(account, 1)
    expect(await ids(account, lease, { dueBy: rig.now - 1_001 })).toEqual([])
    expect(await ids(account, lease, { dueBy: rig.now - 1 })).toEqual([early])
    expect(await ids(account, lease, { dueBy: Number.POSITIVE_INFINITY })).toEqual([late])
  })

  it('only ready rows of this account', async () => {
    const other = await rig.account()
    await rig.add(other, 2)
    const [waiting] = await rig.add(account, 1, { notBefore: rig.now + 1 })
    const [ended, doubtful, ready] = await rig.add(account, 3)
    await rig.exec('update messages set stage = 0 where id = $1', ended!)
    await rig.exec('update messages set stage = 4 where id = $1', doubtful!)
    expect(await ids(account, lease)).toEqual([ready])
    expect(await rig.row(waiting!)).toMatchObject({ stage: Stage.waiting })
  })

  it('suspended batches stay where they are; messages without a batch go', async () => {
    const [, plain, , kept] = await Promise.all(
      ['a', null, 'b "x"', 'c'].map(async batchCode => (await rig.add(account, 1, { batchCode }))[0]!),
    )
    const claimed = await ids(account, lease, { suspendedBatches: ['a', 'b "x"'] })
    expect(claimed.sort()).toEqual([plain, kept].sort())
    expect(await ids(account, lease, { suspendedBatches: [] })).toHaveLength(2)
  })

  it('what has expired is never claimed, whether or not the janitor has been by', async () => {
    const [expired] = await rig.add(account, 1, { expiresAt: rig.now + 1_000 })
    const [later] = await rig.add(account, 1, { expiresAt: rig.now + 1_001 })
    rig.now += 1_000
    expect(await ids(account, lease)).toEqual([later])
    expect(await rig.row(expired!)).toMatchObject({ stage: Stage.ready })
  })

  it.each([
    ['that ran out', 1_000],
    ['that runs out at this very moment', 999],
  ])('a lease %s claims nothing', async (_, leaseMs) => {
    await rig.add(account, 1)
    const mine = await rig.lease({ leaseMs })
    rig.now += leaseMs - 1
    const twin = await rig.claim(account, mine, { limit: 0 })
    expect(twin).toEqual([])
    rig.now += 1
    expect(await ids(account, mine)).toEqual([])
    // The twin: another lease finds it there.
    expect(await ids(account, lease)).toHaveLength(1)
  })

  it('a lease that was declared dead, or never was, claims nothing', async () => {
    await rig.add(account, 1)
    await rig.exec('update leases set until = 0 where id = $1', lease)
    expect(await ids(account, lease)).toEqual([])
    expect(await ids(account, 424_242)).toEqual([])
  })

  it('nothing once the scheduler is suspended or the database waits for its release, whatever the process remembers', async () => {
    const [first] = await addPriorities(0)
    for (const [key, value] of [['scheduler_active', '0'] as const, ['release_needed', 'restored'] as const]) {
      await rig.exec(`insert into meta (key, value) values ('${key}', '${value}')`)
      expect(await ids(account, lease)).toEqual([])
      await rig.exec(`delete from meta where key = '${key}'`)
    }
    await rig.exec("insert into meta (key, value) values ('scheduler_active', '1')")
    expect(await ids(account, lease)).toEqual([first])
  })

  it('several requests in one unit answer each their own list, in order', async () => {
    const other = await rig.account('beta')
    const mine = await rig.add(account, 3)
    const theirs = await rig.add(other, 2)
    const base = { limit: 10, maxPriority: 3, dueBy: null, suspendedBatches: [], limits: [], now: rig.now }
    const [nobody, beta, acme] = await claimDue(rig.db, lease, rig.now, [
      { ...base, accountKey: 999_999 },
      { ...base, accountKey: other.key },
      { ...base, accountKey: account.key },
    ])
    expect(nobody).toEqual([])
    expect(beta!.map(each => each.id)).toEqual(theirs)
    expect(acme!.map(each => each.id)).toEqual(mine)
  })

  it('what is given back is claimed again in its old place', async () => {
    const [a, b] = await rig.add(account, 2)
    await rig.settle(await rig.claim(account, lease, { limit: 1 }), INTERRUPTED)
    await rig.add(account, 1)
    expect((await ids(account, lease)).slice(0, 2)).toEqual([a, b])
  })

  it('claimers at the same time share the messages and never take one twice', async () => {
    await rig.add(account, 300)
    const leases = await Promise.all(Array.from({ length: 4 }, () => rig.lease()))
    const taken = await Promise.all(
      leases.map(async mine => {
        const all: number[] = []
        for (;;) {
          const claims = await rig.claim(account, mine, { limit: 7 })
          if (claims.length === 0) return all
          all.push(...claims.map(each => each.seq))
        }
      }),
    )
    const seqs = taken.flat()
    expect(new Set(seqs).size).toBe(seqs.length)
    expect(seqs).toHaveLength(300)
    // And each row names the one who was told.
    for (const [i, mine] of leases.entries()) {
      const rows = await rig.rows('select seq from messages where stage = 3 and lease = $1 order by seq', mine)
      expect(rows.map(row => Number(row.seq))).toEqual([...taken[i]!].sort((a, b) => a - b))
    }
  })
})
