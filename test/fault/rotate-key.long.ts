/** The sealing key is changed while mail comes in and goes out, and the process that does it is killed again and again. */
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Db } from '../../src/db/db.js'
import { openPostgres } from '../../src/db/postgres.js'
import { openSqlite } from '../../src/db/sqlite.js'
import { createSealer, keyIdOf } from '../../src/lib/seal.js'
import { runCommand } from '../support/process.js'
import { TEST_KEY } from '../support/secrets.js'
import { ADMIN_TOKEN } from '../support/service.js'
import { silentLog } from '../support/silent-log.js'
import { idsOf, openWorld, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 240_000 })

const OLD = Buffer.from(TEST_KEY, 'base64')
const NEW = Buffer.alloc(32, 8)
const BOTH = { GMP_ENCRYPTION_KEY: `${OLD.toString('base64')},${NEW.toString('base64')}` }
const ALONE = { GMP_ENCRYPTION_KEY: NEW.toString('base64') }
/** Messages for later whose attachment has credentials: what is sealed anew one by one. */
const LATER = 3_000

describe.each(['sqlite', 'postgres'] as const)('the change of the sealing key on %s', dialect => {
  it('killed midway again and again it ends with every secret under the new key, and no mail lost or refused', async () => {
    const world = await openWorld(dialect, { sink: { auth: ['PLAIN'], users: { shop: 'smtp-pass' } } })
    onTestFinished(() => world.close())
    const first = await world.start()
    await world.account({ user: 'shop', password: 'smtp-pass' })
    await submitForLater(world)
    first.kill('SIGTERM')
    await first.exited
    const processes = [await world.start(BOTH)]
    // A second instance, which only hears of it.
    if (dialect === 'postgres') processes.unshift(await world.start(BOTH))

    const enough = new AbortController()
    const client = (async () => {
      for (let n = 0; !enough.signal.aborted; n += 1) await world.submit(idsOf(`n${n}-`, 10), { stop: enough.signal })
    })()
    for (const atLeast of [1, 400, 1_200]) {
      const { process } = world
      void (async () => {
        while ((await world.call('POST', '/instance/sealing-key/rotate', undefined, process)).status === 200);
      })().catch(() => {})
      await until(`${atLeast} values are sealed anew`, async () => {
        const { rotation } = (await world.call('GET', '/instance/sealing-key')).body
        // The end would show that nothing was killed midway.
        if (typeof rotation?.finished_at === 'string') throw new Error('it has ended')
        return rotation !== null && rotation.resealed >= atLeast
      })
      process.kill('SIGKILL')
      await process.exited
      await world.start(BOTH)
      expect((await world.call('GET', '/instance/sealing-key')).body.rotation.finished_at).toBeNull()
    }
    const rotate = async (...more: string[]) => {
      const args = ['default', 'rotate-key', '--json', ...more]
      const own = { ...BOTH, GMP_DB_PATH: world.databaseUrl, GMP_API_TOKEN: ADMIN_TOKEN }
      return runCommand({ dir: world.dir, args, env: own })
    }
    const [one, two] = await Promise.all([rotate(), rotate()])
    expect([one.code, one.err, two.code, two.err]).toEqual([0, '', 0, ''])
    expect(JSON.parse(one.out)).toMatchObject({
      sealing_key: keyIdOf(NEW),
      rotation: { from_key: keyIdOf(OLD), to_key: keyIdOf(NEW), unreadable: 0 },
    })
    enough.abort()
    await client
    await world.drained(120_000)
    const { problems } = await world.ledger.balance(world.databaseUrl)
    const ofMail = Object.entries(problems).map(([problem, ids]) => [problem, ids.filter(id => !/^later/.test(id))])
    expect(Object.fromEntries(ofMail)).toEqual({ unfinished: [], strangers: [] })
    // A new login with the password that was sealed anew, by a process that knows the new key alone.
    for (const process of processes) process.kill('SIGTERM')
    world.process.kill('SIGTERM')
    await Promise.all([...processes, world.process].map(each => each.exited))
    await world.start(ALONE)
    await world.submit(['last'])
    await world.drained()
    world.process.kill('SIGTERM')
    await world.process.exited
    await expectAllNew(world, dialect)
  })
})

async function submitForLater(world: World): Promise<void> {
  const auth = { method: 'bearer', token: 'file-auth' }
  const attachments = [{ filename: 'a', fetch_mode: 'http_url', storage_path: 'http://127.0.0.1:9/a', auth }]
  const fields = { attachments, deferred_ts: Math.floor(Date.now() / 1000) + 86_400, body: 'B' }
  const messages = idsOf('later', LATER).map(id => ({
    ...{ id, tenant_id: 'default', account_id: 'main', from: 'a@example.com', to: 'b@example.net', subject: 'S' },
    ...fields,
  }))
  for (let at = 0; at < LATER; at += 1_000) {
    const { status, body } = await world.call('POST', '/commands/add-messages', {
      messages: messages.slice(at, at + 1_000),
    })
    expect([status, body.rejected]).toEqual([200, []])
  }
}

async function expectAllNew(world: World, dialect: 'sqlite' | 'postgres'): Promise<void> {
  const db: Db =
    dialect === 'sqlite'
      ? await openSqlite(world.databaseUrl)
      : await openPostgres(world.databaseUrl, { clock: 'process', poolSize: 2, log: silentLog })
  onTestFinished(() => db.close())
  const contents = await db.read({ sql: `select content from contents where content like '%"auth"%'`, params: [] })
  const sealer = createSealer(NEW)
  const open = contents.map(({ content }) => {
    const [{ auth }] = JSON.parse(content as string).attachments
    return sealer.open(auth, 'attachment-auth:default')
  })
  expect(open).toEqual(Array.from({ length: LATER }, () => '{"method":"bearer","token":"file-auth"}'))
  const passwords = await db.read({ sql: 'select password from accounts', params: [] })
  expect(passwords.map(({ password }) => sealer.open(password as string, 'account:default/main:password'))).toEqual([
    'smtp-pass',
  ])
}
