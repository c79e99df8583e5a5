/** SIGKILL at random times under load, several times over: nothing is lost and no double goes unsaid. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { idsOf, openWorld, pause, seeded, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const ROUNDS = 4
const CLIENTS = 3
const BATCH = 40
const A_ROUND = 400

describe.each(['sqlite', 'postgres'] as const)('killed under load on %s', dialect => {
  let world: World
  afterEach(() => world.close())

  it('loses nothing, reports each message once, and doubles only what it called in doubt', async () => {
    const random = seeded(`kill-under-load ${dialect}`)
    world = await openWorld(dialect)
    const { ledger, sink } = world
    await world.start()
    await world.account()
    // Some replies linger, so that kills also fall between the final dot and the reply.
    sink.behave({ final: ({ n }) => (n % 9 === 0 ? { delayMs: 20 } : null) })

    let submitted = 0
    let allowed = A_ROUND
    let over = false
    const client = async (name: string) => {
      for (let batch = 0; !over; batch += 1) {
        // Each round has load of its own, so that no kill finds an idle service.
        while (!over && submitted >= allowed) await pause(10)
        submitted += BATCH
        await world.submit(idsOf(`${name}-${batch}-`, BATCH))
        await pause(random() * 40)
      }
    }
    const clients = idsOf('client', CLIENTS).map(client)

    for (let round = 1; round <= ROUNDS; round += 1) {
      const before = ledger.queued.size
      await until('load', () => ledger.queued.size > before)
      await pause(random() * 300)
      world.process.kill('SIGKILL')
      await world.process.exited
      allowed += A_ROUND
      await world.start()
    }
    over = true
    await Promise.all(clients)
    await world.drained()

    const balance = await ledger.balance(world.databaseUrl)
    console.log(
      `${dialect}: ${ledger.queued.size} queued, ${balance.doubts.length} in doubt, ${balance.doubled.length} doubled, ` +
        `${balance.repeatedReports.length} reports repeated`,
    )
    expect(balance.problems).toEqual({})
    expect(balance.statuses).toEqual({ sent: ledger.queued.size })
    // A load too light to be killed in would prove nothing.
    expect(ledger.queued.size).toBeGreaterThan(ROUNDS * BATCH)
  })
})
