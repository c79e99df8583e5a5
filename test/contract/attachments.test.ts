/** Attachments as the service wires them: stores kept open, fetches shared, origins trusted. */
import { createHash, randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { FetchContext } from '../../src/attachments/fetch.js'
import { createHttpSource } from '../../src/attachments/http-source.js'
import { createNetworkGuard } from '../../src/lib/network-guard.js'
import { createSealer } from '../../src/lib/seal.js'
import { loadConfig } from '../../src/load-config.js'
import { attachmentAuthContext } from '../../src/messages/attachment-auth.js'
import type { AttachmentRef } from '../../src/messages/message.js'
import { type Attachments, createAttachments } from '../../src/service/attachments.js'
import { createKnownVolumes } from '../../src/volumes/known.js'
import { deleteVolume, saveVolume } from '../../src/volumes/store.js'
import type { Volume } from '../../src/volumes/volume.js'
import { createFakeClock } from '../support/fake-clock.js'
import { startHttpSink } from '../support/http-sink.js'
import { silentLog } from '../support/silent-log.js'
import { openTempDb, type TempDb } from '../support/temp-db.js'

/** As many as are kept, at least. */
const MANY = 201
const signal = new AbortController().signal
const guard = createNetworkGuard({ allowPrivate: false, allowed: [] })

let temp: TempDb
const clock = createFakeClock()
const sealer = createSealer(randomBytes(32))
beforeAll(async () => {
  temp = await openTempDb('sqlite')
})
afterAll(() => temp.drop())

function open(): Attachments {
  const { config } = loadConfig({ flags: {}, env: {}, instanceDir: temp.dir, readFile: () => '' })
  const made = createAttachments(config, {
    db: temp.db,
    sealer,
    clock,
    log: silentLog,
    guard,
    linkKeys: { current: () => Buffer.alloc(32), all: () => [Buffer.alloc(32)] },
  })
  onTestFinished(() => made.close())
  return made
}

/** Sends the second half of each file when told to; `/moved` leads to `/` then. */
async function slowServer() {
  const told = new EventEmitter()
  const goingOn = once(told, 'goOn')
  const asked = once(told, 'asked')
  let closed = 0
  const server = createServer(async (request, response) => {
    told.emit('asked')
    if (request.url === '/moved') {
      await goingOn
      response.writeHead(302, { location: '/' }).end()
      return
    }
    response.writeHead(200, { 'content-length': 8 }).write('half')
    await goingOn
    response.end('half')
  })
  server.on('connection', socket => socket.once('close', () => (closed += 1)))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, asked, goOn: () => told.emit('goOn'), closed: () => closed }
}

function volume(key: number, backend: Volume['backend'], config: Volume['config']): Volume {
  const owner = { tenantId: 'acme', accountId: null, name: `v${key}` }
  return { ...owner, key, backend, config, trusted: true, fromConfig: false, createdAt: 0, updatedAt: 0 }
}

describe('the stores kept open', () => {
  it('one that is read is closed when the reader is done, whoever else opens stores', async () => {
    const attachments = open()
    const server = await slowServer()
    const store = await attachments.storeOf(volume(0, 'http', { base_url: server.url }))
    const { body } = await store.get('f', signal)
    for (let key = 1; key <= MANY; key += 1) await attachments.storeOf(volume(key, 'local', { root: temp.dir }))
    server.goOn()
    expect(String(await buffer(body))).toBe('halfhalf')
    await expect.poll(server.closed).toBe(1)
  })

  it('one that had to go while nobody used it is opened anew for who still has it', async () => {
    const attachments = open()
    const server = await slowServer()
    server.goOn()
    const store = await attachments.storeOf(volume(0, 'http', { base_url: server.url }))
    for (let key = 1; key <= MANY; key += 1) await attachments.storeOf(volume(key, 'local', { root: temp.dir }))
    expect(String(await buffer((await store.get('f', signal)).body))).toBe('halfhalf')
  })

  it('a URL is followed to its end, whatever origins others trust', async () => {
    const source = createHttpSource(guard, 5_000)
    onTestFinished(() => source.close())
    const server = await slowServer()
    const fetched = source.get(new URL('/moved', server.url), [server.url], {}, signal)
    await server.asked
    for (let i = 0; i < MANY; i += 1) {
      const refused = source.get(new URL('http://127.0.0.1:1/'), [`https://h${i}.test`], {}, signal)
      await refused.catch(() => {})
    }
    server.goOn()
    expect(String(await buffer((await fetched).body))).toBe('halfhalf')
  })
})

describe('one fetch for many messages', () => {
  const contentMd5 = createHash('md5').update('hello').digest('hex')
  const ref = (storagePath: string): AttachmentRef => ({
    filename: 'f.txt',
    fetchMode: 'http_url',
    storagePath,
    contentMd5,
  })
  const context = (origin: string): FetchContext => ({
    tenantId: 'acme',
    accountId: 'main',
    endpoint: null,
    trustedOrigins: [origin],
    ownAuthorization: null,
    attachmentRoot: null,
  })

  it('one place fails for its own messages only, though another is to have the same content', async () => {
    const { fetcher } = open()
    const sink = await startHttpSink()
    onTestFinished(() => sink.close())
    const other = sink.waitFor(2).catch(() => {})
    sink.answer(({ path }) => (path === '/f' ? { body: 'hello' } : { status: 404, after: other }))
    const fetch = (path: string) => fetcher.fetch([ref(sink.url + path)], context(sink.url), signal)
    const [missing, there] = await Promise.allSettled([fetch('/missing'), fetch('/f')])
    expect(missing).toMatchObject({ status: 'rejected', reason: { kind: 'permanent' } })
    expect(there).toMatchObject({ status: 'fulfilled', value: { attachments: [{ sizeBytes: 5 }] } })
  })

  it('a thousand messages of one place make one, each with the same credentials of its own', async () => {
    const { fetcher } = open()
    const sink = await startHttpSink(() => ({ body: 'hello', delayMs: 100 }))
    onTestFinished(() => sink.close())
    const auth = () => sealer.seal('{"method":"bearer","token":"t"}', attachmentAuthContext('acme'))
    const fetches = Array.from({ length: 1_000 }, (_, i) => {
      const own = new AbortController().signal
      const accountId = `account ${i % 10}`
      return fetcher.fetch([{ ...ref(`${sink.url}/f`), auth: auth() }], { ...context(sink.url), accountId }, own)
    })
    await Promise.all(fetches)
    expect(sink.requests).toMatchObject([{ headers: { authorization: 'Bearer t' } }])
  })

  it('one that wants no credentials gets none at the tenant’s own origin, and shares no fetch with one that does', async () => {
    const { fetcher } = open()
    const sink = await startHttpSink(() => ({ body: 'hello', delayMs: 100 }))
    onTestFinished(() => sink.close())
    const own = { ...context(sink.url), ownAuthorization: { origin: sink.url, value: 'Bearer tenant' } }
    const auth = sealer.seal('{"method":"none"}', attachmentAuthContext('acme'))
    const bare = ref(`${sink.url}/f`)
    await Promise.all([{ ...bare, auth }, bare].map(each => fetcher.fetch([each], own, signal)))
    const sent = sink.requests.map(({ headers }) => headers.authorization ?? null)
    expect(sent.sort()).toEqual(['Bearer tenant', null])
  })
})

describe('the origins of volumes', () => {
  const place = { tenantId: null, accountId: null, name: 'web' }
  const add = (base_url = 'http://files.test/a') => {
    const { backend, config, trusted, fromConfig } = volume(0, 'http', { base_url })
    const content = { backend, config, trusted, fromConfig }
    return saveVolume(temp.db, sealer, place, () => content, { now: clock.now() })
  }

  it('of one that another process has just made is known before a URL there is refused for good', async () => {
    const { fetcher, volumeOrigins } = open()
    const sink = await startHttpSink(() => ({ body: 'hello' }))
    onTestFinished(() => sink.close())
    const context = {
      tenantId: 'acme',
      accountId: 'main',
      endpoint: null,
      trustedOrigins: await volumeOrigins('acme'),
      ownAuthorization: null,
      attachmentRoot: null,
    }
    const ref: AttachmentRef = { filename: 'f.txt', fetchMode: 'http_url', storagePath: `${sink.url}/f` }
    await expect(fetcher.fetch([ref], context, signal)).rejects.toMatchObject({ kind: 'permanent' })
    await add(sink.url)
    onTestFinished(async () => void (await deleteVolume(temp.db, place)))
    expect(await fetcher.fetch([ref], context, signal)).toMatchObject({ attachments: [{ sizeBytes: 5 }] })
  })

  it('are trusted from the change on in the process that makes it, and when it is undone no longer', async () => {
    const { volumeOrigins, forgetOrigins } = open()
    const known = createKnownVolumes({ db: temp.db, clock, forgotten: forgetOrigins })
    expect(await volumeOrigins('acme')).toEqual([])
    await add()
    known.forget()
    expect(await volumeOrigins('acme')).toEqual(['http://files.test'])
    await deleteVolume(temp.db, place)
    known.forget()
    expect(await volumeOrigins('acme')).toEqual([])
  })

  it('are what another process made of them a second later', async () => {
    const { volumeOrigins } = open()
    await add()
    expect(await volumeOrigins('acme')).toEqual(['http://files.test'])
    await deleteVolume(temp.db, place)
    await clock.advance(1_000)
    expect(await volumeOrigins('acme')).toEqual([])
  })

  it('as read before a change are not remembered', async () => {
    const { volumeOrigins, forgetOrigins } = open()
    await add()
    const reading = volumeOrigins('acme')
    forgetOrigins()
    await reading
    await deleteVolume(temp.db, place)
    expect(await volumeOrigins('acme')).toEqual([])
  })
})
