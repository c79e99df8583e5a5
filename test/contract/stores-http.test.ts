import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, verify } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openStore } from '../../src/attachments/stores/open-store.js'
import type { Backend, Store } from '../../src/attachments/stores/store.js'
import { selfSigned } from '../support/certificate.js'
import { type HttpSink, startHttpSink } from '../support/http-sink.js'
import { startGcs } from '../support/stores.js'

const signal = new AbortController().signal
const closing: (() => unknown)[] = []
let sink: HttpSink
let other: HttpSink

beforeEach(async () => {
  ;[sink, other] = await Promise.all([startHttpSink(), startHttpSink()])
  closing.push(
    () => sink.close(),
    () => other.close(),
  )
})

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(backend: Backend, config: Record<string, unknown>, timeoutMs = 5_000): Promise<Store> {
  const store = await openStore(backend, config, { guard: null, ambient: false, timeoutMs })
  closing.push(() => store.close())
  return store
}

async function read(store: Store, path = 'a.txt'): Promise<string> {
  return (await buffer((await store.get(path, signal)).body)).toString()
}

/** One way to reach the sink for each client, with a time limit short enough to wait for. */
const clients: [Backend, () => Record<string, unknown>][] = [
  ['http', () => ({ base_url: sink.url })],
  ['webdav', () => ({ url: sink.url, user: 'ada', password: 'hunter2' })],
  ['s3', () => ({ bucket: 'files', endpoint: sink.url, access_key_id: 'AKIA', secret_access_key: 'hunter2' })],
  ['gcs', () => ({ bucket: 'files', endpoint: sink.url })],
  ['azure', () => ({ container: 'files', account_name: 'ada', account_key: 'aHVudGVyMg==', endpoint: sink.url })],
]

describe.each(clients)('%s against servers that do not do as they should', (backend, config) => {
  test.each([
    [403, 'permanent'],
    [404, 'permanent'],
    [410, 'permanent'],
    [429, 'transient'],
    [500, 'transient'],
    [503, 'transient'],
  ])('%i is a %s failure', async (status, kind) => {
    sink.answer(() => ({ status, body: 'at 10.0.0.7 with hunter2' }))
    const failure = await read(await open(backend, config())).catch(error => error)
    expect(failure).toMatchObject({ name: 'AttachmentFailure', kind })
    expect(failure.message).toMatch(new RegExp(`^the server answered ${status}( \\(\\w+\\))?$`))
    // The client retries nothing: the queue does.
    expect(sink.requests).toHaveLength(1)
  })

  test('a server that does not answer is given up, and the connection ended', async () => {
    sink.answer(() => ({ hang: 'headers' }))
    const failure = read(await open(backend, config(), 300))
    await expect(failure).rejects.toMatchObject({ kind: 'transient', message: 'no answer within 0.3 s' })
  })

  test('a body that stops is given up', async () => {
    sink.answer(() => ({ hang: 'body', body: 'abc', headers: { 'content-length': '10', etag: '"1"' } }))
    const failure = read(await open(backend, config(), 300))
    await expect(failure).rejects.toMatchObject({ kind: 'transient', message: 'no answer within 0.3 s' })
  })

  test('a connection that is reset is a transient failure', async () => {
    sink.answer(() => ({ close: true }))
    await expect(read(await open(backend, config()))).rejects.toMatchObject({
      kind: 'transient',
      message: 'the connection broke off',
    })
  })

  test('fewer octets than announced are a failure, not a short file', async () => {
    const server = await startRaw('HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "1"\r\n\r\nabc')
    const url = { ...config() }
    for (const [key, value] of Object.entries(url)) if (value === sink.url) url[key] = server
    await expect(read(await open(backend, url))).rejects.toMatchObject({ name: 'AttachmentFailure', kind: 'transient' })
  })

  test('a server that is not there is a transient failure without its address', async () => {
    await sink.close()
    await expect(read(await open(backend, config()))).rejects.toMatchObject({
      kind: 'transient',
      message: 'the connection was refused',
    })
  })

  test('destroying the body ends the transfer', async () => {
    let ended!: () => void
    const closed = new Promise<void>(done => {
      ended = done
    })
    const server = await startRaw(
      `HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: "1"\r\n\r\n${'x'.repeat(1000)}`,
      () => ended(),
      false,
    )
    const url = { ...config() }
    for (const [key, value] of Object.entries(url)) if (value === sink.url) url[key] = server
    const { body } = await (await open(backend, url)).get('a.txt', signal)
    body.destroy()
    await closed
  })

  test('the caller ends a transfer under way', async () => {
    sink.answer(() => ({ hang: 'body', body: 'abc', headers: { 'content-length': '10', etag: '"1"' } }))
    const controller = new AbortController()
    const { body } = await (await open(backend, config())).get('a.txt', controller.signal)
    const all = buffer(body)
    controller.abort()
    await expect(all).rejects.toMatchObject({ message: 'it was stopped', kind: 'transient' })
  })

  test('an error without end is not read into memory', async () => {
    let sentBytes = 0
    const endless = createHttpServer((_request, response) => {
      response.writeHead(500, { 'content-type': 'application/xml' }).on('error', () => {})
      const piece = Buffer.alloc(65_536, 'x')
      const more = () => {
        while (!response.destroyed && response.write(piece)) sentBytes += piece.length
      }
      response.on('drain', more)
      more()
    })
    await new Promise<void>(done => endless.listen(0, '127.0.0.1', done))
    closing.push(() => new Promise(done => endless.close(done).closeAllConnections()))
    const server = `http://127.0.0.1:${(endless.address() as AddressInfo).port}`
    const url = { ...config() }
    for (const [key, value] of Object.entries(url)) if (value === sink.url) url[key] = server
    const failure = await read(await open(backend, url)).catch(error => error)
    expect(failure).toMatchObject({ name: 'AttachmentFailure', kind: 'transient' })
    expect(failure.message).not.toContain('no answer')
    // What lies in the buffers of both sides beyond the 128 KiB that are read.
    expect(sentBytes).toBeLessThan(50_000_000)
  })

  test('a certificate that cannot be verified lets nothing through', async () => {
    const { server, requests } = await startTls()
    const url = { ...config() }
    for (const [key, value] of Object.entries(url)) if (value === sink.url) url[key] = server
    await expect(read(await open(backend, url))).rejects.toMatchObject({
      kind: 'transient',
      message: 'its TLS certificate cannot be verified',
    })
    expect(requests()).toBe(0)
  })
})

test('a reader who takes his time is not a server that stalls', async () => {
  const content = 'x'.repeat(5_000_000)
  sink.answer(() => ({ body: content, headers: { 'content-length': '5000000', etag: '"1"' } }))
  // All at once, for the time limit is one that an answer keeps also on a busy machine.
  const read = clients.map(async ([backend, config]) => {
    const { body } = await (await open(backend, config(), 2_000)).get('a.txt', signal)
    await new Promise(done => setTimeout(done, 2_500))
    return (await buffer(body)).length
  })
  expect(await Promise.all(read)).toEqual(clients.map(() => 5_000_000))
})

describe('http', () => {
  const secrets = { auth: { method: 'bearer', token: 't0ken' }, headers: { 'X-Key': 'k3y' } }

  test('login and headers go along, and the path is encoded', async () => {
    sink.answer(() => ({ body: 'hello' }))
    const store = await open('http', { base_url: `${sink.url}/base/`, ...secrets })
    expect(await read(store, 'a b/ü?.txt')).toBe('hello')
    expect(sink.requests[0]).toMatchObject({
      method: 'GET',
      path: '/base/a%20b/%C3%BC%3F.txt',
      headers: { authorization: 'Bearer t0ken', 'x-key': 'k3y', 'accept-encoding': 'identity' },
    })
  })

  test('Basic is UTF-8', async () => {
    sink.answer(() => ({ body: 'hello' }))
    await read(await open('http', { base_url: sink.url, auth: { method: 'basic', user: 'ada', password: 'pä' } }))
    expect(sink.requests[0]!.headers.authorization).toBe(`Basic ${Buffer.from('ada:pä').toString('base64')}`)
  })

  test('a redirect on the same origin keeps the login', async () => {
    sink.answer(({ path }) => (path === '/a.txt' ? redirect('/b.txt') : { body: 'moved' }))
    expect(await read(await open('http', { base_url: sink.url, ...secrets }))).toBe('moved')
    expect(sink.requests[1]!.headers).toMatchObject({ authorization: 'Bearer t0ken', 'x-key': 'k3y' })
  })

  test('a redirect to another origin, if only another port, loses login and headers, also on the way back', async () => {
    sink.answer(({ path }) => (path === '/a.txt' ? redirect(`${other.url}/b.txt`) : { body: 'back' }))
    other.answer(() => redirect(`${sink.url}/c.txt`))
    expect(await read(await open('http', { base_url: sink.url, ...secrets }))).toBe('back')
    for (const { headers } of [other.requests[0]!, sink.requests[1]!]) {
      expect(headers.authorization).toBeUndefined()
      expect(headers['x-key']).toBeUndefined()
    }
  })

  test('five redirects are followed, a sixth is not', async () => {
    const follow = (last: number) => {
      sink.answer(({ path }) =>
        Number(path.slice(1)) < last ? redirect(`/${Number(path.slice(1)) + 1}`) : { body: 'end' },
      )
    }
    const store = await open('http', { base_url: sink.url })
    follow(5)
    expect(await read(store, '0')).toBe('end')
    follow(6)
    await expect(read(store, '0')).rejects.toMatchObject({
      kind: 'permanent',
      message: 'the server redirected more than 5 times',
    })
    expect(sink.requests).toHaveLength(12)
  })

  test.each(['file:///etc/passwd', 'ftp://127.0.0.1/', '', 'http://'])(
    'a redirect to %j is refused',
    async location => {
      sink.answer(() => redirect(location))
      await expect(read(await open('http', { base_url: sink.url }))).rejects.toMatchObject({ kind: 'permanent' })
    },
  )

  test('what is compressed unasked is refused: its size and MD5 are not those of the file', async () => {
    sink.answer(() => ({ body: 'x', headers: { 'content-encoding': 'gzip' } }))
    await expect(read(await open('http', { base_url: sink.url }))).rejects.toMatchObject({ kind: 'permanent' })
    const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n'
    const server = await startRaw(`${head}1\r\nx\r\n0\r\n\r\n`)
    await expect(read(await open('http', { base_url: server }))).rejects.toMatchObject({ kind: 'permanent' })
  })

  test.each(['Identity', ' IDENTITY ', ''])('Content-Encoding "%s" is no compression', async encoding => {
    const server = await startRaw(
      `HTTP/1.1 200 OK\r\nContent-Encoding: ${encoding}\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
    )
    expect(await read(await open('http', { base_url: server }))).toBe('x')
  })

  test('is read only and makes no links', async () => {
    const store = await open('http', { base_url: sink.url })
    await expect(store.remove('a', signal)).rejects.toMatchObject({ kind: 'permanent' })
    expect(await store.link('a', 'a', Date.now() + 1000)).toBeNull()
    expect(sink.requests).toHaveLength(0)
  })
})

describe('webdav', () => {
  test('a redirect to another port gets no connection, so no login', async () => {
    sink.answer(() => redirect(`${other.url}/b.txt`))
    const store = await open('webdav', { url: sink.url, user: 'ada', password: 'hunter2' })
    await expect(read(store)).rejects.toMatchObject({
      message: 'the server redirected to another origin',
      kind: 'permanent',
    })
    expect(other.connections()).toBe(0)
  })

  test('a name that the client takes for a separator stays a name', async () => {
    sink.answer(() => ({ body: 'x' }))
    await read(await open('webdav', { url: `${sink.url}/mine` }), '__PATH_SEPARATOR_POSIX__..__PATH_SEPARATOR_POSIX__x')
    expect(sink.requests[0]!.path).toBe('/mine/__PATH_SEPARATOR_POSIX__..__PATH_SEPARATOR_POSIX__x')
  })

  test('a failed upload leaves no part behind', async () => {
    sink.answer(({ method }) => ({ status: method === 'MOVE' ? 507 : 201 }))
    const store = await open('webdav', { url: sink.url })
    const file = {
      path: 'd/x',
      sizeBytes: 1,
      mimeType: 'a/b',
      filename: 'x',
      open: () => Readable.from([Buffer.from('x')]),
    }
    await expect(store.put(file, signal)).rejects.toMatchObject({ kind: 'transient' })
    const [mkcol, put, move, remove] = sink.requests
    expect([mkcol, put, move, remove].map(request => request!.method)).toEqual(['MKCOL', 'PUT', 'MOVE', 'DELETE'])
    expect(remove!.path).toBe(put!.path)
  })
})

describe('a file that is put', () => {
  test.each(clients.slice(1))('to a %s server that stops reading is given up', async (backend, config) => {
    sink.answer(() => ({ hang: 'headers' }))
    const store = await open(backend, config(), 300)
    const file = {
      path: 'x',
      sizeBytes: 1,
      mimeType: 'a/b',
      filename: 'x',
      open: () => Readable.from([Buffer.from('x')]),
    }
    await expect(store.put(file, signal)).rejects.toMatchObject({
      message: 'no answer within 0.3 s',
      kind: 'transient',
    })
  })
})

describe('gcs', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const credentials = {
    type: 'service_account',
    client_email: 'mail@project.iam.gserviceaccount.com',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  }

  test.each([
    ['cut short', credentials.private_key.slice(0, 300)],
    ['of another kind', generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string],
  ])('a private key that is %s is final, and said so without a piece of it', async (_, private_key) => {
    const asked = open('gcs', {
      bucket: 'files',
      endpoint: 'http://127.0.0.1:1',
      credentials: { ...credentials, private_key },
    })
    await expect(asked).rejects.toMatchObject({
      message: 'the config of its volume is wrong: credentials.private_key is no RSA key in PEM',
      kind: 'permanent',
    })
  })

  test('a service account signs each request itself; no token is fetched', async () => {
    const gcs = await startGcs()
    closing.push(() => gcs.close())
    const store = await open('gcs', { bucket: 'files', endpoint: gcs.url, credentials })
    await store.remove('x', signal)
    const [head, claims, signature] = gcs.authorizations[0]!.replace('Bearer ', '').split('.')
    const signed = Buffer.from(`${head}.${claims}`)
    expect(verify('sha256', signed, publicKey, Buffer.from(signature!, 'base64url'))).toBe(true)
    expect(JSON.parse(Buffer.from(claims!, 'base64url').toString())).toMatchObject({
      iss: credentials.client_email,
      scope: 'https://www.googleapis.com/auth/devstorage.read_write',
    })
  })

  test('a link is signed here and holds for at most seven days', async () => {
    const store = await open('gcs', { bucket: 'files', prefix: 'p', credentials: JSON.stringify(credentials) })
    const link = new URL((await store.link('ü x.txt', 'x.txt', Date.now() + 400 * 86_400_000))!)
    expect(link.origin + link.pathname).toBe('https://storage.googleapis.com/files/p/%C3%BC%20x.txt')
    expect(link.searchParams.get('X-Goog-Expires')).toBe('604800')
    expect(link.searchParams.get('response-content-disposition')).toContain('attachment')
    expect(link.searchParams.get('X-Goog-Signature')).toMatch(/^[0-9a-f]+$/)
  })
})

describe('local', () => {
  let root: string
  let outside: string
  beforeEach(async () => {
    const top = await mkdtemp(join(tmpdir(), 'gmp-links-'))
    closing.push(() => rm(top, { recursive: true, force: true }))
    root = join(top, 'root')
    outside = join(top, 'root-outside')
    await mkdir(join(root, 'inside'), { recursive: true })
    await mkdir(outside)
    await writeFile(join(outside, 'secret.txt'), 'secret')
    await writeFile(join(root, 'inside', 'a.txt'), 'fine')
    await symlink(outside, join(root, 'out'))
    await symlink(join(outside, 'secret.txt'), join(root, 'leak.txt'))
    await symlink('inside/a.txt', join(root, 'alias.txt'))
    await symlink('loop', join(root, 'loop'))
  })

  test('a link within the root is followed, one that leads out is not', async () => {
    const store = await open('local', { root })
    expect(await read(store, 'alias.txt')).toBe('fine')
    for (const path of ['leak.txt', 'out/secret.txt']) {
      await expect(read(store, path)).rejects.toMatchObject({
        kind: 'permanent',
        message: 'its path leads out of the directory',
      })
    }
  })

  test('only regular files are read', async () => {
    const store = await open('local', { root })
    await expect(read(store, 'inside')).rejects.toMatchObject({ kind: 'permanent', message: 'it is no regular file' })
    await expect(read(store, 'loop')).rejects.toMatchObject({ kind: 'permanent' })
    // Nobody writes to it: whoever opened it as a file would wait for ever.
    execFileSync('mkfifo', [join(root, 'pipe')])
    await expect(read(store, 'pipe')).rejects.toMatchObject({ kind: 'permanent', message: 'it is no regular file' })
    const socket = createServer()
    await new Promise<void>(done => socket.listen(join(root, 'socket'), done))
    closing.push(() => new Promise(done => socket.close(done)))
    await expect(read(store, 'socket')).rejects.toMatchObject({ kind: 'permanent', message: 'it is no regular file' })
    const dev = await open('local', { root: '/dev' })
    await expect(read(dev, 'zero')).rejects.toMatchObject({ kind: 'permanent', message: 'it is no regular file' })
  })

  test('an absolute path is refused', async () => {
    const store = await open('local', { root })
    await expect(read(store, join(root, 'inside/a.txt'))).rejects.toMatchObject({ message: 'its path is absolute' })
  })

  test('nothing is written or removed through a link that leads out', async () => {
    const store = await open('local', { root })
    const file = { sizeBytes: 1, mimeType: 'a/b', filename: 'x', open: () => Readable.from([Buffer.from('x')]) }
    await expect(store.put({ ...file, path: 'out/new.txt' }, signal)).rejects.toMatchObject({ kind: 'permanent' })
    await expect(store.put({ ...file, path: 'out/deep/new.txt' }, signal)).rejects.toMatchObject({ kind: 'permanent' })
    await expect(store.remove('out/secret.txt', signal)).rejects.toMatchObject({ kind: 'permanent' })
    await store.put({ ...file, path: 'leak.txt' }, signal)
    await store.remove('leak.txt', signal)
    expect(await readdir(outside)).toEqual(['secret.txt'])
  })

  test('a file that was not written whole leaves nothing', async () => {
    const store = await open('local', { root })
    const file = {
      path: 'n/x',
      sizeBytes: 9,
      mimeType: 'a/b',
      filename: 'x',
      open: () => Readable.from([Buffer.from('x')]),
    }
    await expect(store.put(file, signal)).rejects.toMatchObject({ kind: 'permanent' })
    // The answer does not wait until it is cleared away.
    await expect.poll(() => readdir(join(root, 'n'))).toEqual([])
    // Nor does the directory that was made for it stay when it is removed.
    await store.remove('n/x', signal)
    expect(await readdir(root)).not.toContain('n')
  })

  test('no failure tells where the root is', async () => {
    const store = await open('local', { root: join(root, 'not-there') })
    const failure = await read(store).catch(error => error)
    expect(failure.message).toBe('there is no such file')
  })
})

function redirect(location: string) {
  return { status: 302, headers: { location } }
}

/** A server that says what it is told to whatever it is asked, and then hangs up (or not). */
async function startRaw(answer: string, closed: () => void = () => {}, hangUp = true): Promise<string> {
  const server: Server = createServer(socket => {
    socket.on('error', () => {}).on('close', closed)
    socket.once('data', () => (hangUp ? socket.end(answer) : socket.write(answer)))
    closing.push(() => socket.destroy())
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  closing.push(() => new Promise(done => server.close(done)))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function startTls() {
  let requests = 0
  const server = createTlsServer(selfSigned(['127.0.0.1']), (_request, response) => {
    requests += 1
    response.end('secret')
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  closing.push(() => new Promise(done => server.close(done)))
  return { server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, requests: () => requests }
}
