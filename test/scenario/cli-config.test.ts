/** `config`, `config check` and `info`: what an instance is set to and where its things lie, without a secret. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SETTING_KEYS } from '../../src/config-schema.js'
import { type CliWorld, openCliWorld } from '../support/cli-world.js'

let world: CliWorld
const ini = (text: string) => writeFileSync(join(world.dir, 'config.ini'), text)
beforeAll(async () => {
  world = await openCliWorld()
  await world.start()
  await world.stop()
})
afterAll(() => world.close())

interface Setting {
  readonly setting: string
  readonly value: string | null
  readonly source: string
  readonly from: string
  readonly secret: boolean
}
const settings = async (env: Record<string, string> = {}, ...flags: string[]): Promise<Setting[]> => {
  const { out } = await world.run(['config', '--json', ...flags], { env })
  return JSON.parse(out).settings
}

describe('config', () => {
  it('has every setting once, and says of each where it comes from', async () => {
    ini('[delivery]\nmax_retries = 7\n[logging]\nlevel = error\n[client]\nspool_dir = spool-here\n')
    const all = await settings({ LOG_LEVEL: 'debug', GMP_ATTACHMENT_MAX_MB: '20', GMP_UI: 'off' })
    expect(all).toHaveLength(SETTING_KEYS.length)
    expect(new Set(all.map(each => each.setting)).size).toBe(all.length)
    const of = (name: string) => all.find(each => each.setting === name)
    expect(of('[delivery] max_retries')).toMatchObject({
      value: '7',
      source: 'config.ini',
      from: 'config.ini [delivery] max_retries',
    })
    expect(of('[logging] level')).toMatchObject({ value: 'debug', source: 'environment', from: 'LOG_LEVEL' })
    expect(of('[client] attachment_max_mb')).toMatchObject({ value: '20', from: 'GMP_ATTACHMENT_MAX_MB' })
    expect(of('[server] ui')).toMatchObject({ value: 'false', from: 'GMP_UI' })
    expect(of('[delivery] retry_delays')).toMatchObject({ value: '60,300,900,3600,7200', source: 'default' })
    // Relative to the folder, as it is in force.
    expect(of('[client] spool_dir')).toMatchObject({ value: join(world.dir, 'spool-here') })
  })

  it('shows of secrets only that they are set', async () => {
    const file = join(world.dir, 'sync-token')
    writeFileSync(file, 'hunter2-file\n')
    ini(
      '[client]\nclient_sync_password = hunter2-ini\n[volumes]\nvolume.files.backend = s3\nvolume.files.config = {"bucket": "b", "access_key_id": "k", "secret_access_key": "hunter2-volume"}\n',
    )
    const env = {
      GMP_CLIENT_SYNC_TOKEN_FILE: file,
      GMP_DB_PATH: 'postgresql://mail:hunter2-db@127.0.0.1:1/mail?sslpassword=hunter2-url',
      GMP_METRICS_TOKEN: 'hunter2-metrics',
    }
    const text = await world.run(['config'], { env })
    const json = await world.run(['config', '--json'], { env })
    expect(text.out).toMatch(/^\[server\] metrics_token +set +GMP_METRICS_TOKEN$/m)
    expect(text.out).toMatch(/^\[client\] client_sync_token +set +GMP_CLIENT_SYNC_TOKEN_FILE$/m)
    expect(text.out).toMatch(/^\[client\] client_sync_password +set +config\.ini$/m)
    expect(text.out).toMatch(/^\[storage\] db_path +postgresql:\/\/mail:\*\*\*@127\.0\.0\.1:1\/mail +GMP_DB_PATH$/m)
    expect(text.out).toMatch(/^\[volumes\] volume\.files\.config +set +config\.ini$/m)
    expect(text.out + json.out).not.toContain('hunter2')
    expect(JSON.parse(json.out).settings.filter((each: Setting) => each.value === 'set' && !each.secret)).toEqual([])
  })

  it('--only-set leaves out what has its default', async () => {
    ini('[delivery]\nmax_retries = 7\n')
    const shown = await settings({}, '--only-set')
    expect(shown.every(each => each.source !== 'default')).toBe(true)
    expect(shown.map(each => each.setting)).toContain('[delivery] max_retries')
    expect(shown.map(each => each.setting)).not.toContain('[delivery] lease_seconds')
  })

  it('says what holds while a setting is not set, and that a running process has its own', async () => {
    ini('')
    const stopped = await world.run(['config'])
    expect(stopped.out).toMatch(/^\[delivery\] helo_name +not set: the host's name +default$/m)
    expect(stopped.out).not.toContain('what stood there when it began')
    await world.start()
    const running = await world.run(['config'])
    expect(running.out).toContain('shop (pid')
    expect(running.out.startsWith(stopped.out)).toBe(true)
    await world.stop()
  })

  it('names variables that have no effect', async () => {
    ini('')
    const { out } = await world.run(['config', '--only-set'], { env: { GMP_PROT: '1' } })
    expect(out).toContain('Warning: GMP_PROT is not known and has no effect; did you mean GMP_PORT?\n')
  })
})

describe('config check', () => {
  it('is content with what a start would take, volumes too', async () => {
    ini('[volumes]\nvolume.files.backend = s3\nvolume.files.config = {"bucket": "b"}\n')
    expect(await world.run(['config', 'check'])).toEqual({
      code: 0,
      out: 'the configuration of shop can be used, 1 volume in config.ini\n',
      err: '',
    })
    expect(await world.json(['config', 'check'])).toEqual({ ok: true, volumes: 1, warnings: [] })
  })

  it.each([
    ['[delivery]\nmax_retrys = 2\n', 'config.ini [delivery] max_retrys is not a known key; did you mean max_retries?'],
    [
      '[server]\nport = http\n',
      'config.ini [server] port is "http": it should be a whole number from 0 to 65535 (not one that browsers refuse, as 6000)',
    ],
    [
      '[volumes]\nvolume.files.backend = s3\nvolume.files.config = {"bucket": "b", "secrt": "hunter2"}\n',
      'config.ini [volumes] volume.files.config cannot be used: unknown key secrt',
    ],
  ])('%j is exit 1 and one line', async (text, line) => {
    ini(text)
    const { code, out, err } = await world.run(['config', 'check'])
    expect([code, out]).toEqual([1, ''])
    expect(err.startsWith(`Error: ${line}`)).toBe(true)
    expect(err).toMatch(/^[^\n]+\n$/)
    expect(err).not.toContain('hunter2')
  })
})

describe('info', () => {
  it('says where its files lie, and no more than are there', async () => {
    ini('')
    writeFileSync(join(world.dir, 'log'), '')
    const { files } = await world.json(['info'])
    expect(files).toEqual({
      config_ini: join(world.dir, 'config.ini'),
      key: null,
      token: null,
      log: join(world.dir, 'log'),
    })
    rmSync(join(world.dir, 'log'))
    expect((await world.run(['info'])).out).toMatch(/^config\.ini +\S+\/shop\/config\.ini\nkey +-\ntoken +-\nlog +-$/m)
  })

  it('says when the database needs to be released, running and stopped', async () => {
    expect((await world.run(['info'])).out).not.toContain('sending')
    const service = await world.start()
    await service.service.db!.write([
      { sql: "insert into meta (key, value) values ('release_needed', 'it was restored')", params: [] },
    ])
    const told = /^sending +no: it was restored\. Look at what waits, then start once with --release$/m
    expect((await world.run(['info'])).out).toMatch(told)
    await world.stop()
    expect((await world.run(['info'])).out).toMatch(told)
    expect((await world.json(['info'])).release_needed).toBe('it was restored')
  })
})
