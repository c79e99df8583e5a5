/** Files put out of their mails, in the database: one row for one file, whoever comes in between. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createOffloader } from '../../src/attachments/offload/offloader.js'
import { openStore } from '../../src/attachments/stores/open-store.js'
import type { NewFile, Store } from '../../src/attachments/stores/store.js'
import { createNetworkGuard } from '../../src/lib/network-guard.js'
import { createSealer } from '../../src/lib/seal.js'
import { beginRemovals, claimOffload, findOffload, forgetOffload, keepOffload } from '../../src/offloads/store.js'
import { createFakeClock } from '../support/fake-clock.js'
import { dialects, openTempDb, type TempDb } from '../support/temp-db.js'

const HOUR_MS = 3600 * 1000
const signal = new AbortController().signal
const file = { filename: 'f.bin', sizeBytes: 5, content: Buffer.from('hello') }

describe.each(dialects)('offloads, on %s', dialect => {
  let temp: TempDb
  let dir: string
  const clock = createFakeClock()
  const sealer = createSealer(randomBytes(32))
  beforeAll(async () => {
    temp = await openTempDb(dialect)
  })
  afterAll(() => temp.drop())
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gmp-offloads-'))
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
  })

  const config = () => ({ enabled: true, storage_url: `file://${dir}`, public_base_url: 'https://files.test' })
  const owner = () => ({ tenantId: 'default', trusted: true, config: config() })

  /** An instance; `put` is what happens at its uploads. */
  async function instance(put?: (store: Store, file: NewFile, signal: AbortSignal) => Promise<void>) {
    const store = await openStore('local', { root: dir }, { guard: null, ambient: true, timeoutMs: 5_000 })
    const watched =
      put === undefined ? store : { ...store, put: (...args: Parameters<Store['put']>) => put(store, ...args) }
    const { db } = temp
    return createOffloader({
      clock,
      linkKeys: { current: () => Buffer.alloc(32), all: () => [Buffer.alloc(32)] },
      guard: createNetworkGuard({ allowPrivate: false, allowed: [] }),
      table: {
        claim: (place, given, path) => claimOffload(db, sealer, place, given, path, clock.now()),
        keepUntil: (id, expiresAt) => keepOffload(db, id, expiresAt),
      },
      storeOf: async () => watched,
    })
  }
  const rows = () => temp.db.read({ sql: 'select * from offloads', params: [] })
  const own = async () => {
    const ids = new Set(await readdir(dir))
    return (await rows()).filter(row => ids.has(row.id as string))
  }

  it('two instances that upload the same at once end with one row, one file and one link', async () => {
    let arrive = () => {}
    const both = new Promise<void>(done => {
      let waiting = 0
      arrive = () => ++waiting === 2 && done()
    })
    let uploads = 0
    const put = async (store: Store, ...args: Parameters<Store['put']>) => {
      uploads += 1
      arrive()
      await both
      await store.put(...args)
    }
    const [one, two] = [await instance(put), await instance(put)]
    const links = await Promise.all([one, two].map(each => each.offload(file, owner(), signal)))
    expect(uploads).toBe(2)
    expect(new Set(links.map(({ url }) => url)).size).toBe(1)
    expect(await readdir(dir)).toHaveLength(1)
    expect((await own()).map(row => row.state)).toEqual(['stored'])
  })

  it.each([
    [
      { public_base_url: '' },
      'large_file_config.public_base_url is missing: a file:// store makes no links of its own',
    ],
    [{ storage_url: null }, 'large_file_config.storage_url is missing'],
    [{ storage_url: 'ftp://x' }, 'large_file_config.storage_url is no s3://, gs://, az:// or file:// URL'],
  ])('an old record with %j is an error that names the setting', async (more, reason) => {
    const one = await instance()
    const old = { ...owner(), config: { ...config(), action: 'rewrite', ...more } }
    await expect(one.offload(file, old, signal)).rejects.toMatchObject({
      message: `Attachment upload failed for f.bin: ${reason}`,
      kind: 'permanent',
    })
  })

  it('many messages of one instance wait for one upload, and one that gives up stops only itself', async () => {
    let uploads = 0
    let proceed = () => {}
    const gate = new Promise<void>(done => {
      proceed = done
    })
    let begun = () => {}
    const first = new Promise<void>(done => {
      begun = done
    })
    const one = await instance(async (store, given, putSignal) => {
      uploads += 1
      begun()
      await Promise.race([gate, new Promise(done => putSignal.addEventListener('abort', done, { once: true }))])
      await store.put(given, putSignal)
    })
    const leader = new AbortController()
    const given = one.offload(file, owner(), leader.signal)
    await first
    const others = Promise.all(
      Array.from({ length: 20 }, () => one.offload(file, owner(), new AbortController().signal)),
    )
    leader.abort()
    await expect(given).rejects.toMatchObject({ kind: 'transient' })
    proceed()
    expect(new Set((await others).map(({ url }) => url)).size).toBe(1)
    expect(uploads).toBe(2)
    expect(await readdir(dir)).toHaveLength(1)
  })

  it('a file whose removal began while it went up goes up anew, and nothing of the first is left', async () => {
    let isFirst = true
    const one = await instance(async (store, ...args) => {
      await store.put(...args)
      if (!isFirst) return
      isFirst = false
      // So slow that it counts as left by a crash.
      const { db } = temp
      const late = clock.now() + 7 * HOUR_MS
      for (const { id, path } of await beginRemovals(db, sealer, { now: late, limit: 50 }, () => {})) {
        await store.remove(path, signal)
        await forgetOffload(db, id)
        await store.put(...args)
      }
    })
    const { url } = await one.offload(file, owner(), signal)
    const [id, ...others] = await readdir(dir)
    expect(others).toEqual([])
    expect(url).toContain(`/${id}/f.bin?`)
    expect((await findOffload(temp.db, sealer, id!))?.sizeBytes).toBe(5)
  })

  it('what a crash left of writing a file goes with it', async () => {
    const one = await instance()
    const { url } = await one.offload(file, owner(), signal)
    const [, id = ''] = new URL(url).pathname.split('/')
    const store = await openStore('local', { root: dir }, { guard: null, ambient: true, timeoutMs: 5_000 })
    const crashed = new AbortController()
    const endless = {
      path: `${id}/f.bin`,
      filename: 'f.bin',
      mimeType: 'text/plain',
      sizeBytes: 9,
      open: () => new PassThrough(),
    }
    const writing = store.put(endless, crashed.signal).catch(() => {})
    const parts = async () => (await readdir(join(dir, id))).filter(name => name.endsWith('.part'))
    await expect.poll(parts).toHaveLength(1)
    const [part = ''] = await parts()
    crashed.abort()
    await writing
    await expect.poll(parts).toEqual([])
    await writeFile(join(dir, id, part), 'hel')
    await store.remove(`${id}/f.bin`, signal)
    expect(await readdir(dir)).toEqual([])
  })

  it('what is being removed is fetched by nobody, and the same content gets a row of its own', async () => {
    const one = await instance()
    const { url } = await one.offload(file, owner(), signal)
    const [id] = await readdir(dir)
    const later = clock.now() + 31 * 24 * HOUR_MS
    expect((await beginRemovals(temp.db, sealer, { now: later, limit: 50 }, () => {})).map(each => each.id)).toContain(
      id,
    )
    expect(await findOffload(temp.db, sealer, id!)).toBeNull()
    expect(await keepOffload(temp.db, id!, later)).toBe(false)
    expect((await one.offload(file, owner(), signal)).url).not.toBe(url)
    expect(await readdir(dir)).toHaveLength(2)
  })

  it('the settings of a store are sealed, and new credentials of the same place take the place of the old', async () => {
    const store = (secret: string, digest = 'd1') => ({
      backend: 's3' as const,
      config: { bucket: 'b', access_key_id: 'a', secret_access_key: secret },
      tenantId: 'default',
      trusted: false,
      digest,
    })
    const given = {
      filename: 'f',
      mimeType: 'text/plain',
      md5: createHash('md5').update('x').digest('hex'),
      sizeBytes: 1,
    }
    const claim = (secret: string) => claimOffload(temp.db, sealer, store(secret), given, id => `${id}/f`, clock.now())
    const first = await claim('one-secret')
    const second = await claim('another-secret')
    expect(second.id).toBe(first.id)
    await keepOffload(temp.db, first.id, clock.now() + HOUR_MS)
    expect((await findOffload(temp.db, sealer, first.id))?.store.config).toMatchObject({
      secret_access_key: 'another-secret',
    })
    const kept = await temp.db.read({ sql: 'select * from offload_stores', params: [] })
    expect(JSON.stringify(kept)).not.toMatch(/secret_access_key|another-secret/)
    // Moved into another row it does not open.
    const [sealed] = kept.filter(row => row.digest === 'd1')
    await temp.db.write([
      {
        sql: 'insert into offload_stores (digest, tenant_id, settings) values ($1, $2, $3)',
        params: ['d2', 'x', sealed!.settings as string],
      },
      { sql: "update offloads set store = 'd2' where id = $1", params: [first.id] },
    ])
    await expect(findOffload(temp.db, sealer, first.id)).rejects.toThrow()
    const unreadable: string[] = []
    const later = { now: clock.now() + 2 * HOUR_MS, limit: 50 }
    expect(await beginRemovals(temp.db, sealer, later, digest => unreadable.push(digest))).toEqual([])
    expect(unreadable).toEqual(['d2'])
  })
})
