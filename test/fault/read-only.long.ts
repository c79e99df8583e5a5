/**
 * Files of the service that cannot be written: a start says which and what to do, a running service refuses what it cannot
 * keep, tells why, and goes on by itself when they can be written again.
 */
import { dirname } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openReadOnly, type ReadOnly } from '../support/read-only.js'
import { idsOf, openWorld, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

let world: World
let files: ReadOnly | null

beforeEach(async context => {
  world = await openWorld('sqlite', { env: { GMP_LEASE_SECONDS: '30' } })
  files = openReadOnly(world.dir)
  if (files === null) context.skip('nothing can be made read-only here')
})

afterEach(async () => {
  files?.unlock()
  await world.close()
})

const expectAllOnce = async () => {
  await world.drained()
  const { problems, doubled, doubts, claimed } = await world.ledger.balance(world.databaseUrl)
  expect({ problems, doubled, doubts, claimed }).toEqual({ problems: {}, doubled: [], doubts: [], claimed: 0 })
}

it('a start is refused in a sentence that says what has to be written, and comes when it can be', async () => {
  const first = await world.start()
  await world.account()
  // Killed, so that the files beside the database are there.
  first.kill('SIGKILL')
  await first.exited
  const { databaseUrl } = world
  const refusals = new Map([
    [
      databaseUrl,
      /^Error: the database \(GMP_DB_PATH\): .*mail_service\.db cannot be opened \(EPERM\): it has to be a file /m,
    ],
    [
      `${databaseUrl}-wal`,
      /^Error: .*mail_service\.db: attempt to write a readonly database: the files of the database, /m,
    ],
    // SQLite would take it for held alone, by as many as there are.
    [
      `${databaseUrl}-lock`,
      /^Error: .*mail_service\.db cannot be served: its lock file has to be one that this user may /m,
    ],
    [
      dirname(databaseUrl),
      /^Error: the directory of the database .*\(EPERM\): let this user write there, or name another /m,
    ],
  ])
  for (const [path, sentence] of refusals) {
    files!.lock(path)
    await expect(world.start()).rejects.toThrow(sentence)
    files!.unlock()
  }
  await world.start()
  await world.submit(['after'])
  await expectAllOnce()
})

describe('under a running service', () => {
  it('the database: 503, results wait, reads go on', async () => {
    const service = await world.start()
    await world.account()
    world.sink.behave({
      final() {
        files!.lock(world.databaseUrl, `${world.databaseUrl}-wal`)
        return null
      },
    })
    await world.submit(['sending'])
    await until('a result that waits', () => /Results of 1 sends wait/.test(service.output()))
    world.sink.behave({})
    const submitting = world.submit(idsOf('during', 20))
    await until('a refusal', () => world.refusals.length > 0)
    expect(world.refusals[0]).toMatchObject({ status: 503, body: { code: 'database_unavailable' } })
    const said = /The database cannot be used: .*disk I\/O error: .*mounted read-only/
    await until('the reason in the log', () => said.test(service.output()))
    expect((await world.call('GET', '/messages?limit=1')).status).toBe(200)
    files!.unlock()
    await submitting
    await expectAllOnce()
    expect(world.process).toBe(service)
  })
})
