/** What a tenant's store may reach. The sink stands for a service inside the operator's network: it must hear nothing. */
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openStore } from '../../src/attachments/stores/open-store.js'
import type { Backend, Store } from '../../src/attachments/stores/store.js'
import { createNetworkGuard, type NetworkGuard } from '../../src/lib/network-guard.js'
import { type HttpSink, startHttpSink } from '../support/http-sink.js'
import { PRIVATE_HOSTS } from '../support/private-hosts.js'

const signal = new AbortController().signal
const closing: (() => unknown)[] = []
let sink: HttpSink

beforeEach(async () => {
  sink = await startHttpSink(() => ({
    body: 'secret of the network',
    headers: { etag: '"1"', 'content-length': '21' },
  }))
  closing.push(() => sink.close())
})

afterEach(async () => {
  vi.unstubAllEnvs()
  for (const close of closing.splice(0).reverse()) await close()
})

const strict = createNetworkGuard({ allowPrivate: false, allowed: [] })

const clients: [Backend, (url: string) => Record<string, unknown>][] = [
  ['http', url => ({ base_url: url })],
  ['webdav', url => ({ url, user: 'ada', password: 'hunter2' })],
  ['s3', url => ({ bucket: 'files', endpoint: url, access_key_id: 'AKIA', secret_access_key: 'hunter2' })],
  ['azure', url => ({ container: 'files', account_name: 'ada', account_key: 'aHVudGVyMg==', endpoint: url })],
  [
    'azure',
    url => ({
      container: 'files',
      connection_string: `DefaultEndpointsProtocol=http;AccountName=ada;AccountKey=aHVudGVyMg==;BlobEndpoint=${url}`,
    }),
  ],
]

/** Behind the guard the machine's credentials are not used even when the caller allows them. */
async function open(backend: Backend, config: Record<string, unknown>, guard: NetworkGuard | null = strict) {
  const store = await openStore(backend, config, { guard, ambient: guard !== null, timeoutMs: 5_000 })
  closing.push(() => store.close())
  return store
}

async function useEverything(store: Store): Promise<string[]> {
  const file = (sizeBytes: number) => {
    const open = () => Readable.from([Buffer.alloc(sizeBytes)])
    return { path: 'x', sizeBytes, mimeType: 'a/b', filename: 'x', open }
  }
  const get = async () => void (await buffer((await store.get('x', signal)).body))
  const failures: string[] = []
  // A large one is announced with `Expect: 100-continue`, which takes another way in some clients.
  const puts = [1, 3_000_000].map(sizeBytes => () => store.put(file(sizeBytes), signal))
  for (const act of [get, ...puts, () => store.remove('x', signal)]) {
    failures.push(
      await act().then(
        () => 'it worked',
        error => `${error.kind}: ${error.message}`,
      ),
    )
  }
  return failures.filter(failure => !failure.includes('read only'))
}

const REFUSED = 'permanent: its host has no address this service may connect to'

describe.each(clients)('%s of a tenant', (backend, config) => {
  test.each(PRIVATE_HOSTS)('nothing is sent to %s', async host => {
    const store = await open(backend, config(`http://${host}:${sink.port}`))
    for (const failure of await useEverything(store))
      expect(failure).toMatch(/^(permanent: its host|transient: its host name)/)
    expect(sink.connections()).toBe(0)
  })

  test.each(['http', 'https'])('nothing is sent over %s to a name that resolves to a private address', async scheme => {
    const resolve = async () => [{ address: '127.0.0.1', family: 4 as const }]
    const guard = createNetworkGuard({ allowPrivate: false, allowed: [] }, resolve)
    const store = await open(backend, config(`${scheme}://files.example:${sink.port}`), guard)
    const failures = await useEverything(store)
    expect(new Set(failures)).toEqual(new Set([REFUSED]))
    expect(sink.connections()).toBe(0)
  })

  test('the twin: without the guard the same config does reach the server', async () => {
    const store = await open(backend, config(sink.url), null)
    await useEverything(store)
    expect(sink.connections()).toBeGreaterThan(0)
  })

  test('the address that was judged is the one connected to: the name is not asked again', async () => {
    let asked = 0
    const resolve = async () => {
      asked += 1
      return [{ address: '127.0.0.1', family: 4 as const }]
    }
    const guard = createNetworkGuard({ allowPrivate: false, allowed: ['127.0.0.1'] }, resolve)
    const store = await open(backend, config(`http://files.invalid:${sink.port}`), guard)
    expect((await buffer((await store.get('x', signal)).body)).toString()).toBe('secret of the network')
    expect(asked).toBe(sink.connections())
  })

  test('a redirect inwards is not followed', async () => {
    const outer = await startHttpSink(() => ({ status: 307, headers: { location: `http://127.0.0.2:${sink.port}/` } }))
    closing.push(() => outer.close())
    const guard = createNetworkGuard({ allowPrivate: false, allowed: ['127.0.0.1'] })
    const store = await open(backend, config(outer.url), guard)
    for (const failure of await useEverything(store)) expect(failure).toMatch(/^(permanent|transient): /)
    expect(outer.requests.length).toBeGreaterThan(0)
    expect(sink.connections()).toBe(0)
  })

  test('a proxy of the environment is not a way around', async () => {
    const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy', 'ALL_PROXY']
    for (const name of names) vi.stubEnv(name, sink.url)
    for (const scheme of ['http', 'https']) {
      const store = await open(backend, config(`${scheme}://127.0.0.1:${sink.port}`))
      expect(new Set(await useEverything(store))).toEqual(new Set([REFUSED]))
    }
    expect(sink.connections()).toBe(0)
  })
})

describe('s3 of a tenant', () => {
  test('the credentials and endpoints of the machine are not used, nor is its metadata service asked', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'MACHINEKEY')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'machine-secret')
    vi.stubEnv('AWS_SESSION_TOKEN', 'machine-token')
    vi.stubEnv('AWS_ENDPOINT_URL', sink.url)
    vi.stubEnv('AWS_EC2_METADATA_SERVICE_ENDPOINT', sink.url)
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `${sink.url}/creds`)
    vi.stubEnv('AWS_DEFAULTS_MODE', 'auto')
    const outer = await startHttpSink(() => ({ body: 'public' }))
    closing.push(() => outer.close())
    const guard = createNetworkGuard({ allowPrivate: false, allowed: ['127.0.0.1'] })
    const store = await open('s3', { bucket: 'files', endpoint: outer.url }, guard)
    await useEverything(store)
    expect(outer.requests.length).toBeGreaterThan(0)
    for (const { headers, path } of outer.requests) {
      expect(headers.authorization).toBeUndefined()
      expect(headers['x-amz-security-token']).toBeUndefined()
      expect(path + JSON.stringify(headers)).not.toMatch(/MACHINE|machine-/)
    }
    expect(sink.connections()).toBe(0)
    // Without an endpoint in the config the machine's is not the tenant's either.
    const resolve = async () => [{ address: '10.0.0.1', family: 4 as const }]
    const nowhere = createNetworkGuard({ allowPrivate: false, allowed: [] }, resolve)
    expect(new Set(await useEverything(await open('s3', { bucket: 'files' }, nowhere)))).toEqual(new Set([REFUSED]))
    expect(sink.connections()).toBe(0)
  })

  test('the twin: where the machine is meant, its credentials are used', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'MACHINEKEY')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'machine-secret')
    const access = { guard: null, ambient: true, timeoutMs: 5_000 }
    const store = await openStore('s3', { bucket: 'files', endpoint: sink.url }, access)
    closing.push(() => store.close())
    await useEverything(store)
    expect(sink.requests[0]!.headers.authorization).toContain('MACHINEKEY')
  })
})

describe('azure of a tenant', () => {
  test('a proxy in the connection string is not a way around', async () => {
    const connection = `UseDevelopmentStorage=true;DevelopmentStorageProxyUri=${sink.url}`
    const store = await open('azure', { container: 'files', connection_string: connection })
    await useEverything(store)
    expect(sink.connections()).toBe(0)
  })
})

describe('gcs of a tenant', () => {
  test('goes to Google alone, without the credentials of the machine, judged like the others', async () => {
    vi.stubEnv('STORAGE_EMULATOR_HOST', sink.url)
    vi.stubEnv('GCE_METADATA_HOST', `127.0.0.1:${sink.port}`)
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', '/etc/passwd')
    const asked: string[] = []
    const resolve = async (host: string) => {
      asked.push(host)
      return [{ address: '127.0.0.1', family: 4 as const }]
    }
    const guard = createNetworkGuard({ allowPrivate: false, allowed: [] }, resolve)
    const store = await open('gcs', { bucket: 'files' }, guard)
    expect(new Set(await useEverything(store))).toEqual(new Set([REFUSED]))
    expect(new Set(asked)).toEqual(new Set(['storage.googleapis.com']))
    expect(await store.link('x', 'x', Date.now() + 1000)).toBeNull()
    expect(sink.connections()).toBe(0)
  })

  test('may set no endpoint', async () => {
    await expect(open('gcs', { bucket: 'files', endpoint: sink.url })).rejects.toMatchObject({ kind: 'permanent' })
  })
})

test('a tenant has no local store', async () => {
  await expect(open('local', { root: '/etc' })).rejects.toMatchObject({
    message: 'the config of its volume is wrong: local is not for a volume that a tenant sets',
  })
})
