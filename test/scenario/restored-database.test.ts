/** A database put back to an earlier state sends and reports nothing until an operator has looked and released it. */
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { needReleaseStatement } from '../../src/queue/release-mark.js'
import { startReportClient } from '../support/report-client.js'
import { startTestService, type TestService, type TestServiceOptions } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

let sink: SmtpSink
let dir: string
let backup: string
const undo: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  sink = await startSink()
  dir = await mkdtemp(join(tmpdir(), 'gmp-lineage-'))
  backup = await mkdtemp(join(tmpdir(), 'gmp-backup-'))
  undo.push(
    () => sink.close(),
    () => rm(dir, { recursive: true }),
    () => rm(backup, { recursive: true }),
  )
})
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each()
})

async function start(options: TestServiceOptions = {}): Promise<TestService> {
  const service = await startTestService({ dir, ...options })
  undo.push(() => service.stop())
  return service
}

const database = ['mail_service.db', 'mail_service.db-wal'] as const
const copy = (from: string, to: string) =>
  Promise.all(database.map(name => cp(join(from, name), join(to, name)).catch(() => {})))

describe('a SQLite file restored from a backup', () => {
  it('is noticed; nothing goes out, also after a restart, until --release', async () => {
    const client = await startReportClient()
    undo.push(() => client.close())
    const first = await start()
    await first.account(sink)
    await first.call('PUT', '/tenant/default', { client_base_url: client.url })
    await first.call('POST', '/commands/suspend', { tenant_id: 'default' })
    await first.send({ id: 'waits' })
    await first.stop()
    await copy(dir, backup)

    const second = await start()
    await second.call('POST', '/commands/activate', { tenant_id: 'default' })
    await sink.waitFor(1)
    await second.until('the report', () => client.acknowledged.some(each => each.id === 'waits'))
    await second.stop()
    await Promise.all(database.map(name => rm(join(dir, name), { force: true })))
    await copy(backup, dir)

    const reported = client.acknowledged.length
    for (const _ of ['found out', 'and after a restart']) {
      const restored = await start()
      expect(restored.logs.join('\n')).toMatch(/ERROR Nothing is sent and nothing is reported: .*--release/)
      await restored.call('POST', '/commands/activate', { tenant_id: 'default' })
      await restored.call('POST', '/commands/run-now')
      expect((await restored.call('GET', '/status')).body).toMatchObject({
        active: false,
        release_needed: expect.stringContaining('older'),
      })
      expect(await restored.message('waits')).toMatchObject({
        waiting_for: 'suspension',
        waiting_detail: expect.stringContaining('--release'),
      })
      await restored.stop()
    }
    expect(sink.accepted).toBe(1)
    expect(client.acknowledged).toHaveLength(reported)

    const released = await start({ flags: { 'database.release': 'true' } })
    await sink.waitFor(2)
    await released.stop()
    const later = await start()
    expect((await later.call('GET', '/status')).body).toMatchObject({ active: true })
  })
})

it('a database that waits for its release removes no large file either: others may link to it by now', async () => {
  const store = await mkdtemp(join(tmpdir(), 'gmp-store-'))
  undo.push(() => rm(store, { recursive: true }))
  const files = async () => (await readdir(store, { recursive: true })).filter(name => name.endsWith('big.bin'))
  const first = await start()
  await first.account(sink)
  const large_file_config = {
    enabled: true,
    max_size_mb: 1,
    action: 'rewrite',
    storage_url: `file://${store}`,
    public_base_url: `${first.url}/files`,
  }
  await first.call('PUT', '/tenant/default', { large_file_config })
  const storage_path = `base64:${Buffer.alloc(2_000_000, 7).toString('base64')}`
  await first.send({ attachments: [{ filename: 'big.bin', storage_path }] })
  await sink.waitFor(1)
  await first.service.db!.write([
    { sql: 'update offloads set expires_at = 1', params: [] },
    needReleaseStatement('for the test'),
  ])
  await first.stop()
  const marked = await start()
  await marked.call('POST', '/commands/run-now')
  expect((await marked.call('GET', '/status')).body.release_needed).toBe('for the test')
  await marked.stop()
  expect(await files()).toHaveLength(1)
  const released = await start({ flags: { 'database.release': 'true' } })
  await released.until('the file is removed', async () => (await files()).length === 0)
})

it('a folder pointed to another database remembers nothing of it', async () => {
  const first = await start()
  await first.stop()
  const again = await start()
  await again.stop()
  const other = await start({ databaseUrl: join(backup, 'other.db') })
  expect((await other.call('GET', '/status')).body.active).toBe(true)
})

it('several instances on one PostgreSQL, each with its folder, find nothing odd in each other', async () => {
  const first = await start({ dialect: 'postgres' })
  const { databaseUrl } = first
  const second = await start({ databaseUrl, dir: backup })
  await first.stop()
  const third = await start({ databaseUrl })
  for (const each of [second, third]) expect((await each.call('GET', '/status')).body.active).toBe(true)
})
