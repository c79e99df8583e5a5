/**
 * SQLite's log is copied into the database by one thread while another writes, and the process is killed at that again and
 * again: nothing acknowledged is lost, and the database stays whole.
 */
import { statSync } from 'node:fs'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openDriver } from '../../src/db/sqlite-driver.js'
import { idsOf, openWorld, pause, seeded, until } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 240_000 })

const KILLS = 12

it('killed while its log is copied, a service loses nothing', async () => {
  const world = await openWorld('sqlite')
  onTestFinished(() => world.close())
  await world.start()
  await world.account()
  const random = seeded('moments of the kills')
  const modified = () => statSync(world.databaseUrl).mtimeMs
  // Some four batches make the log long.
  const body = 'x'.repeat(200_000)
  let isEnough = false
  const client = async (name: string) => {
    for (let n = 0; !isEnough; n += 1) await world.submit(idsOf(`${name}${n}-`, 20), { fields: { body } })
  }
  const clients = Promise.all([client('a'), client('b')])
  for (let kill = 0; kill < KILLS; kill += 1) {
    const before = modified()
    await until('the log to be copied', () => modified() > before)
    // A copy takes some 20 ms, and the next one begins soon.
    await pause(random() * 40)
    const { process } = world
    process.kill('SIGKILL')
    await process.exited
    await world.start()
  }
  isEnough = true
  await clients
  await world.drained(120_000)
  const { problems, claimed } = await world.ledger.balance(world.databaseUrl)
  expect({ problems, claimed }).toEqual({ problems: {}, claimed: 0 })
  const other = await openDriver(world.databaseUrl, true)
  onTestFinished(() => other.close())
  expect(other.prepare('pragma integrity_check').all()).toEqual([{ integrity_check: 'ok' }])
})
