/** A backup taken while the service sends comes back as a database that sends nothing before an operator releases it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openDriver } from '../../src/db/sqlite-driver.js'
import { type CommandEnd, runCommand, type ServiceProcess, startProcess, tempDir } from '../support/process.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { until } from '../support/world.js'

// Processes start and stop here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 240_000 })

let sink: SmtpSink
let client: ReportClient
let dir: string
const undo: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  sink = await startSink({ record: 'messages' })
  client = await startReportClient()
  const temp = await tempDir()
  dir = temp.dir
  undo.push(
    () => temp.remove(),
    () => client.close(),
    () => sink.close(),
  )
})
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each()
})

const FAST = {
  GMP_SEND_LOOP_INTERVAL: '0.1',
  GMP_RETRY_DELAYS: '0.3',
  GMP_PROBE_FIRST: '0.2',
  GMP_MIN_FREE_MB: '1',
}
const folder = (name: string) => join(dir, 'instances', name)

/** Runs a command and fails with its words when it ends with another code. */
async function command(args: readonly string[], code = 0, env: Record<string, string> = {}): Promise<CommandEnd> {
  const end = await runCommand({ dir, args, env: { GMP_MIN_FREE_MB: '1', ...env } })
  if (end.code !== code) throw new Error(`${args.join(' ')}: ended with ${end.code}\n${end.out}${end.err}`)
  return end
}

async function backup(...args: string[]): Promise<any> {
  return JSON.parse((await command(['default', 'backup', ...args, '--json'])).out)
}

interface Running extends ServiceProcess {
  call(method: string, path: string, body?: unknown): Promise<any>
  stop(): Promise<void>
}

/** `mail-proxy serve`, the instance `default`. */
async function serve(...args: string[]): Promise<Running> {
  const env = { ...FAST, GMP_CLIENT_SYNC_URL: `${client.url}/reports` }
  const process = await startProcess({ dir, env, args })
  const token = readFileSync(join(folder('default'), 'token'), 'utf8').trim()
  let stopped = false
  const running: Running = {
    ...process,
    async call(method, path, body) {
      const headers = { 'X-API-Token': token }
      const text = body === undefined ? undefined : JSON.stringify(body)
      return (await fetch(`${process.url}${path}`, { method, headers, body: text })).json()
    },
    async stop() {
      if (stopped) return
      stopped = true
      process.kill('SIGTERM')
      await process.exited
    },
  }
  undo.push(() => running.stop())
  return running
}

const account = (service: Running, fields = {}) =>
  service.call('POST', '/account', {
    id: 'main',
    tenant_id: 'default',
    host: sink.host,
    port: sink.port,
    use_tls: false,
    ...fields,
  })

async function send(service: Running, ...ids: string[]): Promise<void> {
  const messages = ids.map(id => ({
    id,
    tenant_id: 'default',
    account_id: 'main',
    from: 'sender@example.com',
    to: 'one@example.net',
    subject: 'Subject',
    body: 'Body',
  }))
  expect(await service.call('POST', '/commands/add-messages', { messages })).toMatchObject({ queued: ids.length })
}

const told = (id: string) => client.finals().filter(each => each.id === id).length

describe('a backup that comes back', () => {
  it('sends and reports nothing, says why and what may have gone out, until --release', async () => {
    const first = await serve()
    await account(first)
    await send(first, 'gone')
    await until('the report', () => told('gone') === 1)
    await first.call('POST', '/commands/suspend', { tenant_id: 'default' })
    await send(first, 'waits-1', 'waits-2')
    const taken = await backup()
    expect(taken).toMatchObject({ messages: 3, waiting: 2, in_flight: 0, held: 0, reports: 0, holds: ['key', 'token'] })

    await first.call('POST', '/commands/activate', { tenant_id: 'default' })
    await until('their reports', () => told('waits-1') + told('waits-2') === 2)
    await send(first, 'later')
    await until('its report', () => told('later') === 1)
    await first.stop()

    const { out } = await command(['default', 'restore', taken.file, '--force'])
    expect(out).toContain(`is the backup of ${taken.made_at}\n`)
    expect(out).toContain(`2 messages may have gone out since ${taken.made_at}\n`)
    expect(out).toMatch(/mail-proxy serve --release +once/)
    const [aside] = /kept aside: (.*)/.exec(out)!.slice(1)
    expect(statSync(aside!).mode & 0o777).toBe(0o600)

    for (const _ of ['at first', 'and after a restart']) {
      const marked = await serve()
      expect(marked.output()).toMatch(
        /ERROR +Nothing is sent and nothing is reported: it was restored from the backup of .*--release/,
      )
      await marked.call('POST', '/commands/activate', { tenant_id: 'default' })
      await marked.call('POST', '/commands/run-now')
      expect(await marked.call('GET', '/status')).toMatchObject({
        active: false,
        release_needed: expect.stringContaining(`the backup of ${taken.made_at}`),
      })
      expect((await command(['default', 'info'])).out).toMatch(/^sending +no: it was restored .*--release$/m)
      expect(await marked.call('GET', '/messages/waits-1')).toMatchObject({ waiting_for: 'suspension' })
      expect(await marked.call('GET', '/messages/gone')).toMatchObject({ status: 'sent' })
      await marked.stop()
    }
    expect(sink.accepted).toBe(4)
    const reported = client.acknowledged.length

    const released = await serve('--release')
    await until('both again', () => told('waits-1') + told('waits-2') === 4)
    expect(sink.accepted).toBe(6)
    expect(client.acknowledged).toHaveLength(reported + 2)
    await released.stop()
    const later = await serve()
    expect(await later.call('GET', '/status')).toMatchObject({ active: true })
    expect((await command(['default', 'info'])).out).not.toContain('sending')
  })

  it('holds what was at its final dot in doubt, though the journal of that does not travel', async () => {
    let dots = 0
    sink.behave({
      final: () => {
        dots += 1
        return { silent: true }
      },
    })
    const first = await serve()
    await account(first, { in_doubt: 'hold' })
    await send(first, 'under-way')
    await until('the dot', () => dots === 1)
    const taken = await backup()
    expect(taken).toMatchObject({ waiting: 0, in_flight: 1 })
    // The journal of a process that was killed stays, of one boot with the backup's lease.
    first.kill('SIGKILL')
    await first.exited
    await command(['default', 'restore', taken.file, '--force'])
    const marked = await serve()
    expect(await marked.call('GET', '/messages/under-way')).toMatchObject({ status: 'in_doubt' })
    expect(dots).toBe(1)
  })

  it('becomes a new instance with key, token and config.ini of the old one', async () => {
    const first = await serve()
    await account(first, { user: 'u', password: 'hunter2' })
    await first.stop()
    writeFileSync(join(folder('default'), 'config.ini'), '[delivery]\nmax_retries = 2\n')
    const taken = await backup()
    expect(taken.holds).toEqual(['key', 'token', 'config.ini'])
    expect(statSync(taken.file).mode & 0o777).toBe(0o600)

    await command(['copy', 'restore', taken.file])
    for (const name of ['key', 'token', 'config.ini']) {
      expect(readFileSync(join(folder('copy'), name))).toEqual(readFileSync(join(folder('default'), name)))
      expect(statSync(join(folder('copy'), name)).mode & 0o777).toBe(0o600)
    }
    const restored = readFileSync(join(folder('copy'), 'mail_service.db'))
    const key = readFileSync(join(folder('default'), 'key'), 'utf8').trim()
    expect(readFileSync(taken.file).includes(key)).toBe(true)
    expect(restored.includes(key)).toBe(false)
    expect(restored.includes('hunter2')).toBe(false)
  })

  it('does without the key where it is told to, and says at the restore that it is missing', async () => {
    const first = await serve()
    await account(first)
    await first.stop()
    const key = readFileSync(join(folder('default'), 'key'), 'utf8').trim()
    const taken = await backup('--without-key')
    expect(taken.holds).toEqual([])
    expect(readFileSync(taken.file).includes(key)).toBe(false)
    expect((await command(['copy', 'restore', taken.file])).out).toContain('The key its passwords were sealed with')
    expect(existsSync(join(folder('copy'), 'key'))).toBe(false)
    // A key that the environment gives is not the file's, and does not travel.
    const given = { GMP_ENCRYPTION_KEY: key }
    const kept = await command(['default', 'backup', join(dir, 'kept'), '--json'], 0, given)
    expect(JSON.parse(kept.out).holds).toEqual(['token'])
    expect((await command(['default', 'backup', join(dir, 'kept-too')], 0, given)).out).toContain(
      'Without the key, which',
    )
    expect((await command(['other', 'restore', taken.file], 0, { GMP_ENCRYPTION_KEY: key })).out).not.toContain(
      'The key',
    )
  })

  it('takes the place of a database that cannot be opened, and of a wrong key, and keeps both', async () => {
    const first = await serve()
    await account(first)
    await first.stop()
    const taken = await backup()
    const token = readFileSync(join(folder('default'), 'token'), 'utf8')
    writeFileSync(join(folder('default'), 'mail_service.db'), 'not a database')
    writeFileSync(join(folder('default'), 'key'), `${Buffer.alloc(32, 9).toString('base64')}\n`)
    writeFileSync(join(folder('default'), 'token'), 'another\n')
    const { kept_aside } = JSON.parse((await command(['default', 'restore', taken.file, '--force', '--json'])).out) as {
      kept_aside: string[]
    }
    expect(kept_aside.map(path => readFileSync(path, 'utf8'))).toEqual([
      'not a database',
      `${Buffer.alloc(32, 9).toString('base64')}\n`,
      'another\n',
    ])
    expect(readFileSync(join(folder('default'), 'token'), 'utf8')).toBe(token)
    const marked = await serve()
    expect((await marked.call('GET', '/status')).release_needed).toContain('restored')
  })
})

describe('refused', () => {
  it('a file that is no backup, a damaged one, one of a newer version, one that is not there', async () => {
    const first = await serve()
    await account(first)
    await first.stop()
    const taken = await backup()
    const made = (name: string, content: Buffer | string) => {
      writeFileSync(join(dir, name), content)
      return join(dir, name)
    }
    const octets = readFileSync(taken.file)
    const spoiled = Buffer.from(octets)
    spoiled.fill(0xa5, Math.floor(octets.length / 2), Math.floor(octets.length / 2) + 30_000)
    const newer = join(dir, 'newer')
    await cp(taken.file, newer)
    const change = await openDriver(newer, false)
    change.exec("update meta set value = '99' where key = 'schema_version'")
    change.close()
    const unmarked = join(dir, 'unmarked')
    await cp(taken.file, unmarked)
    const unmark = await openDriver(unmarked, false)
    unmark.exec("delete from meta where key = 'release_needed'")
    unmark.close()
    const foreign = await openDriver(join(dir, 'foreign'), false)
    foreign.exec('create table backup (x text)')
    foreign.close()
    mkdirSync(join(dir, 'directory'))
    for (const [file, words] of [
      [made('text', 'Dear reader,\n'.repeat(1_000)), 'is no backup made by'],
      [made('empty', ''), 'is no backup made by'],
      [join(dir, 'foreign'), 'is no backup made by'],
      [join(folder('default'), 'mail_service.db'), 'is no backup made by'],
      [made('short', octets.subarray(0, octets.length - 8_192)), 'is damaged'],
      [made('half', octets.subarray(0, octets.length / 2)), 'is damaged'],
      [made('spoiled', spoiled), 'is damaged'],
      [newer, 'newer than this version knows'],
      [unmarked, 'has lost the mark'],
      [join(dir, 'nothing'), 'there is no file'],
      [join(dir, 'directory'), 'there is no file'],
    ] as const) {
      const { err, out } = await command(['copy', 'restore', file], 1)
      expect([out, err]).toEqual(['', expect.stringMatching(new RegExp(`^Error: [^\\n]*${words}[^\\n]*\\n$`))])
    }
    const left = existsSync(folder('copy')) ? readdirSync(folder('copy')) : []
    expect(left.filter(name => name !== 'mail_service.db-lock')).toEqual([])
  })

  it('a restore over a running instance, or without --force over one that has a database', async () => {
    const first = await serve()
    await account(first)
    const taken = await backup()
    const before = readdirSync(folder('default')).sort()
    expect((await command(['default', 'restore', taken.file, '--force'], 1)).err).toContain('stop the instance first')
    await first.stop()
    expect((await command(['default', 'restore', taken.file], 1)).err).toContain('is there already: with --force')
    expect(before).toEqual(expect.arrayContaining(readdirSync(folder('default')).filter(name => name !== 'pid')))
  })

  it('to serve a backup as if it were a database', async () => {
    const first = await serve()
    await first.stop()
    const taken = await backup(join(dir, 'a.backup'))
    expect(taken.file).toBe(join(dir, 'a.backup'))
    expect((await command(['serve', '--database-url', taken.file], 1)).err).toContain('this file is a backup')
    // It has suffered nothing by that.
    await command(['copy', 'restore', taken.file])
  })

  it('a backup to where it cannot be: a name that is taken, no directory, no room', async () => {
    const first = await serve()
    await first.stop()
    const kept = join(dir, 'kept')
    writeFileSync(kept, 'mine')
    expect((await command(['default', 'backup', kept], 1)).err).toContain('is there already')
    expect(readFileSync(kept, 'utf8')).toBe('mine')
    expect((await command(['default', 'backup', join(dir, 'no', 'such')], 1)).err).toContain('no such directory')
    expect((await command(['default', 'backup', join(kept, 'x')], 1)).err).toContain('no such directory')
    const full = await command(['default', 'backup'], 1, { GMP_MIN_FREE_MB: '10000000' })
    expect(full.err).toMatch(
      /MB free and the backup takes up to 1 MB, and 10000000 MB \(GMP_MIN_FREE_MB\) must stay free/,
    )
    expect(readdirSync(join(folder('default'), 'backups'))).toEqual([])
    expect(readdirSync(dir).filter(name => name.includes('partial'))).toEqual([])
    rmSync(kept)
  })

  it('a backup of PostgreSQL, with the command that makes one and no password', async () => {
    await (await serve()).stop()
    const env = { GMP_DB_PATH: 'postgresql://mail:hunter2@127.0.0.1:1/mail' }
    const { err } = await command(['default', 'backup'], 1, env)
    expect(err).toContain('pg_dump --format=custom --no-unlogged-table-data --file=default-')
    expect(err).toContain("'postgresql://mail@127.0.0.1:1/mail'")
    expect(err).not.toContain('hunter2')
  })
})
