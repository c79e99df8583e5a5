/** What the dispatcher looks for beside its claims: accounts with ready messages, and claims that nobody here knows of. */
import { describe, expect, it, vi } from 'vitest'
import type { Db } from '../../src/db/db.js'
import { createDiscovery } from '../../src/delivery/discovery.js'
import { createReconciler } from '../../src/delivery/reconcile.js'
import { createSettler } from '../../src/delivery/settler.js'
import type { Found } from '../../src/queue/discover.js'
import type { Lease } from '../../src/queue/lease.js'
import { Stage } from '../../src/queue/stage.js'
import { createFakeClock } from '../support/fake-clock.js'
import { POLICY, type QueueRig, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('beside the claims, on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
  })

  /** The database, whose reads a test can hold up or let fail. */
  const slowed = () => {
    let gate: Promise<unknown> = Promise.resolve()
    let reads = 0
    const db: Db = {
      ...rig.db,
      async read(statement) {
        reads += 1
        await gate
        return rig.db.read(statement)
      },
    }
    return {
      db,
      hold(until: Promise<unknown>) {
        gate = until
      },
      reads: () => reads,
    }
  }

  const gated = () => {
    let resolve = () => {}
    const promise = new Promise<void>(done => {
      resolve = done
    })
    return { promise, resolve: () => resolve() }
  }

  describe('the poll', () => {
    const polling = (db: Db) => {
      const clock = createFakeClock()
      const found: (readonly Found[])[] = []
      const discovery = createDiscovery(db, clock, 5_000, ready => found.push(ready))
      const finds = (count: number) => vi.waitFor(() => expect(found).toHaveLength(count))
      return { clock, discovery, found, finds }
    }

    it('tells of accounts with ready messages, and again only when it is time', async () => {
      await rig.add(account, 3)
      const { db, reads } = slowed()
      const { clock, discovery, found, finds } = polling(db)
      discovery.step()
      await finds(1)
      expect(found[0]).toMatchObject([{ accountKey: account.key, priority: 2 }])
      await clock.advance(4_999)
      discovery.step()
      expect(reads()).toBe(1)
      await clock.advance(1)
      discovery.step()
      await finds(2)
    })

    it.each([
      [100, 5_000],
      [400, 8_000],
      [3_000, 10_000],
    ])('one that took %i ms is followed by the next %i ms after it began', async (tookMs, restsMs) => {
      await rig.add(account, 1)
      const { db, hold, reads } = slowed()
      const { clock, discovery, finds } = polling(db)
      const gate = gated()
      hold(gate.promise)
      discovery.step()
      await clock.advance(tookMs)
      gate.resolve()
      await finds(1)
      await clock.advance(restsMs - tookMs - 1)
      discovery.step()
      expect(reads()).toBe(1)
      await clock.advance(1)
      discovery.step()
      await finds(2)
    })

    it('asked for while one is under way it runs once more, and one that fails is tried again', async () => {
      await rig.add(account, 1)
      const { db, hold, reads } = slowed()
      const { discovery, found, finds } = polling(db)
      const gate = gated()
      hold(gate.promise)
      discovery.step()
      discovery.soon()
      discovery.step()
      expect(reads()).toBe(1)
      gate.resolve()
      await finds(2)
      expect(found[1]).toEqual([])
      const away = Promise.reject(new Error('away'))
      away.catch(() => {})
      hold(away)
      await vi.waitFor(() => {
        discovery.step()
        expect(reads()).toBeGreaterThan(1)
      })
      // So the loop that makes the steps tells of it.
      await vi.waitFor(() => expect(() => discovery.step()).toThrow('away'))
      hold(Promise.resolve())
      await vi.waitFor(() => {
        discovery.step()
        expect(found).toHaveLength(3)
      })
    })
  })

  describe('lost claims', () => {
    const reconciling = async (known: Set<number>) => {
      const clock = createFakeClock()
      const lease = { id: await rig.lease() } as Lease
      const journal = rig.journal()
      const { db, hold } = slowed()
      const settler = createSettler({ db: rig.db, clock, log: silentLog, journal, steadyNow: () => rig.now })
      const policyOf = () => POLICY
      const deps = { db, clock, log: silentLog, journal, settler, policyOf, leftInDoubt: () => {} }
      const found = vi.fn<() => void>()
      const reconciler = createReconciler(deps, seq => known.has(seq), found)
      return { clock, lease, hold, found, reconciler }
    }

    it('are found beside the steps, and given back by one', async () => {
      const [id] = await rig.add(account, 1)
      const { lease, found, reconciler } = await reconciling(new Set())
      await rig.claim(account, lease.id)
      expect(await reconciler.step(lease)).toEqual([])
      await vi.waitFor(() => expect(found).toHaveBeenCalledOnce())
      expect(await reconciler.step(lease)).toEqual([account.key])
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.ready })
    })

    it('one whose answer came meanwhile is none', async () => {
      const [id] = await rig.add(account, 1)
      const known = new Set<number>()
      const { clock, lease, found, reconciler } = await reconciling(known)
      const [claim] = await rig.claim(account, lease.id)
      await reconciler.step(lease)
      await vi.waitFor(() => expect(found).toHaveBeenCalledOnce())
      known.add(claim!.seq)
      expect(await reconciler.step(lease)).toEqual([])
      expect(await rig.row(id!)).toMatchObject({ stage: Stage.claimed })
      // Nor is one that was settled while nobody looked.
      known.clear()
      await clock.advance(30_000)
      await reconciler.step(lease)
      await vi.waitFor(() => expect(found).toHaveBeenCalledTimes(2))
      await rig.exec('update messages set stage = 0, lease = null')
      expect(await reconciler.step(lease)).toEqual([])
    })

    it('are looked for every 30 s, sooner when one may be lost or a look failed', async () => {
      await rig.add(account, 1)
      const { clock, lease, hold, found, reconciler } = await reconciling(new Set())
      await rig.claim(account, lease.id)
      const away = Promise.reject(new Error('away'))
      away.catch(() => {})
      hold(away)
      await reconciler.step(lease)
      await vi.waitFor(() => expect(reconciler.step(lease)).rejects.toThrow('away'))
      hold(Promise.resolve())
      await vi.waitFor(async () => {
        await reconciler.step(lease)
        expect(found).toHaveBeenCalledOnce()
      })
      await reconciler.step(lease)
      await rig.claim(account, lease.id)
      await clock.advance(29_999)
      await reconciler.step(lease)
      reconciler.soon()
      await reconciler.step(lease)
      await vi.waitFor(() => expect(found).toHaveBeenCalledTimes(2))
    })
  })
})
