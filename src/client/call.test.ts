/** What the client does when an answer is late, missing, refused or not the service's; over real sockets. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type HttpSink, type SinkAnswer, startHttpSink } from '../../test/support/http-sink.js'
import { type ClientOptions, createClient, MailProxyError } from './index.js'

const FAST = { attempts: 3, firstDelayMs: 1, maxDelayMs: 2000 }
const failure = (status: number, code: string, more: object = {}): SinkAnswer => ({
  status,
  body: { ok: false, error: 'No', code, detail: 'No', ...more },
})

describe('a call', () => {
  let sink: HttpSink
  beforeEach(async () => {
    sink = await startHttpSink()
  })
  afterEach(() => sink.close())

  const clientOf = (options: Partial<ClientOptions> = {}) =>
    createClient({ url: `${sink.url}/mail/`, token: 'the-token', retry: FAST, ...options })
  /** Answers these in turn, then the last for ever. */
  const answers = (...given: SinkAnswer[]) => sink.answer((_, i) => given[Math.min(i, given.length - 1)]!)
  const failed = (work: Promise<unknown>): Promise<MailProxyError> =>
    work.then(
      () => expect.fail('it did not fail'),
      error => error,
    )

  it.each([{ error: { toString: 1 }, code: { toString: 1 } }, { error: ['x'], code: 7 }, { code: '' }, [1, 2], 'text'])(
    'an answer that is not the service’s is told as that: %j',
    async body => {
      answers({ status: 400, body: JSON.stringify(body) })
      const error = await failed(clientOf().listAccounts())
      expect(error).toBeInstanceOf(MailProxyError)
      expect(error).toMatchObject({ code: 'unexpected_answer', status: 400 })
    },
  )

  it('sends the token in a header, below the path of the url', async () => {
    answers({ body: { ok: true, active: true } })
    await clientOf({ tenantId: 'acme' }).status()
    expect(sink.requests[0]).toMatchObject({ method: 'GET', path: '/mail/status?tenant_id=acme' })
    expect(sink.requests[0]!.headers['x-api-token']).toBe('the-token')
  })

  it.each([
    ['429 too_many_requests', failure(429, 'too_many_requests')],
    ['503 draining', failure(503, 'draining')],
    [
      '502 of a proxy before it',
      { status: 502, headers: { 'content-type': 'text/html' }, body: '<h1>Bad Gateway</h1>' },
    ],
    ['a reset connection', { close: true }],
  ])('is repeated after %s', async (_, trouble) => {
    answers(trouble, trouble, { body: { ok: true, accounts: [] } })
    expect(await clientOf().listAccounts()).toEqual([])
    expect(sink.requests).toHaveLength(3)
  })

  it('gives up after the attempts that were asked for, with what the last answer said', async () => {
    answers({ ...failure(503, 'disk_full', { details: { free: 1 } }), headers: { 'retry-after': '1' } })
    const error = await failed(clientOf({ retry: { attempts: 2, firstDelayMs: 1 } }).runNow())
    expect(error).toBeInstanceOf(MailProxyError)
    expect(error).toMatchObject({ code: 'disk_full', status: 503, detail: 'No', details: { free: 1 }, retryAfter: 1 })
    expect(error.message).toBe('POST /commands/run-now: 503 No')
    expect(sink.requests).toHaveLength(2)
  })

  it('waits as long as the service asks for, and throws at once when that is too long', async () => {
    answers({ ...failure(429, 'too_many_requests'), headers: { 'retry-after': '1' } }, { body: { ok: true } })
    const from = performance.now()
    await clientOf().runNow()
    expect(performance.now() - from).toBeGreaterThan(950)
    answers({ ...failure(503, 'draining'), headers: { 'retry-after': '60' } })
    expect(await failed(clientOf().runNow())).toMatchObject({ retryAfter: 60 })
    expect(sink.requests).toHaveLength(3)
  })

  it.each([
    ['releaseMessage', (client: ReturnType<typeof clientOf>) => client.releaseMessage('m1')],
    ['addRule', (client: ReturnType<typeof clientOf>) => client.addRule({})],
    ['createApiKey', (client: ReturnType<typeof clientOf>) => client.createApiKey('acme')],
    ['saveTenant', (client: ReturnType<typeof clientOf>) => client.saveTenant({ id: 'acme' })],
  ])('%s is not repeated when nobody knows whether it was done, but is after a 429', async (_, run) => {
    answers({ close: true })
    expect(await failed(run(clientOf()))).toMatchObject({ code: 'unreachable', status: null })
    expect(sink.requests).toHaveLength(1)
    answers(failure(429, 'too_many_requests'))
    expect(await failed(run(clientOf()))).toMatchObject({ status: 429 })
    expect(sink.requests).toHaveLength(4)
  })

  it.each([400, 401, 403, 404, 422, 500])('is not repeated after %i', async status => {
    answers(failure(status, 'some_code'))
    expect(await failed(clientOf().status())).toMatchObject({ code: 'some_code', status })
    expect(sink.requests).toHaveLength(1)
  })

  it('is not repeated with retry: false', async () => {
    answers(failure(503, 'draining'))
    await failed(clientOf({ retry: false }).status())
    expect(sink.requests).toHaveLength(1)
  })

  it('ends with timeout when no answer comes, or one that does not end', async () => {
    for (const hang of ['headers', 'body'] as const) {
      answers({ hang })
      const error = await failed(clientOf({ timeoutMs: 80, retry: false }).status())
      expect(error).toMatchObject({ code: 'timeout', status: null })
    }
  })

  it('says what cannot be reached, and why', async () => {
    await sink.close()
    const error = await failed(clientOf({ retry: false }).status())
    expect(error.code).toBe('unreachable')
    expect(error.message).toMatch(/^GET \/status: http:\/\/127\.0\.0\.1:\d+\/mail cannot be reached: .*ECONNREFUSED/)
    expect(error.message).not.toContain('the-token')
  })

  it('throws the reason of the signal, also while it waits to repeat', async () => {
    const abort = new AbortController()
    answers({ hang: 'headers' })
    const hanging = failed(clientOf().status({ signal: abort.signal }))
    await sink.waitFor(1)
    abort.abort(new Error('changed my mind'))
    expect((await hanging).message).toBe('changed my mind')

    const again = new AbortController()
    answers({ ...failure(429, 'too_many_requests'), headers: { 'retry-after': '2' } })
    const waiting = failed(clientOf().status({ signal: again.signal }))
    await sink.waitFor(2)
    setImmediate(() => again.abort(new Error('enough')))
    expect((await waiting).message).toBe('enough')
  })

  it('does not follow a redirect, which would give the token away', async () => {
    const elsewhere = await startHttpSink()
    answers({ status: 307, headers: { location: `${elsewhere.url}/status` } })
    const error = await failed(clientOf().status())
    expect(error).toMatchObject({ code: 'unexpected_answer', status: 307 })
    expect(error.message).toContain(elsewhere.url)
    expect(elsewhere.connections()).toBe(0)
    await elsewhere.close()
  })

  it('does not take another server’s answer for the service’s', async () => {
    answers({ headers: { 'content-type': 'text/html' }, body: '<h1>Welcome</h1>' })
    expect(await failed(clientOf().status())).toMatchObject({ code: 'unexpected_answer', status: 200 })
  })

  it('does not read an answer without an end until the memory is full', async () => {
    const block = Buffer.alloc(4 * 1024 * 1024, 'x')
    let sent = 0
    const server = createServer((_, response) => {
      const more = () => {
        while (!response.destroyed) {
          sent += block.length
          if (!response.write(block)) return void response.once('drain', more)
        }
      }
      response.writeHead(200, { 'content-type': 'application/json' })
      more()
    })
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const closed = new Promise(done => server.once('connection', socket => socket.once('close', done)))
    expect(await failed(clientOf({ url: `http://127.0.0.1:${port}` }).status())).toMatchObject({
      code: 'unexpected_answer',
      status: 200,
    })
    await closed
    expect(sent).toBeLessThan(200 * 1024 * 1024)
    await new Promise(done => server.close(done))
  })

  it('tells why the service is not ready, without waiting for it', async () => {
    answers(failure(503, 'not_ready', { details: { problems: ['stopping'] } }))
    expect(await clientOf().ready()).toEqual({ ready: false, problems: ['stopping'] })
    expect(sink.requests).toHaveLength(1)
  })

  it.each(['', 'localhost:8000', 'ftp://host', 'http://user:secret@host', 'http://host?x=1'])(
    'is refused for the url %j before anything is asked',
    url => {
      expect(() => clientOf({ url })).toThrow(TypeError)
    },
  )

  it.each(['', 'two\nlines', 'a-line-end\n', 'with blank', 'größe', undefined])(
    'is refused for the token %j, without repeating it',
    token => {
      let said = ''
      try {
        clientOf({ token: token as string })
      } catch (error) {
        said = (error as Error).message
      }
      expect(said).toMatch(/^createClient: token is missing, or/)
      if (token) expect(said).not.toContain(token.trim())
    },
  )

  it('ends also where an option of the repeats is there and undefined', async () => {
    answers(failure(503, 'draining'))
    await failed(clientOf({ retry: { attempts: undefined, firstDelayMs: 1, maxDelayMs: undefined } }).status())
    expect(sink.requests).toHaveLength(4)
  })
})
