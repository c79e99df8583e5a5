/** SIGTERM under load: what is under way ends, what waits stays, nothing is left claimed or in doubt. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { readDatabase } from '../support/ledger.js'
import { idsOf, openWorld, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

describe.each(['sqlite', 'postgres'] as const)('stopped by SIGTERM on %s', dialect => {
  let world: World
  afterEach(() => world.close())

  it('ends with 0 within 10 s, leaves nothing claimed, and the next start sends the rest', async () => {
    world = await openWorld(dialect, { env: { GMP_LEASE_SECONDS: '30' } })
    world.sink.behave({ final: () => ({ delayMs: 40 }) })
    const first = await world.start()
    await world.account({ max_connections: 4 })
    await world.submit(idsOf('m', 500))
    const late = new AbortController()
    const latecomer = world.submit(idsOf('late', 1), { stop: late.signal })
    await until('sending', () => world.sink.accepted > 30)
    const began = performance.now()
    first.kill('SIGTERM')
    expect(await first.exited).toBe(0)
    expect(performance.now() - began).toBeLessThan(10_000)
    const sent = world.sink.accepted
    expect(sent).toBeLessThan(500)
    expect(await readDatabase(world.databaseUrl, 'select id from messages where stage = 3')).toEqual([])
    expect(await readDatabase(world.databaseUrl, 'select id from leases')).toEqual([])
    expect(first.output()).toMatch(/Stopped\n/)

    world.sink.behave({})
    const second = await world.start()
    await latecomer
    late.abort()
    await world.drained()
    expect(second.output()).not.toMatch(/Freed/)
    const balance = await world.ledger.balance(world.databaseUrl)
    expect(balance.problems).toEqual({})
    expect(balance.doubled).toEqual([])
    expect(balance.doubts).toEqual([])
  })

  it('a second signal ends it at once, and the message at the dot is in doubt', async () => {
    world = await openWorld(dialect, { env: { GMP_STOP_TIMEOUT: '60' } })
    let dots = 0
    world.sink.behave({
      final: () => {
        dots += 1
        return { silent: true }
      },
    })
    const process = await world.start()
    await world.account()
    await world.submit(['held'])
    await until('the final dot', () => dots > 0)
    process.kill('SIGTERM')
    await until('the stop to begin', () => /Stopping on SIGTERM/.test(process.output()))
    const began = performance.now()
    process.kill('SIGTERM')
    expect(await process.exited).toBe(143)
    expect(performance.now() - began).toBeLessThan(20_000)

    world.sink.behave({})
    await world.start()
    await world.drained()
    const balance = await world.ledger.balance(world.databaseUrl)
    expect(balance.problems).toEqual({})
    expect(balance.doubts).toEqual(['held'])
  })

  it('a server that never answers the dot does not hold up the stop: the message ends in doubt', async () => {
    world = await openWorld(dialect, { env: { GMP_STOP_TIMEOUT: '5' } })
    let dots = 0
    world.sink.behave({
      final: () => {
        dots += 1
        return { silent: true }
      },
    })
    const process = await world.start()
    await world.account({ in_doubt: 'hold' })
    await world.submit(['held'])
    await until('the final dot', () => dots > 0)
    const began = performance.now()
    process.kill('SIGTERM')
    // While it waits, a load balancer and a client are told.
    await until('/ready to say so', async () => {
      const ready = await world.call('GET', '/ready')
      return ready.status === 503 && ready.body.details.problems.includes('stopping')
    })
    const refused = await world.call('POST', '/commands/add-messages', { messages: [{ id: 'x' }] })
    expect(refused).toMatchObject({ status: 503, body: { code: 'draining' } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await process.exited).toBe(0)
    // The reply would be waited for ten minutes.
    expect(performance.now() - began).toBeLessThan(15_000)
    const [row] = await readDatabase(world.databaseUrl, 'select status, stage from messages')
    expect(row).toMatchObject({ status: 'in_doubt', stage: 4 })
  })
})
