/** Two processes on one PostgreSQL: no message is claimed by two, and limits hold across both. Deaths: crash-matrix. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { idsOf, openWorld, pause, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const LIMIT = 40

describe('two instances on one database', () => {
  let world: World
  afterEach(() => world.close())

  const settled = async () => {
    await world.drained()
    const balance = await world.ledger.balance(world.databaseUrl)
    expect(balance.problems).toEqual({})
    expect(balance.claimed).toBe(0)
    return balance
  }

  it('share the work, send nothing twice and keep a common limit', async () => {
    // Nobody dies here: no busy machine shall make a lease end or a report time out.
    const env = { GMP_BATCH_SIZE_PER_ACCOUNT: '10', GMP_LEASE_SECONDS: '30', GMP_SYNC_TIMEOUT: '30' }
    world = await openWorld('postgres', { env })
    // Slow enough that neither can take it all before the other looks.
    world.sink.behave({ final: () => ({ delayMs: 10 }) })
    const one = await world.start()
    const two = await world.start()
    await world.account()
    await world.account({ id: 'limited', limit_per_minute: LIMIT })
    const free = idsOf('free', 600)
    await Promise.all([
      world.submit(free.slice(0, 300), { to: () => one }),
      world.submit(free.slice(300), { to: () => two }),
      world.submit(idsOf('limited', LIMIT * 2), { fields: { account_id: 'limited' }, to: () => one }),
    ])
    await until('the free ones and the full window', () => world.ledger.waiting().length === LIMIT)
    for (const each of [one, two]) expect(each.output()).toMatch(/Message free\d+ sent via main/)
    // The window is full: whoever looks again finds no room.
    await pause(1_500)
    const { problems, doubled, doubts } = await world.ledger.balance(world.databaseUrl)
    expect(doubled).toEqual([])
    expect(doubts).toEqual([])
    expect(Object.keys(problems).sort()).toEqual(['unfinished', 'withoutFinalReport'])
    expect(world.ledger.deliveries().size).toBe(free.length + LIMIT)
    const deferred = world.ledger.reports.requests.flatMap(
      ({ json }) => (json as { delivery_report: { id: string; deferred_ts?: number }[] }).delivery_report,
    )
    const told = deferred.filter(entry => entry.deferred_ts !== undefined).map(({ id }) => id)
    expect(told.sort()).toEqual(world.ledger.waiting().sort())
    // The limit is lifted: the rest goes.
    await world.account({ id: 'limited', limit_per_minute: 0 })
    const balance = await settled()
    expect(balance.doubled).toEqual([])
    expect(balance.repeatedReports).toEqual([])
  })
})
