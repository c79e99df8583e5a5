/** A service moves from SQLite to PostgreSQL: it goes on where it was, once an operator releases it, and only there. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { runCommandHere } from '../support/command.js'
import { accept } from '../support/http-sink.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { startReportClient } from '../support/report-client.js'
import { startTestService, type TestService, type TestServiceOptions } from '../support/service.js'
import { startSink } from '../support/smtp-sink.js'

// Processes start and stop here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 240_000 })

const undo: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each()
})

it('goes on with the same ids, times and states, and tells and sends what is owed once, after --release', async () => {
  const home = mkdtempSync(join(tmpdir(), 'gmp-transfer-'))
  const dir = join(home, 'instances', 'default')
  const sink = await startSink({ record: 'messages' })
  const client = await startReportClient()
  undo.push(
    async () => rmSync(home, { recursive: true }),
    () => sink.close(),
    () => client.close(),
  )
  const start = async (options: TestServiceOptions = {}): Promise<TestService> => {
    const service = await startTestService({ dir, ...options })
    undo.push(() => service.stop())
    return service
  }
  const to = await createPostgresDatabase()
  const transfer = (...args: string[]) =>
    runCommandHere({
      dir: home,
      args: ['default', 'transfer', '--to', to, ...args],
      env: { GMP_DB_PATH: join(dir, 'mail_service.db') },
    })

  // ---- on SQLite: something of everything ----
  const old = await start()
  await old.account(sink, { password: 'hunter2', user: null })
  await old.account(sink, { id: 'limited', limit_per_hour: 1 })
  await old.call('PUT', '/tenant/default', { client_base_url: client.url })
  await old.account(sink, { id: 'night' })
  await old.call('POST', '/commands/rules', {
    tenant_id: 'default',
    account_id: 'night',
    name: 'at night',
    start_hour: 1,
    end_hour: 2,
  })
  const secret = { bucket: 'files', access_key_id: 'AKIA', secret_access_key: 'hunter3' }
  await old.call('POST', '/volume', { name: 'files', backend: 's3', config: secret })
  await old.send({ id: 'told' }, { id: 'counted', account_id: 'limited' })
  await old.until('both reports', () => client.finals().length === 2)
  client.answer(() => ({ status: 503 }))
  await old.send({ id: 'untold' })
  await old.until('the mail', () => sink.accepted === 3)
  await old.call('POST', '/commands/suspend', { tenant_id: 'default' })
  const inAnHour = Math.floor(Date.now() / 1000) + 3_600
  const attachment = { filename: 'big.bin', storage_path: `base64:${Buffer.alloc(2_000_000, 7).toString('base64')}` }
  await old.send(
    { id: 'waits', attachments: [attachment] },
    { id: 'full', account_id: 'limited' },
    { id: 'scheduled', deferred_ts: inAnHour },
  )
  await old.call('POST', '/commands/suspend', { tenant_id: 'default', batch_code: 'b' })

  const seen = async (service: TestService) => {
    const paths = [
      '/accounts',
      '/tenants',
      '/commands/rules',
      '/volumes',
      '/command-log',
      '/messages?include_history=true',
    ]
    const answers = await Promise.all(paths.map(path => service.call('GET', path)))
    expect(answers.map(({ status }) => status)).toEqual(paths.map(() => 200))
    return answers.map(({ body }) => body)
  }
  const before = await seen(old)
  const [accounts, tenants, rules, volumes, log, messages] = before
  expect([accounts.accounts, tenants.tenants, rules.rules, volumes.volumes].map(each => each.length)).toEqual([
    3, 1, 1, 1,
  ])
  expect([log.commands.length > 5, messages.messages.length]).toEqual([true, 6])
  const refused = await transfer()
  expect([refused.code, refused.err]).toEqual([
    1,
    expect.stringContaining('is already served by another process: stop'),
  ])
  await old.stop()

  // ---- over ----
  const { code, out, err } = await transfer('--json')
  expect([code, err]).toEqual([0, ''])
  expect(JSON.parse(out)).toMatchObject({ waiting: 3, in_flight: 0, held: 0, reports: 1 })
  expect(out).not.toContain(new URL(to).password)
  const again = await transfer()
  expect([again.code, again.err]).toEqual([1, expect.stringContaining('is not empty')])

  // ---- neither sends ----
  client.answer(() => accept)
  const told = client.acknowledged.length
  for (const databaseUrl of [join(dir, 'mail_service.db'), to]) {
    const marked = await start({ databaseUrl })
    expect(marked.logs.join('\n')).toMatch(/ERROR Nothing is sent and nothing is reported: its rows were transferred/)
    const { body } = await marked.call('GET', '/status')
    expect(body).toMatchObject({ active: false, release_needed: expect.stringContaining('its rows were transferred') })
    if (databaseUrl === to) expect(await seen(marked)).toEqual(before)
    await marked.call('POST', '/commands/activate', { tenant_id: 'default' })
    await marked.call('POST', '/commands/run-now')
    expect(await marked.message('waits')).toMatchObject({ waiting_for: 'suspension' })
    await marked.stop()
  }
  expect(sink.accepted).toBe(3)
  expect(client.acknowledged).toHaveLength(told)

  // ---- released ----
  const released = await start({ databaseUrl: to, flags: { 'database.release': 'true' } })
  await released.until('what waited', () => client.finals().some(({ id }) => id === 'waits'))
  await released.until('what was owed', () => client.finals().some(({ id }) => id === 'untold'))
  await released.until('the limit', async () => (await released.message('full')).waiting_for === 'limit')
  expect(sink.accepted).toBe(4)
  expect(sink.messages.at(-1)!.raw.length).toBeGreaterThan(2_000_000)
  expect(client.finals().filter(({ id }) => id === 'untold')).toHaveLength(1)
  expect(client.finals().filter(({ id }) => id === 'told')).toHaveLength(1)
  expect(await released.message('scheduled')).toMatchObject({ deferred_ts: inAnHour, status: 'deferred' })
  // Keys go on after those of before.
  expect(await released.send({ id: 'newest' })).toMatchObject({ queued: 1 })
  await released.until('a new one', () => client.finals().some(({ id }) => id === 'newest'))
})

it('says what is wrong with the command', async () => {
  const home = mkdtempSync(join(tmpdir(), 'gmp-transfer-'))
  undo.push(async () => rmSync(home, { recursive: true }))
  const env = { GMP_DB_PATH: join(home, 'data', 'mail.db') }
  const run = (args: string[], more = {}) =>
    runCommandHere({ dir: home, args: ['default', ...args], env: { ...env, ...more } })
  mkdirSync(join(home, 'instances', 'default'), { recursive: true })
  const first = await startTestService({ databaseUrl: env.GMP_DB_PATH, dir: join(home, 'data') })
  await first.stop()
  for (const [args, code, words, more] of [
    [['transfer'], 2, "required option '--to"],
    [['transfer', '--to', '/data/mail.db'], 2, '--to should be postgresql://'],
    [['transfer', '--to', 'postgresql://u:hunter2@127.0.0.1:1/mail'], 1, 'ECONNREFUSED'],
    [['transfer', '--to', 'postgresql://h/db'], 1, 'is PostgreSQL already', { GMP_DB_PATH: 'postgresql://h/db' }],
    [
      ['transfer', '--to', 'postgresql://h/db'],
      1,
      'there is no database yet',
      { GMP_DB_PATH: join(home, 'data', 'no.db') },
    ],
  ] as const) {
    const end = await run([...args], more)
    expect([args, end.code, end.out]).toEqual([args, code, ''])
    expect(end.err).toContain(words)
    expect(end.err).not.toContain('hunter2')
  }
  writeFileSync(env.GMP_DB_PATH, 'no database')
  expect((await run(['transfer', '--to', 'postgresql://h/db'])).code).toBe(1)
})
