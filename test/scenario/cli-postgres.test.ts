/** Commands on a PostgreSQL that another machine's process serves: they go by the database, and that process hears of it. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { removeRunning } from '../../src/cli/instance.js'
import { type CliWorld, openCliWorld } from '../support/cli-world.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

let world: CliWorld
let sink: SmtpSink
beforeAll(async () => {
  world = await openCliWorld(await createPostgresDatabase())
  sink = await startSink()
  // Nothing moves by itself: what is sent was woken.
  const service = await world.start({ GMP_TEST_MODE: 'true' })
  await service.call('POST', '/tenant', { id: 'acme' })
  await service.account(sink, { tenant_id: 'acme' })
  // Seen from here it does not run.
  removeRunning(world.dir, process.pid)
})
afterAll(async () => {
  await world.close()
  await sink.close()
})

const mail = 'From: me@example.org\nTo: one@example.net\nSubject: Hello\nMessage-ID: <pg-1@example.org>\n\nText.\n'

it('a message is submitted, told of, and sent by the other process once run-now reaches it', async () => {
  const sent = await world.run(['acme', 'messages', 'send', '-'], { stdin: mail })
  expect(sent).toEqual({ code: 0, out: 'queued as pg-1@example.org\n', err: '' })
  const waiting = await world.run(['acme', 'messages', 'show', 'pg-1@example.org'])
  expect(waiting.out).toMatch(/^state +pending, waits: queue$/m)
  expect(waiting.out).not.toContain('does not run')
  expect(sink.accepted).toBe(0)
  const woken = await world.run(['run-now'])
  expect(woken).toEqual({
    code: 0,
    out: 'shop does not run here; other processes on its database were told\n',
    err: '',
  })
  await sink.waitFor(1)
  await world.service.until(
    'sent',
    async () => (await world.json(['messages', 'show', 'pg-1@example.org'])).status === 'sent',
  )
  expect((await world.run(['stats'])).out).toMatch(/^acme\/main +1$/m)
  expect((await world.run(['acme', 'info'])).out).toMatch(/^main +127\.0\.0\.1:\d+ +ok +- +1 sent$/m)
})

it('rules and the command log are the same there', async () => {
  const rule = await world.json(['rules', 'add', '--days', 'mon-fri', '--hours', '9-18'])
  expect(
    (await world.json(['rules', 'update', String(rule.id), '--hours', '10-18', '--tenant', 'acme'])).start_hour,
  ).toBe(10)
  const { commands } = await world.json(['command-log', 'list', '--endpoint', 'rule'])
  expect(commands.map((each: { endpoint: string }) => each.endpoint)).toEqual(['updateRule', 'addRule'])
  expect((await world.run(['rules', 'delete', String(rule.id)])).code).toBe(0)
})
