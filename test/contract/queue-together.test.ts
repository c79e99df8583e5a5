/** Everything at once on one queue, and the books balanced at the end. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Limit } from '../../src/limits/windows.js'
import { expireDue, readyDue } from '../../src/queue/due.js'
import { declareDead } from '../../src/queue/lease.js'
import { cancelMessage, deleteMessages } from '../../src/queue/operate.js'
import { rescue } from '../../src/queue/rescue.js'
import { LATER, openQueueRig, POLICY, type QueueRig, REFUSED, SENT } from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

const LEASE = 20_000

describe.each(dialects)('workers, clients, operators and rescuers on %s', dialect => {
  let rig: QueueRig
  beforeAll(async () => {
    rig = await openQueueRig(dialect)
  })
  afterAll(() => rig.temp.drop())

  it('each message is sent at most once, ends once, and owes one final report', async () => {
    const accounts = [await rig.account(), await rig.account(), await rig.account('beta')]
    const limitsOf = (key: number, tenantId: string): Limit[] => [
      { scope: `a:${key}`, span: 60_000, limit: 100_000 },
      { scope: `t:${tenantId}`, span: 3_600_000, limit: 100_000 },
    ]
    const all: string[] = []
    const sent = new Map<number, number>()
    const deleted = new Set<string>()
    let submitting = true
    const rounds = 25

    const submit = async () => {
      for (let round = 0; round < rounds; round += 1) {
        for (const account of accounts) {
          const ids = await rig.add(account, 8, round % 3 === 0 ? { expiresAt: rig.now + 30_000 } : {})
          all.push(...ids.map(id => `${account.tenantId} ${id}`))
          // Some at once again, in another order: replaced, in flight or sent already.
          await rig.enqueue(...ids.reverse().map(id => rig.message(account, { id })))
        }
        rig.now += 5_000
      }
      submitting = false
    }
    const openCount = async () => Number((await rig.rows('select count(*) as n from messages where stage > 0'))[0]!.n)
    const work = async (n: number) => {
      let lease = await rig.lease({ leaseMs: LEASE })
      let until = rig.now + LEASE
      for (let turn = n; submitting || (await openCount()) > 0; turn += 1) {
        if (rig.now >= until) {
          lease = await rig.lease({ leaseMs: LEASE })
          until = rig.now + LEASE
        }
        const account = accounts[turn % accounts.length]!
        const limits = limitsOf(account.key, account.tenantId)
        const claims = await rig.claim(account, lease, { limit: 10, limits })
        // Dies with its claims; the next one begins.
        if (claims.length > 0 && turn % 11 === 0) {
          until = 0
          continue
        }
        const outcome = turn % 5 === 0 ? LATER : turn % 7 === 0 ? REFUSED : SENT
        const settled = await rig.settle(claims, outcome, limits)
        if (outcome === SENT) for (const seq of settled) sent.set(seq, (sent.get(seq) ?? 0) + 1)
      }
    }
    const tend = async (epoch: string) => {
      const journal = rig.journal()
      while (submitting || (await openCount()) > 0) {
        if (!submitting) rig.now += 2_000
        await readyDue(rig.db, rig.now, 50)
        await expireDue(rig.db, rig.now, 50)
        for (const dead of await declareDead(rig.db, rig.now, false)) {
          await rescue(
            { db: rig.db, log: silentLog, journal, epoch, steadyNow: () => rig.now, policyOf: () => POLICY },
            dead,
            rig.now,
          )
        }
      }
    }
    const operate = async () => {
      for (let i = 0; submitting; i += 7) {
        const [tenantId, id] = (all[i % Math.max(1, all.length)] ?? 'acme nobody').split(' ') as [string, string]
        await cancelMessage(rig.db, { tenantId, id, now: rig.now })
        const [, other] = (all[(i * 3) % Math.max(1, all.length)] ?? 'acme nobody').split(' ') as [string, string]
        if (i % 3 === 0 && (await deleteMessages(rig.db, { tenantId, ids: [other] })).removed > 0)
          deleted.add(`${tenantId} ${other}`)
      }
    }
    await Promise.all([submit(), work(0), work(1), work(2), tend('today'), tend('today'), operate()])

    const rows = await rig.rows('select tenant_id, id, seq, status, lease, sent_at, error_at from messages')
    // All that was submitted is there once, but what was deleted on request.
    const there = rows.map(row => `${row.tenant_id} ${row.id}`)
    expect(new Set(there).size).toBe(there.length)
    expect(all.filter(id => !there.includes(id) && !deleted.has(id))).toEqual([])
    for (const row of rows) {
      expect(['sent', 'error', 'cancelled']).toContain(row.status)
      expect(row.lease).toBeNull()
      expect(row.sent_at === null).not.toBe(row.error_at === null)
    }
    expect([...sent.values()].every(times => times === 1)).toBe(true)
    const finals = await rig.rows(`select m.seq, m.status, count(e.id) as n, max(e.type) as type from messages m
      left join events e on e.seq = m.seq and e.type in ('sent', 'error', 'cancelled') group by m.seq, m.status`)
    expect(finals.filter(row => Number(row.n) !== 1 || row.type !== row.status)).toEqual([])
    // Nothing of what is gone was left behind but events of a life before.
    expect(await rig.rows('select seq from contents where seq not in (select seq from messages)')).toEqual([])
    expect(await rig.rows('select lease from doubts')).toEqual([])
  }, 60_000)
})
