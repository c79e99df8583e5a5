/** `mail-proxy shop rotate-key`: on a service that runs, on one that is stopped, and the backups around it. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { loadKeys } from '../../src/lib/key-file.js'
import { keyCheckValue, keyIdOf } from '../../src/lib/seal.js'
import { openCliInstance } from '../support/cli-instance.js'
import { openScene } from '../support/scene.js'
import { TEST_KEY } from '../support/secrets.js'
import { startTestService } from '../support/service.js'
import { startSink } from '../support/smtp-sink.js'

const FILE = { GMP_ENCRYPTION_KEY: '' }
const BOTH = `${TEST_KEY},${Buffer.alloc(32, 8).toString('base64')}`

it('changes the key of a service at work, again only once the old key is out, and mail goes on', async () => {
  const sink = await startSink({ auth: ['PLAIN'], users: { shop: 'smtp-pass' } })
  const shop = await openCliInstance(FILE)
  try {
    await shop.service!.account(sink, { user: 'shop', password: 'smtp-pass' })
    const [old] = loadKeys(shop.folder)!.map(keyIdOf)
    expect((await shop.line('shop rotate-key --status')).out).toBe(`seals with   ${old}\nkeys         ${old}\n`)

    const first = await shop.line('shop rotate-key')
    const [, made] = loadKeys(shop.folder)!.map(keyIdOf)
    expect(first).toEqual({
      code: 0,
      err: '',
      out: `Key ${made} seals now: 1 value sealed anew with it
Nothing in this database needs the key ${old} any more. Take it out:
  mail-proxy shop rotate-key --retire
Backups from before need it: keep it where they are, unless they have it within
`,
    })
    await shop.service!.send({ id: 'm1' })
    await shop.service!.until('it is sent', () => sink.messages.length === 1)

    const again = await shop.line('shop rotate-key --json')
    expect(JSON.parse(again.out)).toMatchObject({
      sealing_key: made,
      newest_key: made,
      known_keys: [old, made],
      rotation: { from_key: old, to_key: made, resealed: 1, unreadable: 0, at: null },
      processes: [],
      key_file: join(shop.folder, 'key'),
    })
    expect(loadKeys(shop.folder)).toHaveLength(2)
    const finishedAt = JSON.parse(again.out).rotation.finished_at
    expect(JSON.parse(again.out)).toMatchObject({ changed: false })
    expect((await shop.line('shop rotate-key')).out).toBe(
      `Nothing was changed: ${made} has sealed since ${finishedAt}
Nothing in this database needs the key ${old} any more. Take it out, before another change too:
  mail-proxy shop rotate-key --retire
Backups from before need it: keep it where they are, unless they have it within
`,
    )

    const retired = await shop.line('shop rotate-key --retire --json')
    const aside = join(shop.folder, `key.retired-${old}`)
    expect(JSON.parse(retired.out)).toEqual({
      sealing_key: made,
      key_file: join(shop.folder, 'key'),
      set_aside: [aside],
    })
    expect(existsSync(aside)).toBe(true)
    expect(loadKeys(shop.folder)!.map(keyIdOf)).toEqual([made])
    const second = JSON.parse((await shop.line('shop rotate-key --json')).out)
    expect(second).toMatchObject({ changed: true, rotation: { from_key: made } })
    expect(second.sealing_key).not.toBe(made)
    const log = await shop.line('shop command-log --json')
    for (const key of loadKeys(shop.folder)!) {
      expect(`${log.out} ${shop.service!.logs.join(' ')}`).not.toContain(key.toString('base64'))
    }
  } finally {
    await sink.close()
  }
})

it('changes it while the instance is stopped, and --retire waits for the end', async () => {
  const shop = await openCliInstance(FILE)
  await shop.stop()
  expect((await shop.line('shop rotate-key --status --retire')).code).toBe(2)
  const done = JSON.parse((await shop.line('shop rotate-key --json')).out)
  expect(done.rotation).toMatchObject({ to_key: done.sealing_key, unreadable: 0 })
  expect((await shop.line('shop rotate-key --retire')).out).toMatch(
    /holds the key [0-9a-f]{8} alone\n {2}the old one is in/,
  )
  expect((await shop.line('shop rotate-key --retire')).out).toMatch(/holds the key [0-9a-f]{8} and no other\n/)
})

it('tells how to give the new key where the configuration gives the keys', async () => {
  const shop = await openCliInstance()
  const refused = await shop.line('shop rotate-key')
  expect(refused).toMatchObject({ code: 1, out: '' })
  expect(refused.err).toMatch(
    /^Error: there is no newer key than [0-9a-f]{8}, which seals already: put it last, behind the old one, into GMP_ENCRYPTION_KEY/,
  )
  expect((await shop.line('shop rotate-key --retire')).err).toMatch(
    /^Error: the configuration gives the keys: leave only/,
  )
  expect(existsSync(join(shop.folder, 'key'))).toBe(false)
})

it('a second change is refused wherever it would change nothing, and the key that seals is named', async () => {
  const [a, b, c] = [Buffer.from(TEST_KEY, 'base64'), Buffer.alloc(32, 8), Buffer.alloc(32, 9)]
  const given = (...keys: Buffer[]) => ({ GMP_ENCRYPTION_KEY: keys.map(key => key.toString('base64')).join(',') })
  const shop = await openCliInstance()
  await shop.stop()
  const rotateWith = (...keys: Buffer[]) => shop.line('shop rotate-key', given(...keys))
  expect(await rotateWith(a, b)).toMatchObject({
    code: 0,
    out: expect.stringContaining(`leave ${keyIdOf(b)} alone in GMP_ENCRYPTION_KEY of every process`),
  })
  const noNewer = `Error: there is no newer key than ${keyIdOf(b)}, which seals already`
  expect(await rotateWith(c, b)).toMatchObject({ code: 1, out: '', err: expect.stringContaining(noNewer) })
  expect(await rotateWith(b)).toMatchObject({ code: 1, out: '', err: expect.stringContaining(noNewer) })
  expect(await rotateWith(a, b)).toMatchObject({
    code: 0,
    out: expect.stringContaining(`Nothing was changed: ${keyIdOf(b)} has sealed since`),
  })
  expect(await rotateWith(b, c)).toMatchObject({ code: 0, out: expect.stringContaining(`Key ${keyIdOf(c)} seals now`) })
})

it('is refused when the service does not have the key that this command has', async () => {
  const shop = await openCliInstance()
  const without = new RegExp(`^Error: the service does not have the key ${keyIdOf(Buffer.alloc(32, 8))} .*restart it`)
  const early = await shop.line('shop rotate-key', { GMP_ENCRYPTION_KEY: BOTH })
  expect(early).toMatchObject({ code: 1, out: '', err: expect.stringMatching(without) })
  // A key file that the service does not read: it has its key from the configuration.
  writeFileSync(join(shop.folder, 'key'), `${TEST_KEY}\n`)
  const unread = await shop.line('shop rotate-key', FILE)
  expect(unread).toMatchObject({ code: 1, out: '', err: expect.stringContaining('reads another key file') })
})

it('a backup from before brings its own key along, and one from within the change both', async () => {
  const shop = await openCliInstance(FILE)
  await shop.service!.account({ port: 9 }, { user: 'shop', password: 'smtp-pass' })
  const before = join(shop.folder, 'before.backup')
  const after = join(shop.folder, 'after.backup')
  expect((await shop.line(`shop backup ${before}`)).code).toBe(0)
  const [old] = loadKeys(shop.folder)!.map(keyIdOf)
  await shop.line('shop rotate-key')
  expect((await shop.line(`shop backup ${after}`)).code).toBe(0)
  const [, present] = loadKeys(shop.folder)!.map(keyIdOf)
  await shop.line('shop rotate-key --retire')
  /** As an instance of its own, whose folder has the present key already. */
  const restore = async (file: string, instance: string) => {
    const folder = join(shop.folder, '..', instance)
    mkdirSync(folder)
    copyFileSync(join(shop.folder, 'key'), join(folder, 'key'))
    const { out, err } = await shop.line(`${instance} restore ${file} --json`)
    expect(err).toBe('')
    return { ...JSON.parse(out), keys: loadKeys(folder)!.map(keyIdOf) }
  }
  // The key that is there opens it.
  expect(await restore(after, 'later')).toMatchObject({ has_key: true, kept_aside: [], keys: [present] })
  // It does not open this one: the backup's takes its place.
  const older = await restore(before, 'earlier')
  expect(older).toMatchObject({
    has_key: true,
    keys: [old],
    kept_aside: [expect.stringContaining('key.before-restore-')],
  })
  for (const instance of ['later', 'earlier']) {
    const shown = JSON.parse((await shop.line(`${instance} rotate-key --status --json`)).out)
    expect(shown).toMatchObject({ sealing_key: instance === 'later' ? present : old })
  }
})

it('a backup is refused when the key was changed since its key file was read', async () => {
  const shop = await openCliInstance(FILE)
  await shop.stop()
  const file = join(shop.folder, 'shop.backup')
  const key = join(shop.folder, 'key')
  const old = readFileSync(key)
  expect((await shop.line('shop rotate-key')).code).toBe(0)
  const both = readFileSync(key)
  writeFileSync(key, old)
  expect(await shop.line(`shop backup ${file}`)).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining('The key was changed meanwhile: try again'),
  })
  expect(existsSync(file)).toBe(false)
  writeFileSync(key, both)
  expect((await shop.line(`shop backup ${file}`)).code).toBe(0)
})

it('a process that does not have the key that seals is not ready', async () => {
  const shop = await openCliInstance()
  const ready = () => shop.service!.call('GET', '/ready', undefined, '')
  expect((await ready()).status).toBe(200)
  const other = keyCheckValue(Buffer.alloc(32, 8))
  const { db } = shop.service!.service
  await db!.write([{ sql: "update meta set value = $1 where key = 'key_check'", params: [other] }])
  expect(await ready()).toMatchObject({
    status: 503,
    body: { error: 'the key that seals secrets in this database is not among those of this process' },
  })
})

it('a second instance that was started with both keys hears of it', async () => {
  const scene = await openScene({ dialect: 'postgres', account: { user: 'u', password: 'smtp-pass' } })
  const start = (key: string) =>
    startTestService({ databaseUrl: scene.service.databaseUrl, env: { GMP_ENCRYPTION_KEY: key } })
  const other = await start(BOTH)
  try {
    const refused = await other.call('POST', '/instance/sealing-key/rotate')
    expect(refused.body).toMatchObject({ code: 'command_failed', details: { without: [expect.any(String)] } })
    await scene.service.stop()
    const third = await start(BOTH)
    try {
      const { body } = await other.call('POST', '/instance/sealing-key/rotate')
      expect(body.rotation).toMatchObject({ resealed: expect.any(Number), unreadable: 0 })
      expect(body.processes).toHaveLength(2)
      // Written by a process that has not looked since.
      expect((await third.call('POST', '/account', { id: 'main', password: 'another-pass' })).status).toBe(200)
      const rows = await other.service.db!.read({ sql: 'select password from accounts', params: [] })
      expect(rows.map(row => String(row.password).slice(4, 12))).toEqual([body.sealing_key])
    } finally {
      await third.stop()
    }
  } finally {
    await other.stop()
  }
})
