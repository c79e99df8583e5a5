import { describe, expect, it } from 'vitest'
import { declareDead, type Lease, orphanedLeases, takeLease } from '../../src/queue/lease.js'
import { createFakeClock } from '../support/fake-clock.js'
import { type QueueRig, useQueueRig } from '../support/queue-rig.js'
import { dialects } from '../support/temp-db.js'

const LEASE = 60_000

describe.each(dialects)('leases on %s', dialect => {
  let rig: QueueRig
  let clock: ReturnType<typeof createFakeClock>
  useQueueRig(dialect, async given => {
    rig = given
    clock = createFakeClock()
  })

  const take = (holder = 'host process 1'): Promise<Lease> =>
    takeLease({ db: rig.db, clock, leaseMs: LEASE, holder, epoch: 'boot 1' }, clock.now())

  it('stands in the database with who holds it and until when', async () => {
    const lease = await take()
    expect(await rig.rows('select * from leases')).toEqual([
      { id: lease.id, holder: 'host process 1', epoch: 'boot 1', until: clock.now() + LEASE, started_at: clock.now() },
    ])
  })

  it('no two have the same id', async () => {
    const leases = await Promise.all(Array.from({ length: 20 }, () => take()))
    expect(new Set(leases.map(each => each.id)).size).toBe(20)
  })

  it('has its margin by the monotonic clock, whatever the wall clock says', async () => {
    const lease = await take()
    expect(lease.hasMargin(10_000)).toBe(true)
    clock.jump(3_600_000)
    expect(lease.hasMargin(10_000)).toBe(true)
    await clock.advance(LEASE - 10_001)
    expect(lease.hasMargin(10_000)).toBe(true)
    await clock.advance(1)
    expect(lease.hasMargin(10_000)).toBe(false)
    expect(lease.hasMargin(0)).toBe(true)
  })

  it('is reckoned from before the statement left: a slow database shortens our margin, never the rescuer’s patience', async () => {
    const slow = {
      ...rig.db,
      async write(unit: Parameters<typeof rig.db.write>[0]) {
        const rows = await rig.db.write(unit)
        await clock.advance(20_000)
        return rows
      },
    }
    const lease = await takeLease({ db: slow, clock, leaseMs: LEASE, holder: 'h', epoch: 'e' }, clock.now())
    await clock.advance(LEASE - 20_000)
    expect(lease.hasMargin(0)).toBe(false)
    // The same of a renewal: asked at 60 s, answered at 80 s.
    const other = await takeLease({ db: slow, clock, leaseMs: LEASE, holder: 'h', epoch: 'e' }, clock.now() + LEASE)
    expect(await other.renew(clock.now())).toBe(true)
    await clock.advance(LEASE - 20_000)
    expect(other.hasMargin(0)).toBe(false)
  })

  it('renewed in time it goes on', async () => {
    const lease = await take()
    await clock.advance(LEASE - 1)
    expect(await lease.renew(clock.now())).toBe(true)
    expect(await rig.rows('select until from leases')).toEqual([{ until: clock.now() + LEASE }])
    await clock.advance(LEASE - 10_001)
    expect(lease.hasMargin(10_000)).toBe(true)
  })

  it('not renewed in time it is lost for good, even if nobody has noticed', async () => {
    const lease = await take()
    await clock.advance(LEASE)
    expect(await lease.renew(clock.now())).toBe(false)
    expect(lease.hasMargin(0)).toBe(false)
    expect(await lease.renew(clock.now() - LEASE)).toBe(false)
  })

  it('declared dead it cannot be revived, and claims nothing more', async () => {
    const account = await rig.account()
    await rig.add(account, 1)
    const [alive, frozen] = [await take('alive'), await take('frozen')]
    await clock.advance(LEASE - 1)
    await alive.renew(clock.now())
    await clock.advance(1)
    expect(await declareDead(rig.db, clock.now(), false)).toEqual([
      { id: frozen.id, holder: 'frozen', epoch: 'boot 1' },
    ])
    // A worker whose own clock is behind asks with an old time: the mark stands against that too.
    expect(await frozen.renew(clock.now() - LEASE)).toBe(false)
    expect(frozen.hasMargin(0)).toBe(false)
    expect(await rig.claim(account, frozen.id)).toEqual([])
    expect(await alive.renew(clock.now())).toBe(true)
  })

  it('a dead lease is answered again and again until its claims are freed: the first rescuer may die', async () => {
    const lease = await take()
    await clock.advance(LEASE)
    for (let i = 0; i < 3; i += 1) {
      expect((await declareDead(rig.db, clock.now(), false)).map(each => each.id)).toEqual([lease.id])
    }
  })

  it('a process that is alone declares all it finds dead', async () => {
    const leases = [await take(), await take()]
    const dead = await declareDead(rig.db, clock.now(), true)
    expect(dead.map(each => each.id).sort()).toEqual(leases.map(each => each.id).sort())
    expect(await leases[0]!.renew(clock.now())).toBe(false)
  })

  it('given back it is gone', async () => {
    const lease = await take()
    await lease.end()
    expect(await rig.rows('select * from leases')).toEqual([])
    expect(lease.hasMargin(0)).toBe(false)
    expect(await lease.renew(clock.now())).toBe(false)
  })

  it('a database that is away rejects the renewal and does not end the lease', async () => {
    let away = false
    const flaky = {
      ...rig.db,
      write: (unit: Parameters<typeof rig.db.write>[0]) =>
        away ? Promise.reject(new Error('away')) : rig.db.write(unit),
    }
    const lease = await takeLease({ db: flaky, clock, leaseMs: LEASE, holder: 'h', epoch: 'e' }, clock.now())
    away = true
    await clock.advance(LEASE / 2)
    await expect(lease.renew(clock.now())).rejects.toThrow('away')
    expect(lease.hasMargin(LEASE / 4)).toBe(true)
    away = false
    expect(await lease.renew(clock.now())).toBe(true)
  })

  it('a claim written after its lease was given up is found, whoever comes next', async () => {
    const account = await rig.account()
    await rig.add(account, 2)
    const lease = await take()
    rig.now = clock.now()
    // What a worker leaves that was frozen between its claim's check of the lease and the commit.
    await rig.claim(account, lease.id)
    await rig.exec('delete from leases')
    const other = await take('alive')
    expect(await orphanedLeases(rig.db)).toMatchObject([{ id: lease.id }])
    const dead = await declareDead(rig.db, clock.now(), false)
    expect(dead.map(each => each.id)).toEqual([lease.id])
    // Nobody knows what became of it: no journal is trusted.
    expect(dead[0]!.epoch).not.toBe('boot 1')
    expect(await other.renew(clock.now())).toBe(true)
  })
})
