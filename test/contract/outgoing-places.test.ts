/**
 * Each place where the service connects to what a tenant has set, but for the stores (stores-guard.test.ts): accounts, the
 * report endpoint, both ways to fetch an attachment, token endpoints. The sink stands for a service inside the operator's
 * network, and must hear nothing.
 */
import { createServer, isIP } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createHttpSource } from '../../src/attachments/http-source.js'
import { systemClock } from '../../src/lib/clock.js'
import { createNetworkGuard, type HostAddress, type NetworkGuard } from '../../src/lib/network-guard.js'
import { createTokenEndpoint } from '../../src/oauth/token-endpoint.js'
import { createPoster } from '../../src/reports/post.js'
import { type HttpSink, startHttpSink } from '../support/http-sink.js'
import { PRIVATE_HOSTS } from '../support/private-hosts.js'
import { sendOptions, testAccount, testTransport, textMail } from '../support/smtp-rig.js'

const signal = new AbortController().signal
const closing: (() => unknown)[] = []
let sink: HttpSink

beforeEach(async () => {
  // The connection ends with each answer, so that every request has to ask for the address anew.
  sink = await startHttpSink(() => ({ body: { ok: true, access_token: 'x' }, headers: { connection: 'close' } }))
  closing.push(() => sink.close())
})

afterEach(async () => {
  vi.unstubAllEnvs()
  for (const close of closing.splice(0).reverse()) await close()
})

/** What came of it, as text: an answer, or the words of a failure. */
type Place = (guard: NetworkGuard, url: URL) => Promise<string>

const words = (error: unknown) => [(error as Error).message, String((error as { code?: unknown }).code)].join(' ')

const places: Record<string, Place> = {
  async 'the report endpoint'(guard, url) {
    const poster = createPoster({ clock: systemClock, guard, timeoutMs: 5_000 })
    closing.push(() => poster.close())
    const endpoint = { url, authorization: 'Bearer secret', trusted: false }
    const result = await poster.post({ endpoint, id: 'x', body: '{}', signingSecrets: [], traceparent: null }, signal)
    return result.answered ? `${result.status}` : result.cause
  },
  async 'a URL of an attachment'(guard, url) {
    const source = createHttpSource(guard, 5_000)
    closing.push(() => source.close())
    return source.get(url, [], { authorization: 'Bearer secret' }, signal).then(async ({ body }) => {
      await buffer(body)
      return '200'
    }, words)
  },
  async 'the attachment endpoint'(guard, url) {
    const source = createHttpSource(guard, 5_000)
    closing.push(() => source.close())
    return source.ask({ url, authorization: 'Bearer secret', trusted: false }, 'a', signal).then(async ({ body }) => {
      await buffer(body)
      return '200'
    }, words)
  },
  async 'a token endpoint'(guard, url) {
    const endpoint = createTokenEndpoint({ clock: systemClock, guard, timeoutMs: 5_000 })
    closing.push(() => endpoint.close())
    const client = { clientId: 'a', clientSecret: 'secret', refreshToken: null, scope: null } as const
    const how = { grantType: 'client_credentials', clientAuthMethod: 'client_secret_post', trusted: false } as const
    const answer = await endpoint.ask({ tokenUrl: url.href, ...client, ...how })
    return answer.ok ? '200' : answer.words
  },
}
const httpPlaces = Object.entries(places)

const smtp: Place = async (guard, url) => {
  const transport = testTransport({ connectTimeoutMs: 5_000, commandTimeoutMs: 500 }, { guard })
  closing.push(() => transport.close())
  const account = testAccount(
    { host: decodeURIComponent(url.hostname), port: Number(url.port) },
    { hostTrusted: false },
  )
  const envelope = { from: 'a@x.test', to: ['b@y.test'] }
  return transport.send(account, envelope, textMail(), sendOptions()).then(() => '200', words)
}
const all: [string, Place][] = [...httpPlaces, ['an account', smtp]]

const strict = createNetworkGuard({ allowPrivate: false, allowed: [] })
const REFUSED = /no address this service may connect to|ERR_HOST_NOT_ALLOWED|cannot be resolved|ENOTFOUND/

/** A guard for which names resolve as told, one list a time, and to nothing else; an address is itself. */
function resolving(...answers: string[][]) {
  const asked: string[] = []
  const guard = createNetworkGuard({ allowPrivate: false, allowed: ['127.0.0.1'] }, async host => {
    const answer = isIP(host) !== 0 ? [host] : answers[Math.min(asked.push(host), answers.length) - 1]!
    return answer.map((address): HostAddress => ({ address, family: address.includes(':') ? 6 : 4 }))
  })
  return { guard, asked }
}

/** Counts who connects to another address of this machine, at the port of the sink. */
async function listenBeside(host: string): Promise<() => number> {
  let connections = 0
  const server = createServer(socket => {
    connections += 1
    socket.destroy()
  })
  await new Promise<void>((done, failed) => server.once('error', failed).listen(sink.port, host, done))
  closing.push(() => new Promise(done => server.close(done)))
  return () => connections
}

describe.each(all)('%s of a tenant', (_, place) => {
  test.each(PRIVATE_HOSTS)('nothing is sent to %s', async host => {
    expect(await place(strict, new URL(`http://${host}:${sink.port}/`))).toMatch(REFUSED)
    expect(sink.connections()).toBe(0)
  })

  test('a name that is public first and private then is connected to as it was judged, and judged anew', async () => {
    const { guard, asked } = resolving(['127.0.0.1'], ['169.254.169.254'])
    const url = new URL(`http://rebind.invalid:${sink.port}/`)
    await place(guard, url)
    // The operating system knows no such name: what was connected to is what the guard had.
    expect([asked, sink.connections()]).toEqual([['rebind.invalid'], 1])
    expect(await place(guard, url)).toMatch(REFUSED)
    expect(sink.connections()).toBe(1)
  })

  test('of the addresses of a name only those that may be are connected to', async () => {
    const beside = await listenBeside('127.0.0.2')
    const { guard } = resolving(['127.0.0.2', '::1', '10.0.0.1', '127.0.0.1'])
    await place(guard, new URL(`http://mixed.invalid:${sink.port}/`))
    expect([beside(), sink.connections()]).toEqual([0, 1])
    expect(await place(resolving(['127.0.0.2', '::1']).guard, new URL(`http://mixed.invalid:${sink.port}/`))).toMatch(
      REFUSED,
    )
    expect([beside(), sink.connections()]).toEqual([0, 1])
  })
})

describe.each(httpPlaces)('%s of a tenant over HTTP', (name, place) => {
  test('a redirect leads to nothing inside, and takes no credentials elsewhere', async () => {
    const beside = await listenBeside('127.0.0.2')
    const other = await startHttpSink()
    closing.push(() => other.close())
    const { guard } = resolving(['127.0.0.1'])
    for (const [i, location] of [`http://127.0.0.2:${sink.port}/`, other.url].entries()) {
      sink.answer(() => ({ status: i === 0 ? 307 : 302, headers: { location, connection: 'close' } }))
      await place(guard, new URL(`http://moved.invalid:${sink.port}/`))
    }
    expect([sink.requests.length, beside()]).toEqual([2, 0])
    // A URL is followed to where it may lead, the other places answer for themselves.
    const followed = name === 'a URL of an attachment' ? 1 : 0
    expect(other.requests.map(({ headers, body }) => [headers.authorization, body])).toEqual(
      Array(followed).fill([undefined, '']),
    )
  })

  test('a proxy of the environment is not a way around', async () => {
    for (const variable of ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy', 'ALL_PROXY']) {
      vi.stubEnv(variable, sink.url)
    }
    vi.stubEnv('NODE_USE_ENV_PROXY', '1')
    for (const scheme of ['http', 'https']) {
      expect(await place(strict, new URL(`${scheme}://169.254.169.254/`))).toMatch(REFUSED)
    }
    expect(sink.connections()).toBe(0)
  })
})
