/** Commands that steer an instance: tenant info, run-now, suspend, activate, stats, rules, volumes, command-log. Both ways. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CliWorld, openCliWorld } from '../support/cli-world.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

const WAYS = ['running', 'stopped'] as const

let world: CliWorld
let sink: SmtpSink
let client: ReportClient
beforeAll(async () => {
  world = await openCliWorld()
  client = await startReportClient()
  sink = await startSink({ behave: { rcpt: ({ address }) => (address.startsWith('unknown') ? '550 5.1.1 No' : null) } })
  const service = await world.start()
  await service.call('POST', '/tenant', { id: 'acme', name: 'Acme Inc.', client_base_url: client.url })
  await service.call('POST', '/tenant', { id: 'bare' })
  await service.account(sink, { tenant_id: 'acme', limit_per_hour: 100 })
  await service.account({ port: 1 }, { tenant_id: 'acme', id: 'dead', on_pause_timeout: 'hold' })
  await service.send(
    { tenant_id: 'acme', id: 'a' },
    { tenant_id: 'acme', id: 'b', to: 'unknown@example.net', priority: 0 },
    { tenant_id: 'acme', id: 'c', account_id: 'dead' },
  )
  // Its account is paused by then, and that was told of it.
  await service.until('deferred', async () => (await service.message('c', 'acme')).status === 'deferred')
  await service.until('told', async () => (await service.message('b', 'acme')).reported_ts !== undefined)
  // From here on its application takes no more reports.
  client.answer(() => ({ status: 500 }))
  await service.send({ tenant_id: 'acme', id: 'owed', deferred_ts: Math.floor(Date.now() / 1000) + 86_400 })
  await service.call('POST', '/messages/owed/cancel?tenant_id=acme')
})
afterAll(async () => {
  await world.close()
  await sink.close()
  await client.close()
})

const shop = (...argv: string[]) => world.run(argv)

describe.each(WAYS)('of an instance that is %s', way => {
  beforeAll(async () => {
    if (way === 'stopped') await world.stop()
  })
  afterAll(async () => {
    if (way === 'stopped') await world.start()
  })

  it('tenant info has figures, accounts with their state, and the last report', async () => {
    const { code, out } = await shop('acme', 'info')
    expect(code).toBe(0)
    expect(out).toMatch(/^tenant +acme\nname +Acme Inc\.\nstate +active\nwaiting +1\nsent +1\nerrors +1\n/)
    expect(out).toMatch(/^reports to +http:\/\/127\.0\.0\.1:\d+\/mail-proxy\/sync\nlast report +\d{4}-.* ago/m)
    expect(out).toMatch(/^main +127\.0\.0\.1:\d+ +ok +100\/h +1 sent, 1 error, 1 cancelled +-$/m)
    expect(out).toMatch(/^dead +127\.0\.0\.1:1 +paused +- +1 deferred +Cannot connect .* \(for .*\)$/m)
    const info = await world.json(['acme', 'info'])
    expect(info).toMatchObject({
      tenant: { id: 'acme' },
      by_status: { sent: 1, error: 1 },
      accounts: [{ id: 'dead', paused: true }, { id: 'main' }],
    })
    expect((await shop('bare', 'info')).out).toMatch(
      /reports to +nowhere: it has no endpoint\n[\s\S]*it has no account;/,
    )
    expect(await shop('nobody', 'info')).toMatchObject({ code: 1, err: "Error: Tenant 'nobody' not found\n" })
  })

  it('messages show tells what was reported, and what is still owed to whom', async () => {
    expect((await shop('acme', 'messages', 'show', 'b')).out).toMatch(
      /^reports +1 of 1 told to http:\/\/127\.0\.0\.1:\d+\/mail-proxy\/sync$/m,
    )
    const owed = await shop('acme', 'messages', 'show', 'owed')
    expect(owed.out).toMatch(/^reports +0 of 1 told to http:\S+, 1 waiting; last answer there \d{4}-\d\d-\d\d /m)
    expect(owed.out).toMatch(/^\d{4}-\S+ \S+ +cancelled +waits +cancelled on request$/m)
  })

  it('stats count by status, account, priority and hour', async () => {
    const { out } = await shop('stats')
    expect(out).toMatch(/^deferred +1$/m)
    expect(out).toMatch(/^acme\/main +0 +1 +1 +1$/m)
    expect(out).toMatch(/^immediate +0 +1$/m)
    expect(out).toMatch(/^sent {4}·{22,23}[·█]{1,2} {2}1, at most 1 message an hour$/m)
    expect((await world.json(['acme', 'stats'])).by_status).toEqual({ deferred: 1, sent: 1, error: 1, cancelled: 1 })
    expect((await shop('bare', 'stats')).out).toBe('There are no messages yet.\n')
  })

  it('suspend and activate hold for the scheduler, a tenant, a batch', async () => {
    expect((await shop('acme', 'suspend', '--batch', 'x')).out).toBe(
      'acme, batch x, is suspended, 0 messages waiting\n',
    )
    expect((await shop('acme', 'info')).out).toMatch(/^suspended +batches x$/m)
    expect((await shop('acme', 'suspend')).out).toBe('acme is suspended, 1 message waiting\n')
    expect((await shop('acme', 'info')).out).toMatch(/^state +suspended$/m)
    expect(await shop('acme', 'activate', '--batch', 'x')).toMatchObject({
      code: 1,
      err: expect.stringContaining('cannot activate single batch'),
    })
    expect((await shop('suspend')).out).toBe('shop is suspended, 1 message waiting\n')
    expect((await shop('acme', 'activate')).out).toBe(
      'acme is suspended no more, but the whole scheduler is: `mail-proxy shop activate`; 1 message waiting\n',
    )
    expect(await world.json(['activate'])).toMatchObject({ active: true, suspended_batches: [] })
    expect((await shop('suspend', '--batch', 'x')).code).toBe(2)
  })

  it('run-now wakes who is there, and says where nobody is', async () => {
    if (way === 'running') {
      const before = client.requests.length
      expect(await shop('acme', 'run-now')).toEqual({ code: 0, out: 'acme is looked at now\n', err: '' })
      await world.service.until('asked', () => client.requests.length > before)
      expect((await shop('run-now')).code).toBe(0)
      expect(await shop('nobody', 'run-now')).toMatchObject({ code: 1, err: "Error: Tenant 'nobody' not found\n" })
    } else {
      expect(await shop('run-now')).toEqual({
        code: 1,
        out: '',
        err: 'Error: shop does not run, so nothing is there to wake: `mail-proxy start shop`\n',
      })
    }
  })

  it('rules are made, listed, changed and deleted in words', async () => {
    expect((await shop('rules', 'list')).out).toMatch(/^there is no rule: mail is sent at any time;/)
    const add = [
      'rules',
      'add',
      '--name',
      'Office',
      '--days',
      'mon-fri',
      '--hours',
      '9-18',
      '--zone',
      'Europe/Rome',
      '--interval',
      '5',
    ]
    const made = await world.json(add)
    expect(made).toMatchObject({
      name: 'Office',
      days: [0, 1, 2, 3, 4],
      start_hour: 9,
      end_hour: 18,
      interval_minutes: 5,
      enabled: true,
    })
    const id = String(made.id)
    const night = await world.json([
      'rules',
      'add',
      '--days',
      'sat-mon',
      '--hours',
      '22-6',
      '--tenant',
      'acme',
      '--account',
      'main',
      '--disabled',
    ])
    expect(night).toMatchObject({ days: [0, 5, 6], cross_midnight: true, enabled: false, tenant_id: 'acme' })
    const { out } = await shop('rules', 'list')
    expect(out).toMatch(new RegExp(`^${id} +Office +yes +\\d+ +mon-fri +9-18 +5 min +Europe/Rome +all$`, 'm'))
    expect(out).toMatch(
      new RegExp(`^${night.id} +- +no +\\d+ +mon,sat,sun +22-6 over midnight +1 min +- +acme/main$`, 'm'),
    )
    expect((await shop('rules', 'update', id, '--hours', '8-20', '--days', '', '--zone', '')).out).toBe(
      `rule ${id} "Office": every day, 8-20, every 5 min, for all\n`,
    )
    expect((await shop('rules', 'disable', id)).out).toBe(`rule ${id} is disabled\n`)
    expect((await world.json(['rules', 'list'])).rules.map((each: { enabled: boolean }) => each.enabled)).toEqual([
      false,
      false,
    ])
    expect((await shop('rules', 'delete', id, String(night.id))).code).toBe(0)
    expect(await shop('rules', 'enable', id)).toEqual({
      code: 1,
      out: '',
      err: `Error: there is no rule ${id}; there are none\n`,
    })
  })

  it('a rule in wrong words is exit 2, one for nobody exit 1', async () => {
    for (const flags of [
      ['--days', 'mo-fr'],
      ['--days', 'someday'],
      ['--hours', '9'],
      ['--hours', '9-25'],
      ['--interval', 'often'],
    ]) {
      const { code, err } = await shop('rules', 'add', ...flags)
      expect([flags, code]).toEqual([flags, 2])
      expect(err).toContain(flags[0])
    }
    expect(await shop('rules', 'add', '--tenant', 'nobody')).toMatchObject({
      code: 1,
      err: "Error: Tenant 'nobody' not found\n",
    })
  })

  it('volumes are made of flags and files, and secrets come back masked', async () => {
    const secret = join(world.dir, 'secret.txt')
    writeFileSync(secret, 'hunter2\n')
    const s3 = [
      'volumes',
      'add',
      'files',
      '--backend',
      's3',
      '--set',
      'bucket=acme-files',
      '--set',
      'access_key_id=AKIA',
    ]
    expect((await shop('acme', ...s3, '--secret-file', `secret_access_key=${secret}`)).out).toBe(
      'volume files is there for acme\n',
    )
    const config = { base_url: 'https://files.example.com', auth: { method: 'bearer', token: 'hunter2' } }
    const stdin = await world.run(['volumes', 'add', 'docs', '--backend', 'http', '--config-file', '-'], {
      stdin: JSON.stringify(config),
    })
    expect(stdin).toMatchObject({ code: 0, err: '' })
    const { out } = await shop('volumes', 'list')
    expect(out).toMatch(/^files +s3 +acme +acme-files +\d{4}-\d\d-\d\d$/m)
    expect(out).toMatch(/^docs +http +all tenants +https:\/\/files\.example\.com +/m)
    const shown = await shop('volumes', 'show', 'docs')
    expect(shown.out).toMatch(/^auth\.method +bearer\nauth\.token +\*\*\*$/m)
    expect(await world.json(['acme', 'volumes', 'show', 'files'])).toMatchObject({
      config: { bucket: 'acme-files', secret_access_key: '***' },
    })
    expect(await shop('acme', 'volumes', 'delete', 'docs', '-y')).toMatchObject({ code: 1 })
    expect((await shop('acme', 'volumes', 'delete', 'files')).err).toBe('Error: this needs a yes: add --yes\n')
    expect((await shop('acme', 'volumes', 'delete', 'files', '-y')).out).toBe('volume files is deleted\n')
    expect((await shop('volumes', 'delete', 'docs', '-y')).code).toBe(0)
    const log = await shop('command-log', 'list', '--endpoint', 'addVolume', '--json')
    expect(log.out).toContain('acme-files')
    expect(log.out).not.toContain('hunter2')
  })

  it('a volume is asked for step by step where a person sits, secrets unseen', async () => {
    const { code, out, err } = await world.run(['acme', 'volumes', 'add'], {
      typed: [
        [/Name of the volume/, 'asked\r'],
        [/What is the store/, '\r'],
        [/bucket/, 'my-bucket\r'],
        [/region/, '\r'],
        [/access_key_id/, 'AKIA\r'],
        [/secret_access_key/, 'hunter2\r'],
        [/session_token/, '\r'],
      ],
    })
    expect([code, out]).toEqual([0, 'volume asked is there for acme\n'])
    expect(err).not.toContain('hunter2')
    expect(await world.json(['acme', 'volumes', 'show', 'asked'])).toMatchObject({
      backend: 's3',
      config: { bucket: 'my-bucket', access_key_id: '***', secret_access_key: '***' },
    })
    const broken = await world.run(['acme', 'volumes', 'delete', 'asked'], {
      typed: [[/Delete volume asked/, '\u0003']],
    })
    expect(broken).toMatchObject({ code: 130, out: '' })
    const kept = await world.run(['acme', 'volumes', 'delete', 'asked'], { typed: [[/Delete volume asked/, 'n']] })
    expect(kept).toMatchObject({ code: 1, err: expect.stringContaining('Error: nothing was deleted') })
    expect(
      (await world.run(['acme', 'volumes', 'delete', 'asked'], { typed: [[/Delete volume asked/, 'y']] })).code,
    ).toBe(0)
  })

  it('a volume that cannot be is refused, and its secrets are not repeated', async () => {
    const add = (...flags: string[]) => shop('volumes', 'add', 'x', ...flags)
    expect(await add('--backend', 's3')).toMatchObject({ code: 2, err: expect.stringContaining('--set key=value') })
    expect(await add('--set', 'a=b')).toMatchObject({ code: 2, err: 'Error: --backend is missing\n' })
    expect(await add('--backend', 's3', '--set', 'bucket=b', '--set', 'secrt=hunter2')).toMatchObject({
      code: 1,
      err: expect.stringContaining('unknown key secrt'),
    })
    const broken = join(world.dir, 'broken.json')
    writeFileSync(broken, '{"token": "hunter2"')
    const forgotten = await add('--backend', 's3', '--set', 'hunter2')
    const unparsed = await add('--backend', 's3', '--config-file', broken)
    expect([forgotten.code, unparsed.code]).toEqual([2, 2])
    expect(forgotten.err + unparsed.err).not.toContain('hunter2')
  })

  it('the command log tells what was changed, the newest first, and can be exported', async () => {
    const { out } = await shop('command-log', 'list', '--limit', '3')
    expect(out.split('\n')[0]).toMatch(/^WHEN +COMMAND +TENANT +ANSWER +WITH$/)
    expect(out.trimEnd().split('\n')).toHaveLength(4)
    const { commands } = await world.json(['command-log', 'list', '--tenant', 'acme', '--since', '1h'])
    expect(commands.map((each: { tenant_id: string }) => each.tenant_id).every((id: string) => id === 'acme')).toBe(
      true,
    )
    expect(commands[0].id).toBeGreaterThan(commands.at(-1).id)
    expect((await world.json(['command-log', 'list', '--until', '1h'])).commands).toEqual([])
    const exported = JSON.parse((await shop('command-log', 'export')).out).commands
    expect(exported[0]).toMatchObject({ endpoint: 'addTenant', payload: { id: 'acme' } })
  })
})
