/** On real sockets: clients that are slow, silent, many or rude, and what every answer carries whatever was asked. */
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Routes } from '../../src/http/app.js'
import { listen } from '../../src/http/listen.js'
import { allRoutes } from '../../src/http/routes/index.js'
import { rotateKey } from '../../src/tenants/keys.js'
import { ADMIN, type HttpApp, openHttpApp } from '../support/http-app.js'
import { opened } from '../support/scene.js'

const testRoutes: Routes = app => {
  app.post('/echo', { config: { access: 'any' } }, async ({ body }) => ({ ok: true, body }))
  app.get('/throws', { config: { access: 'any' } }, async () => {
    throw new Error('on purpose')
  })
  app.get('/long', { config: { access: 'any' } }, async () => 'x'.repeat(50_000_000))
  app.get('/late', { config: { access: 'any' } }, async () => {
    await pause(900)
    return 'late'
  })
}

interface Listening {
  readonly http: HttpApp
  readonly port: number
}

/** `before`: what is changed of the server before it listens. */
async function listening(
  env: Record<string, string> = {},
  before = (_: HttpApp['app']['server']) => {},
): Promise<Listening> {
  const http = await opened(openHttpApp('sqlite', { env, routes: [...allRoutes, testRoutes] }), each => each.close())
  before(http.app.server)
  await http.app.listen({ port: 0, host: '127.0.0.1' })
  return { http, port: (http.app.server.address() as AddressInfo).port }
}

interface Held {
  readonly socket: Socket
  /** Once the connection is closed: all that came over it. */
  readonly closed: Promise<string>
}

async function hold(port: number, text = '', drop?: string): Promise<Held> {
  const socket = connect(port, '127.0.0.1')
  let heard = ''
  socket.on('data', data => {
    heard += data.toString('latin1')
  })
  socket.on('error', () => {})
  const closed = new Promise<string>(done => socket.once('close', () => done(heard)))
  await Promise.race([new Promise<void>(done => socket.once('connect', done)), closed])
  socket.write(text)
  if (drop !== undefined) {
    const timer = setInterval(() => socket.write(drop), 20)
    void closed.then(() => clearInterval(timer))
  }
  return { socket, closed }
}

const ask = async (port: number, text: string) => (await hold(port, text)).closed

const post = (headers: string) => `POST /echo HTTP/1.1\r\nHost: x\r\nX-API-Token: ${ADMIN}\r\n${headers}`
const health = 'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'

describe('slow clients', () => {
  it('are given the times that the guarantees name', async () => {
    const { http } = await listening()
    const { headersTimeout, requestTimeout, keepAliveTimeout, timeout, maxConnections } = http.app.server
    expect({ headersTimeout, requestTimeout, keepAliveTimeout, timeout, maxConnections }).toEqual({
      headersTimeout: 15_000,
      requestTimeout: 120_000,
      keepAliveTimeout: 72_000,
      timeout: 180_000,
      maxConnections: 10_000,
    })
  })

  it('that send nothing, or headers or a body drop by drop, are told so and cut, and hold up nobody', async () => {
    const { port } = await listening({}, server => {
      Object.assign(server, { headersTimeout: 300, requestTimeout: 600, connectionsCheckingInterval: 50 })
    })
    const slow = await Promise.all([
      ...Array.from({ length: 100 }, () => hold(port)),
      hold(port, 'GET /health HTTP/1.1\r\n', 'X'),
      hold(port, post(''), 'X-A: b\r\n'),
      hold(port, post('Content-Length: 1000000\r\n\r\n'), ' '),
      hold(port, post('Transfer-Encoding: chunked\r\n\r\n'), '1\r\n \r\n'),
    ])
    expect(await ask(port, health)).toMatch(/^HTTP\/1\.1 200 /)
    for (const answer of await Promise.all(slow.map(each => each.closed))) {
      expect(answer).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/)
      expect(JSON.parse(answer.split('\r\n\r\n')[1]!)).toMatchObject({ ok: false, code: 'bad_request' })
    }
  })

  it('that do not read their answer are cut, and what waited for them is let go', async () => {
    const { http, port } = await listening({}, server => server.setTimeout(300))
    const { server } = http.app
    const cut = new Promise<Socket>(done => server.once('connection', each => each.once('close', () => done(each))))
    const socket = connect(port, '127.0.0.1')
    socket.pause()
    socket.on('error', () => {})
    socket.write(`GET /long HTTP/1.1\r\nHost: x\r\nX-API-Token: ${ADMIN}\r\n\r\n`)
    expect((await cut).destroyed).toBe(true)
    expect(await new Promise(done => server.getConnections((_, count) => done(count)))).toBe(0)
    socket.destroy()
  })
})

it('an answer that takes longer than a connection may stand still is waited for', async () => {
  const { port } = await listening({}, server => server.setTimeout(300))
  const request = `GET /late HTTP/1.1\r\nHost: x\r\nX-API-Token: ${ADMIN}\r\nConnection: close\r\n\r\n`
  expect(await ask(port, request)).toMatch(/^HTTP\/1\.1 200 .*late$/s)
})

it('the name localhost is one server, with all that is set at it', async () => {
  const http = await opened(openHttpApp('sqlite'), each => each.close())
  expect(await listen(http.app, { host: 'localhost', port: 0, portMayMove: false })).toMatch(/^http:\/\/127\.0\.0\.1:/)
  expect(http.app.addresses()).toHaveLength(1)
})

describe('many connections', () => {
  it('beyond the most are closed unread, which is logged once, and one that ends makes room', async () => {
    const { http, port } = await listening({ GMP_MAX_CONNECTIONS: '5' })
    const held = await Promise.all(Array.from({ length: 5 }, () => hold(port)))
    for (let i = 0; i < 3; i += 1) expect(await ask(port, health)).toBe('')
    expect(http.warnings).toEqual([
      '5 connections are open (GMP_MAX_CONNECTIONS): 1 were refused since this was last said',
    ])
    await http.clock.advance(60_000)
    expect(await ask(port, health)).toBe('')
    expect(http.warnings[1]).toContain(': 3 were refused')
    const over = new Promise(done => http.app.server.once('connection', done))
    held[0]!.socket.end()
    await held[0]!.closed
    expect(await ask(port, health)).toMatch(/^HTTP\/1\.1 200 /)
    await over
    for (const { socket } of held) socket.destroy()
  })
})

describe('requests a minute', () => {
  it('are counted by tenant, whichever key it uses, and over it the answer is 429 with the time to wait', async () => {
    const { http, port } = await listening({ GMP_REQUESTS_PER_MINUTE: '3' })
    const key = (tenant: string) =>
      rotateKey(http.temp.db, tenant, { now: http.clock.now(), expiresAt: null, overlapMs: 1000 })
    await http.addTenant('acme')
    await http.addTenant('other')
    const [first, second, other] = [await key('acme'), await key('acme'), await key('other')]
    const statusWith = async (token: string | null) => {
      const answer = await ask(
        port,
        health.replace('/health', '/status').replace('Host', `X-API-Token: ${token}\r\nHost`),
      )
      return [Number(answer.slice(9, 12)), /^retry-after: (\d+)\r$/m.exec(answer)?.[1]]
    }
    for (const token of [first, second, first]) expect(await statusWith(token)).toEqual([200, undefined])
    for (const token of [first, second]) expect(await statusWith(token)).toEqual([429, '20'])
    expect(await statusWith(other)).toEqual([200, undefined])
    await http.clock.advance(20_000)
    expect(await statusWith(second)).toEqual([200, undefined])
    expect(await statusWith(second)).toEqual([429, '20'])
  })
})

describe('every answer', () => {
  let port: number
  let http: HttpApp
  beforeAll(async () => {
    http = await openHttpApp('sqlite', { env: { GMP_MAX_BODY_MB: '1' }, routes: [...allRoutes, testRoutes] })
    await http.app.listen({ port: 0, host: '127.0.0.1' })
    port = (http.app.server.address() as AddressInfo).port
  })
  afterAll(() => http.close())

  const plain = (line: string, headers = '', body = '') =>
    `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Token: ${ADMIN}\r\n${headers}\r\n${body}`
  const sized = (size: number) => `Content-Length: ${size}\r\n`

  it.each([
    [200, 'an answer with data', plain('GET /status')],
    [200, 'a HEAD', plain('HEAD /health')],
    [200, 'the description', plain('GET /openapi.json')],
    [200, 'the page of the API', plain('GET /docs')],
    [200, 'a script of that page', plain('GET /docs/static/swagger-initializer.js')],
    [404, 'a file that the page has not', plain('GET /docs/static/none.js')],
    [200, 'the metrics', plain('GET /metrics')],
    [401, 'no token', health.replace('/health', '/status')],
    [404, 'no such path', plain('GET /nowhere')],
    [405, 'a wrong method', plain('DELETE /health')],
    [400, 'a path that cannot be decoded', plain('GET /%zz')],
    [400, 'no Host', `GET /health HTTP/1.1\r\nConnection: close\r\n\r\n`],
    [413, 'a body that is too large', plain('POST /echo', sized(2_000_000))],
    [415, 'a body that is not read', plain('POST /echo', `Content-Type: multipart/form-data\r\n${sized(1)}`, 'x')],
    [422, 'no JSON', plain('POST /echo', sized(1), '{')],
    [500, 'what was not expected', plain('GET /throws')],
    [417, 'an expectation of something else', plain('POST /echo', `Expect: magic\r\n${sized(1)}`, 'x')],
    [405, 'a tunnel', 'CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n'],
    [400, 'no HTTP', 'EHLO there\r\n\r\n'],
    [400, 'HTTP/2 without asking', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    [400, 'two lengths', plain('POST /echo', `${sized(1)}${sized(2)}`, 'xx')],
    [400, 'a length and chunks', plain('POST /echo', `${sized(5)}Transfer-Encoding: chunked\r\n`, '0\r\n\r\n')],
    [400, 'an encoding that is not there', plain('POST /echo', 'Transfer-Encoding: gzip\r\n', 'x')],
    [400, 'a line break in a header', plain('GET /health', 'X-A: a\rb\r\n')],
    [431, 'headers that are too long', plain('GET /health', `X-Long: ${'a'.repeat(20_000)}\r\n`)],
  ])('%i, %s: forbids sniffing, framing, caching and referring, and names no software', async (status, _, request) => {
    const [head = '', body = ''] = (await ask(port, request)).split(/\r\n\r\n([\s\S]*)/)
    const [line, ...fields] = head.split('\r\n')
    expect(line).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    const headers = Object.fromEntries(
      fields.map(each => [each.split(':')[0]!.toLowerCase(), each.slice(each.indexOf(':') + 2)]),
    )
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-store',
      'content-security-policy': expect.stringMatching(/^default-src 'none'; .*frame-ancestors 'none'$/),
    })
    expect(head).not.toMatch(/^(server|x-powered-by|via):|fastify|node|swagger|1\.2\.3/im)
    if (status < 400) return
    expect(JSON.parse(body)).toMatchObject({
      ok: false,
      error: expect.stringMatching(/^[^\n]{3,200}$/),
      code: expect.any(String),
    })
    expect(body).not.toMatch(/\bat .*\.[jt]s|on purpose|node_modules|FST_|HPE_/)
  })
})
