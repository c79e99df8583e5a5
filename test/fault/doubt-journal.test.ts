/** A doubt journal that cannot be written: nothing is sent, it can be seen from outside, and it goes on by itself. */
import { mkdirSync, rmdirSync } from 'node:fs'
import { expect, it, vi } from 'vitest'
import { openDriver } from '../../src/db/sqlite-driver.js'
import { idsOf, openWorld, until } from '../support/world.js'

// A process starts here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

it('the dispatch loop fails with the reason, servers are left alone, and all goes out in the end', async () => {
  const world = await openWorld('sqlite', { env: { GMP_LEASE_SECONDS: '5' } })
  try {
    const service = await world.start()
    await world.account()
    const reading = await openDriver(world.databaseUrl, true)
    const [lease] = reading.prepare('select id from leases').all()
    reading.close()
    const inItsPlace = `${world.databaseUrl}-doubt.${lease!.id}.0`
    mkdirSync(inItsPlace)
    let transactions = 0
    world.sink.behave({
      data() {
        transactions += 1
        return null
      },
    })
    await world.submit(idsOf('during', 20))
    const loopOf = async (wanted: string) => {
      const { loops } = (await world.call('GET', '/loops')).body
      return loops.find(({ name }: { name: string }) => name === wanted)
    }
    const failing = await until('failed steps', async () => {
      const dispatch = await loopOf('dispatch')
      return dispatch.failures >= 3 && dispatch
    })
    expect(failing.last_error).toMatch(/^the doubt journal cannot be written: EISDIR/)
    expect(service.output()).toMatch(
      /The dispatch loop failed \(1 in a row\).*: the doubt journal cannot be written: EISDIR/,
    )
    expect(transactions).toBeLessThanOrEqual(20)
    expect(world.sink.accepted).toBe(0)
    expect(await loopOf('lease')).toMatchObject({ failures: 0 })
    // What had been claimed is given back.
    const { body } = await world.call('GET', '/messages?limit=20')
    expect(new Set(body.messages.map((each: { status: string }) => each.status))).toEqual(new Set(['pending']))
    rmdirSync(inItsPlace)
    await world.drained()
    const { problems, doubled, doubts, claimed } = await world.ledger.balance(world.databaseUrl)
    expect({ problems, doubled, doubts, claimed }).toEqual({ problems: {}, doubled: [], doubts: [], claimed: 0 })
    expect(service.output()).toMatch(/The dispatch loop goes on after \d+ failed steps/)
    expect(service.output()).not.toMatch(/The lease of this process was lost/)
  } finally {
    await world.close()
  }
})
