/** The change of the sealing key: every stored secret, every moment, other processes that have the new key or do not. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { getAccount, saveAccount } from '../../src/accounts/store.js'
import { deriveLinkKey } from '../../src/attachments/offload/link.js'
import type { Config } from '../../src/config.js'
import { type Db, SealingKeyChanged } from '../../src/db/db.js'
import { keyFence } from '../../src/db/key-fence.js'
import { openPostgres } from '../../src/db/postgres.js'
import { changeInstance } from '../../src/http/instance.js'
import { systemClock } from '../../src/lib/clock.js'
import { ConfigError } from '../../src/lib/errors.js'
import { createSealer, keyCheckValue, keyIdOf } from '../../src/lib/seal.js'
import type { Sealer } from '../../src/lib/sealer.js'
import { attachmentAuthContext, sealAttachmentAuth } from '../../src/messages/attachment-auth.js'
import type { Message } from '../../src/messages/message.js'
import { accessTokenContext, createTokenStore } from '../../src/oauth/token-store.js'
import { claimOffload, findOffload, keepOffload } from '../../src/offloads/store.js'
import { enqueue } from '../../src/queue/enqueue.js'
import { createKeyring, type Keyring } from '../../src/sealing/keyring.js'
import { PLACES } from '../../src/sealing/places.js'
import { keyState, type RotationDeps, rotate } from '../../src/sealing/rotate.js'
import { createKeyTeller } from '../../src/sealing/teller.js'
import { openKeys } from '../../src/service/key.js'
import { createTenant, ensureDefaultTenant, getTenant } from '../../src/tenants/store.js'
import { TABLES } from '../../src/transfer/tables.js'
import { transfer } from '../../src/transfer/transfer.js'
import { findVolume, saveVolume } from '../../src/volumes/store.js'
import { plainMessage } from '../support/plain-message.js'
import { copyPostgresDatabase, createPostgresDatabase } from '../support/postgres-server.js'
import { silentLog } from '../support/silent-log.js'
import { dialects, openTempDb, type TempDb } from '../support/temp-db.js'

const META = "key in ('key_check', 'key_rotation', 'link_keys', 'instance')"
const NOW = 1_700_000_000_000
const SECRETS = [
  'smtp-pass',
  'imap-pass',
  'client-secret',
  'bearer-tok',
  'bounce-pass',
  'volume-sec',
  'file-auth',
  'at-1',
]
const STORE = {
  digest: 'd1',
  tenantId: 'acme',
  backend: 's3',
  config: { secret_access_key: 'offload-sec' },
  trusted: true,
} as const
const OLD = Buffer.alloc(32, 1)
const NEW = Buffer.alloc(32, 2)
const FILE = { filename: 'f.bin', mimeType: 'application/octet-stream', md5: 'm', sizeBytes: 1 }
const MAIN = { tenantId: 'acme', id: 'main' }

describe.each(dialects)('the change of the sealing key on %s', dialect => {
  let temp: TempDb
  let ring: Keyring
  let given: Buffer[]
  beforeAll(async () => {
    temp = await openTempDb(dialect)
  })
  afterAll(() => temp.drop())
  beforeEach(async () => {
    await temp.db.write(
      [...TABLES, { name: 'key_holders' }]
        .reverse()
        .map(({ name }) => ({ sql: `delete from ${name} where ${name === 'meta' ? META : '1 = 1'}`, params: [] })),
    )
    await ensureDefaultTenant(temp.db, NOW)
    given = [OLD, NEW]
    await temp.db.write([
      { sql: "insert into meta (key, value) values ('key_check', $1)", params: [keyCheckValue(OLD)] },
    ])
    ring = await openRing(temp.db, () => given)
  })

  const deps = (db: Db = temp.db, own = ring): RotationDeps => ({
    db,
    clock: systemClock,
    ring: own,
    steadyNow: () => NOW,
    tell: null,
  })
  const toTheEnd = async (given = deps()) => {
    for (;;) {
      const state = await rotate(given, 0)
      if (state.rotation!.finishedAt !== null) return state
    }
  }

  it('seals anew all there is, in every place, and the new key alone opens it', async () => {
    await fill(temp.db, ring)
    const before = await sealedIn(temp.db)
    // Every place is filled, and there is none but these.
    const places = PLACES.map(({ table, column }) => `${table}.${column}`)
    expect(new Set(before.map(({ place }) => place))).toEqual(new Set(places))
    expect(new Set(before.map(({ keyId }) => keyId))).toEqual(new Set([keyIdOf(OLD)]))
    const values = await opened(temp.db, ring)

    const state = await toTheEnd()
    expect(state).toMatchObject({ sealing: keyIdOf(NEW), place: null, rotation: { unreadable: 0 } })
    const after = await sealedIn(temp.db)
    expect(new Set(after.map(({ keyId }) => keyId))).toEqual(new Set([keyIdOf(NEW)]))
    // The keys of old links came in with the change.
    expect(after).toHaveLength(before.length + 1)
    expect(state.rotation!.resealed).toBe(before.length)
    const alone = await openRing(temp.db, () => [NEW])
    expect(await opened(temp.db, alone)).toEqual(values)
    const text = await everything(temp.db)
    expect(SECRETS.filter(secret => text.includes(secret))).toEqual([])
  })

  it('broken off before or after any of its writes it comes to the same end', async () => {
    await fill(temp.db, ring)
    const values = await opened(temp.db, ring)
    let breaks = 0
    for (; ; breaks += 1) {
      const isWritten = breaks % 2 === 1
      const db: Db = {
        ...temp.db,
        async write(unit) {
          if (isWritten) await temp.db.write(unit)
          throw new Error('killed')
        },
      }
      const own = await openRing(temp.db, () => given)
      const end = await toTheEnd(deps(db, own)).catch((error: Error) => error.message)
      // At every moment what is stored opens with the two keys.
      if (isWritten) expect(await opened(temp.db, await openRing(temp.db, () => given))).toEqual(values)
      if (end !== 'killed') break
    }
    expect(breaks).toBeGreaterThan(2 * PLACES.length)
    await expectAllNew()
  })

  it('two at once do the work of one', async () => {
    await fill(temp.db, ring)
    const before = await sealedIn(temp.db)
    const other = await openRing(temp.db, () => given)
    const [one, two] = await Promise.all([toTheEnd(), toTheEnd(deps(temp.db, other))])
    expect([one!.rotation!.resealed, two!.rotation!.resealed]).toEqual([before.length, before.length])
    await expectAllNew()
  })

  it('one that has looked at the keys just before another began seals nothing with the old one', async () => {
    await fill(temp.db, ring)
    const late = await openRing(temp.db, () => given)
    let isBegun = false
    const db: Db = {
      ...temp.db,
      async read(statement) {
        if (!isBegun && statement.sql.includes('key_rotation')) {
          isBegun = true
          await rotate(deps(), 0)
        }
        return temp.db.read(statement)
      },
    }
    // In one go: it does not look again.
    await rotate(deps(db, late), 60_000)
    expect(isBegun).toBe(true)
    await expectAllNew()
  })

  it('of two to different keys the second waits for the end of the first', async () => {
    await fill(temp.db, ring)
    const third = Buffer.alloc(32, 3)
    const other = await openRing(temp.db, () => [OLD, NEW, third])
    const started = await rotate(deps(), 0)
    expect(started.rotation).toMatchObject({ toId: keyIdOf(NEW), finishedAt: null })
    const middle = await toTheEnd(deps(temp.db, other))
    expect(middle.rotation).toMatchObject({ toId: keyIdOf(NEW), unreadable: 0 })
    const end = await toTheEnd(deps(temp.db, other))
    expect(end.rotation).toMatchObject({ fromId: keyIdOf(NEW), toId: keyIdOf(third), unreadable: 0 })
    const found = await sealedIn(temp.db)
    expect(new Set(found.map(({ keyId }) => keyId))).toEqual(new Set([keyIdOf(third)]))
  })

  it('nothing is committed under the old key once it is replaced, by whoever has not heard of it', async () => {
    await fill(temp.db, ring)
    const late = await openRing(temp.db, () => given)
    expect(late.keyId).toBe(keyIdOf(OLD))
    await expect(temp.db.write([keyFence(late.keyCheck)])).resolves.toBeDefined()
    await toTheEnd()
    await expect(temp.db.write([keyFence(late.keyCheck)])).rejects.toThrow(SealingKeyChanged)
    await fill(temp.db, late, 'later')
    await expectAllNew()
    expect(late.keyId).toBe(keyIdOf(NEW))
    const account = await getAccount(temp.db, await openRing(temp.db, () => [NEW]), 'later', 'main')
    expect(account?.password).toBe('smtp-pass')
  })

  it('a change that began before the key was replaced, and is written after all was sealed anew, is sealed anew too', async () => {
    await fill(temp.db, ring)
    const late = await openRing(temp.db, () => given)
    let isRotated = false
    const db: Db = {
      ...temp.db,
      async write(unit) {
        if (!isRotated) {
          isRotated = true
          await toTheEnd()
        }
        return temp.db.write(unit)
      },
    }
    // The IMAP password is carried over as it was read, sealed with the old key.
    await saveAccount(db, late, MAIN, { limitPerHour: 7 }, { now: NOW, trusted: true })
    expect(isRotated).toBe(true)
    await expectAllNew()
    expect(await getAccount(temp.db, late, 'acme', 'main')).toMatchObject({ limitPerHour: 7, password: 'smtp-pass' })
  })

  it('a refresh token that the provider replaces meanwhile is kept', async () => {
    const { key } = await fill(temp.db, ring)
    const place = { key, context: accessTokenContext('acme', 'main') }
    const late = await openRing(temp.db, () => given)
    const store = createTokenStore(temp.db, late)
    const claimed = await store.claim(place, NOW, NOW + 60_000)
    if (typeof claimed === 'string') throw new Error(claimed)
    await toTheEnd()
    expect(await store.put(place, claimed.version, { ...TOKEN, refreshToken: 'refresh-2' })).toBe(true)
    await expectAllNew()
    const alone = createTokenStore(temp.db, await openRing(temp.db, () => [NEW]))
    expect((await alone.read(place))?.token?.refreshToken).toBe('refresh-2')
  })

  it('a message is accepted with its credentials sealed anew', async () => {
    const { key } = await fill(temp.db, ring)
    const late = await openRing(temp.db, () => given)
    await toTheEnd()
    const stale = message(key, late, 'm2')
    await expect(enqueue(temp.db, [stale], { now: NOW })).rejects.toThrow(SealingKeyChanged)
    await late.renew()
    const { answers } = await enqueue(temp.db, [message(key, late, 'm2')], { now: NOW })
    expect(answers).toEqual(['queued'])
    await expectAllNew()
  })

  it.each(['at its begin', 'midway', 'before its end'])(
    'a copy taken %s opens as it is, and comes to the same end',
    async when => {
      // Its own database: what is copied must be at rest.
      const source = await openTempDb(dialect)
      await ensureDefaultTenant(source.db, NOW)
      const init = "insert into meta (key, value) values ('key_check', $1)"
      await source.db.write([{ sql: init, params: [keyCheckValue(OLD)] }])
      const own = await openRing(source.db, () => given)
      await fill(source.db, own)
      const values = await opened(source.db, own)
      const steps = { 'at its begin': 1, midway: PLACES.length / 2, 'before its end': PLACES.length }[when]!
      for (let step = 0; step < steps; step += 1) await rotate(deps(source.db, own), 0)
      const keyIds = new Set((await sealedIn(source.db)).map(({ keyId }) => keyId))
      if (when === 'midway') expect(keyIds).toEqual(new Set([keyIdOf(OLD), keyIdOf(NEW)]))

      const copy = await copyAndDrop(source)
      onTestFinished(() => copy.close())
      expect(await opened(copy, await openRing(copy, () => given))).toEqual(values)
      const startWith = (...keys: Buffer[]) => openKeys(copy, configOf(keys), silentLog)
      await expect(startWith(NEW)).rejects.toThrow(/is not finished, and the key [0-9a-f]{8} is missing/)
      await startWith(OLD, NEW)
      expect((await toTheEnd(deps(copy, await openRing(copy, () => given)))).rotation).toMatchObject({ unreadable: 0 })
      expect(await opened(copy, await openRing(copy, () => [NEW]))).toEqual(values)
      expect(new Set((await sealedIn(copy)).map(({ keyId }) => keyId))).toEqual(new Set([keyIdOf(NEW)]))
    },
  )

  it('what no key opens stays as it is and is counted', async () => {
    await fill(temp.db, ring)
    const foreign = createSealer(Buffer.alloc(32, 9)).seal('x', 'account:acme/main:password')
    await temp.db.write([{ sql: 'update accounts set password = $1', params: [foreign] }])
    const { rotation } = await toTheEnd()
    expect(rotation!.unreadable).toBe(1)
    expect(await temp.db.read({ sql: 'select password from accounts', params: [] })).toEqual([{ password: foreign }])
  })

  it('there is nothing to change to without a newer key', async () => {
    given = [OLD]
    await expect(rotate(deps(), 0)).rejects.toThrow(/there is no newer key than [0-9a-f]{8}, which seals already/)
    expect((await keyState(deps())).rotation).toBeNull()
  })

  it('after a change another one is refused in words, and repeated is only the same one', async () => {
    const third = Buffer.alloc(32, 3)
    const done = await toTheEnd()
    // The old key beside the new one: whoever asks may not have heard that it has come to its end.
    expect(await rotate(deps(), 0)).toEqual(done)
    for (const wrong of [[third, NEW], [NEW], [third, OLD, NEW]]) {
      given = wrong
      const own = await openRing(temp.db, () => given)
      await expect(rotate(deps(temp.db, own), 0)).rejects.toThrow(
        `there is no newer key than ${keyIdOf(NEW)}, which seals already`,
      )
    }
    expect(await keyState({ ...deps(), ring: await openRing(temp.db, () => [OLD, NEW]) })).toEqual(done)
  })

  it('a key file that is broken is told of in its own words', async () => {
    const broken: RotationDeps = {
      ...deps(),
      ring: createKeyring(temp.db, () => {
        throw new ConfigError('key does not hold a key')
      }),
    }
    for (const asked of [keyState(broken), rotate(broken, 0)]) {
      await expect(asked).rejects.toMatchObject({ code: 'command_failed', message: 'key does not hold a key' })
    }
  })

  it('links that were signed with the old key stay good', async () => {
    await toTheEnd()
    const alone = await openRing(temp.db, () => [NEW])
    expect(alone.linkKeys.current()).toEqual(deriveLinkKey(NEW))
    expect(alone.linkKeys.all()).toContainEqual(deriveLinkKey(OLD))
  })

  it.each([
    ['one process', false],
    ['processes that are started anew', true],
  ])('after 25 changes by %s links of the last 20 keys before are good, and no others', async (_, isNew) => {
    const keys = Array.from({ length: 26 }, (_, n) => (n === 0 ? OLD : Buffer.alloc(32, 100 + n)))
    for (let n = 1; n < keys.length; n += 1) {
      given = keys.slice(n - 1, n + 1)
      if (isNew) ring = await openRing(temp.db, () => given)
      await rotate(deps(), 60_000)
    }
    const alone = await openRing(temp.db, () => [keys.at(-1)!])
    const texts = alone.linkKeys.all().map(key => key.toString('hex'))
    expect(texts).toEqual(
      keys
        .slice(-21)
        .reverse()
        .map(key => deriveLinkKey(key).toString('hex')),
    )
  })

  it('link keys that no key opens are told of once and hold nothing up', async () => {
    await toTheEnd()
    const foreign = createSealer(Buffer.alloc(32, 9)).seal('[]', 'instance:link_keys')
    await temp.db.write([{ sql: "update meta set value = $1 where key = 'link_keys'", params: [foreign] }])
    const told: string[] = []
    const own = createKeyring(
      temp.db,
      () => [NEW],
      error => told.push((error as Error).message),
    )
    await own.refresh()
    await own.refresh()
    expect(own.keyId).toBe(keyIdOf(NEW))
    expect(told).toHaveLength(1)
  })

  it('a process without the old key does not start before the end, and one without the new key never', async () => {
    await fill(temp.db, ring)
    const start = (...keys: Buffer[]) => openKeys(temp.db, configOf(keys), silentLog)
    await expect(start(OLD)).resolves.toBeDefined()
    await expect(start(NEW)).rejects.toThrow(/the encryption key is not the one/)
    await rotate(deps(), 0)
    await expect(start(NEW)).rejects.toThrow(/is not finished, and the key [0-9a-f]{8} is missing/)
    await expect(start(OLD)).rejects.toThrow(/the encryption key is not the one/)
    await toTheEnd()
    await expect(start(NEW)).resolves.toBeDefined()
    await expect(start(OLD)).rejects.toThrow(/the encryption key is not the one/)
  })

  if (dialect === 'postgres') {
    it('is refused while a process lives that does not have the new key, and by name', async () => {
      let known = [OLD]
      const other = await openRing(temp.db, () => known)
      const teller = createKeyTeller({
        db: temp.db,
        clock: systemClock,
        ring: other,
        holder: 'far.example process 7',
        steadyNow: () => NOW,
      })
      await teller.say()
      await expect(rotate(deps(), 0)).rejects.toThrow(
        /not every process has the key [0-9a-f]{8} yet, and nothing was changed. Without it: far.example process 7/,
      )
      expect((await keyState(deps())).sealing).toBe(keyIdOf(OLD))
      known = [OLD, NEW]
      await teller.step()
      expect((await toTheEnd()).holders).toMatchObject([{ keys: [keyIdOf(OLD), keyIdOf(NEW)] }])
      // It learns of the change by itself.
      await teller.step()
      expect(other.keyId).toBe(keyIdOf(NEW))
      await teller.end()
      expect((await keyState(deps())).holders).toEqual([])
    })

    it('a process that cannot read its key file goes on to say what it has', async () => {
      let isBroken = false
      const other = await openRing(temp.db, () => {
        if (isBroken) throw new ConfigError('broken')
        return [OLD]
      })
      let now = NOW
      const clock = { ...systemClock, monotonic: () => now }
      const teller = createKeyTeller({ db: temp.db, clock, ring: other, holder: 'far', steadyNow: () => now })
      await teller.say()
      isBroken = true
      now += 91_000
      await expect(teller.step()).rejects.toThrow('broken')
      await expect(rotate({ ...deps(), steadyNow: () => now }, 0)).rejects.toThrow(/Without it: far \(heard of 0 s ago/)
    })

    it('a process that has not been heard of for 90 s holds nothing up, and cannot come back without the key', async () => {
      const other = await openRing(temp.db, () => [OLD])
      const at = (now: number) =>
        createKeyTeller({ db: temp.db, clock: systemClock, ring: other, holder: 'frozen', steadyNow: () => now })
      await at(NOW - 89_000).say()
      await expect(rotate(deps(), 0)).rejects.toThrow(/Without it: frozen/)
      await temp.db.write([{ sql: 'update key_holders set seen_at = $1', params: [NOW - 91_000] }])
      await toTheEnd()
      await expect(at(NOW).say()).rejects.toThrow(/the key that seals secrets in this database is not among/)
    })
  }

  const configOf = (keys: readonly Buffer[]) =>
    ({ encryptionKeys: keys, instance: { dir: null }, database: { dialect } }) as unknown as Config

  /** On PostgreSQL. Of SQLite a transfer, else all rows in one state, as pg_dump takes them and a restore puts them back. */
  async function copyAndDrop(source: TempDb): Promise<Db> {
    if (dialect === 'postgres') await source.drop()
    const url = await (dialect === 'postgres' ? copyPostgresDatabase(source.url) : createPostgresDatabase())
    const copy = await openPostgres(url, { clock: 'process', poolSize: 2, log: silentLog })
    if (dialect === 'postgres') return copy
    const names = { to: url, sourceName: 'source', targetName: 'target', now: new Date(NOW), progress() {} }
    await transfer(source.db, copy, names)
    await source.drop()
    return copy
  }

  async function expectAllNew(): Promise<void> {
    const found = await sealedIn(temp.db)
    expect(found.length).toBeGreaterThan(10)
    expect(found.filter(({ keyId }) => keyId !== keyIdOf(NEW))).toEqual([])
  }
})

async function openRing(db: Db, load: () => readonly Buffer[]): Promise<Keyring> {
  const ring = createKeyring(db, load)
  await ring.refresh()
  return ring
}

const TOKEN = { accessToken: 'at-1', obtainedAt: 1, expiresAt: 2, refreshToken: null, request: 'r', origin: 'o' }

/** With credentials of attachments that are sealed. */
function message(accountKey: number, sealer: Sealer, id: string, tenantId = 'acme'): Message {
  const auth = { method: 'bearer', token: 'file-auth' }
  const attachments = [1, 2].map(n => ({ filename: `${n}`, fetchMode: 'http_url' as const, storagePath: 'x', auth }))
  const plain = plainMessage({ key: accountKey, id: 'main', tenantId }, { id })
  const content = {
    ...plain.content,
    // A client may write what looks like one.
    subject: '"auth":"ENC:01234567:AAAA"',
    headers: { auth: 'ENC:01234567:AAAA' },
    attachments,
  }
  return { ...plain, content: sealAttachmentAuth(content, tenantId, sealer), sealedWith: sealer.keyCheck }
}

/** Something in every place. */
async function fill(db: Db, sealer: Sealer, tenantId = 'acme'): Promise<{ readonly key: number }> {
  const options = { now: NOW, trusted: true }
  await changeInstance(db, sealer, { bounceImapPassword: 'bounce-pass' }, NOW)
  await createTenant(
    db,
    sealer,
    tenantId,
    {
      clientAuth: { method: 'bearer', token: 'bearer-tok' },
      largeFileConfig: { enabled: true, storage_url: 's3://x', secret_access_key: 'large-sec' },
      signingSecrets: [`whsec_${randomBytes(24).toString('base64')}`],
    } as never,
    options as never,
  )
  const oauth2 = { provider: 'google', clientId: 'app', clientSecret: 'client-secret', refreshToken: 'refresh-1' }
  const saved = await saveAccount(
    db,
    sealer,
    { tenantId, id: 'main' },
    {
      host: 'h',
      user: 'u',
      authMethod: 'oauth2',
      password: 'smtp-pass',
      imapPassword: 'imap-pass',
      oauth2: oauth2 as never,
    },
    options,
  )
  if (!('key' in saved)) throw new Error(JSON.stringify(saved))
  const place = { key: saved.key, context: accessTokenContext(tenantId, 'main') }
  const store = createTokenStore(db, sealer)
  await store.claim(place, NOW, NOW + 60_000)
  await store.put(place, 0, TOKEN)
  const volume = { backend: 's3', config: { secret: 'volume-sec' }, trusted: true, fromConfig: false }
  await saveVolume(db, sealer, { tenantId, accountId: null, name: 'files' }, () => volume as never, { now: NOW })
  const target = { ...STORE, digest: `digest of ${tenantId}`, tenantId }
  const { id } = await claimOffload(db, sealer, target as never, FILE, id => id, NOW)
  await keepOffload(db, id, NOW + 1000)
  await enqueue(db, [message(saved.key, sealer, 'm1', tenantId)], { now: NOW })
  return { key: saved.key }
}

/** Every sealed value of the database, wherever it stands. */
async function sealedIn(db: Db): Promise<{ readonly place: string; readonly keyId: string }[]> {
  const found: { place: string; keyId: string }[] = []
  for (const { name } of TABLES) {
    for (const row of await db.read({ sql: `select * from ${name}`, params: [] })) {
      for (const [column, value] of Object.entries(row)) {
        const texts = [...String(value).matchAll(/(?<!"auth\\":\\)"?ENC:([0-9a-f]{8}):[A-Za-z0-9+/]{20,}/g)]
        for (const [, keyId = ''] of texts) found.push({ place: `${name}.${column}`, keyId })
      }
    }
  }
  return found
}

async function everything(db: Db): Promise<string> {
  const tables = await Promise.all(TABLES.map(({ name }) => db.read({ sql: `select * from ${name}`, params: [] })))
  return JSON.stringify(tables)
}

/** The secrets, open, as the service reads them. */
async function opened(db: Db, sealer: Sealer): Promise<unknown> {
  const [content] = await db.read({ sql: 'select content from contents', params: [] })
  const [instance] = await db.read({ sql: "select value from meta where key = 'instance'", params: [] })
  const [imap] = await db.read({ sql: 'select imap_password, key from accounts', params: [] })
  const [offload] = await db.read({ sql: 'select id from offloads', params: [] })
  const { updatedAt: _, imapPassword: __, ...account } = (await getAccount(db, sealer, 'acme', 'main'))!
  const { attachments } = JSON.parse(content!.content as string) as { attachments: { auth: string }[] }
  const place = { key: Number(imap!.key), context: accessTokenContext('acme', 'main') }
  return {
    account,
    imap: sealer.open(imap!.imap_password as string, 'account:acme/main:imap_password'),
    tenant: await getTenant(db, sealer, 'acme'),
    volume: await findVolume(db, sealer, { tenantId: 'acme', accountId: null, name: 'files' }),
    token: (await createTokenStore(db, sealer).read(place))?.token,
    offload: await findOffload(db, sealer, offload!.id as string),
    bounce: sealer.open(JSON.parse(instance!.value as string).bounceImapPassword, 'instance:bounce_imap_password'),
    auth: attachments.map(({ auth }) => sealer.open(auth, attachmentAuthContext('acme'))),
  }
}
