/**
 * Another program has a transaction open on the service's SQLite file, as a shell or a backup tool may: what wants to
 * write is refused within its time or waits, nothing is lost or doubled, and all goes on by itself.
 */
import { statSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openDriver, type SqliteConnection } from '../../src/db/sqlite-driver.js'
import { idsOf, MESSAGE, openWorld, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

/** For these processes this one is another program. */
let other: SqliteConnection
let world: World

beforeEach(async () => {
  world = await openWorld('sqlite', { env: { GMP_LEASE_SECONDS: '60', GMP_STOP_TIMEOUT: '6' } })
  await world.start()
  await world.account()
  other = await openDriver(world.databaseUrl, false)
  other.exec('pragma busy_timeout = 10000')
})

afterEach(async () => {
  other.close()
  await world.close()
})

const expectAllOnce = async () => {
  await world.drained()
  const { problems, doubled, doubts, claimed } = await world.ledger.balance(world.databaseUrl)
  expect({ problems, doubled, doubts, claimed }).toEqual({ problems: {}, doubled: [], doubts: [], claimed: 0 })
}

/** Submits and takes the lock while a message is at its final dot. */
const lockAtDot = async (begin: string) => {
  let isLocked = false
  world.sink.behave({
    final() {
      if (!isLocked) other.exec(begin)
      isLocked = true
      return null
    },
  })
  await world.submit(idsOf('sending', 3))
  await until('the lock', () => isLocked)
}

describe('a writer that stays for longer than is waited', () => {
  it.each(['begin immediate', 'begin exclusive'])(
    '%s: submissions get 503, results wait, reads go on, and nothing is lost or doubled',
    async begin => {
      const service = world.process
      await lockAtDot(begin)
      const submitting = world.submit(idsOf('during', 20))
      await until('a result to wait', () => /Results of \d sends wait for the database/.test(service.output()))
      await until('a refusal', () => world.refusals.length > 0)
      const { status, headers, body } = world.refusals[0]!
      expect(status).toBe(503)
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
      expect(body).toMatchObject({ code: 'database_unavailable', error: 'The database cannot be used just now' })
      const said = /The database cannot be used: .*database is locked: another program has /
      await until('the reason in the log', () => said.test(service.output()))
      expect((await world.call('GET', '/messages?limit=1')).status).toBe(200)
      expect(world.sink.accepted).toBeGreaterThan(0)
      other.exec('rollback')
      await submitting
      await expectAllOnce()
      expect(world.process).toBe(service)
    },
  )

  it('requests that come at once all get their 503 in time, and `/ready` says it until it can be written again', async () => {
    const isReady = async () => (await world.call('GET', '/ready')).status === 200
    expect(await isReady()).toBe(true)
    other.exec('begin immediate')
    const send = async (request: number) => {
      const since = performance.now()
      const messages = idsOf(`r${request}-`, 1_000).map(id => ({ ...MESSAGE, id }))
      const { status } = await world.call('POST', '/commands/add-messages', { messages })
      return { status, isInTime: performance.now() - since < 7_000 }
    }
    const inTime = { status: 503, isInTime: true }
    expect(await Promise.all([0, 1, 2, 3, 4].map(send))).toEqual(Array.from({ length: 5 }, () => inTime))
    await until('the lease to be renewed in vain', async () => !(await isReady()))
    expect((await world.call('GET', '/ready')).body.details.problems).toEqual(['the database cannot be written'])
    expect(await send(5)).toEqual(inTime)
    other.exec('rollback')
    await until('a renewal', isReady)
    await world.submit(['after'])
    await expectAllOnce()
  })

  it('a stop is not held up, a start says what is in its way, and the next one settles what was left', async () => {
    const service = world.process
    await lockAtDot('begin immediate')
    service.kill('SIGTERM')
    expect(await service.exited).toBe(0)
    await expect(world.start()).rejects.toThrow(
      /^Error: .*mail_service\.db: database is locked: another program has a transaction open on it, and has to end that$/m,
    )
    other.exec('rollback')
    await world.start()
    await world.drained()
    const { problems, doubts, claimed } = await world.ledger.balance(world.databaseUrl)
    expect({ problems, claimed }).toEqual({ problems: {}, claimed: 0 })
    expect(doubts).not.toEqual([])
  })
})

it('a reader that stays: nothing is refused, and the WAL that grew meanwhile is cut once it leaves', async () => {
  const walBytes = () => statSync(`${world.databaseUrl}-wal`).size
  const body = 'x'.repeat(200_000)
  const load = async (name: string) => {
    for (let batch = 0; batch < 20; batch += 1) await world.submit(idsOf(`${name}${batch}-`, 20), { fields: { body } })
  }
  other.exec('begin; select count(*) from messages')
  await load('during')
  await world.drained()
  expect(world.refusals).toEqual([])
  // More than all pages of a checkpoint: none could be used again.
  expect(walBytes()).toBeGreaterThan(80_000_000)
  other.exec('commit')
  await load('after')
  expect(walBytes()).toBe(64 * 1024 * 1024)
  await expectAllOnce()
})
