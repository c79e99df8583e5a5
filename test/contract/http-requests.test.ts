/** Paths, methods, bodies and limits: what every route has in common. */
import { IncomingMessage, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { Type } from 'typebox'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { DatabaseUnavailable } from '../../src/db/db.js'
import type { Routes } from '../../src/http/app.js'
import { messageCount, messagesOf } from '../../src/http/parse-body.js'
import { Line } from '../../src/http/schemas.js'
import { ADMIN, type HttpApp, openHttpApp } from '../support/http-app.js'

const seen: { sizes: number[]; ids: string[] } = { sizes: [], ids: [] }

const testRoutes: Routes = app => {
  app.post('/echo', { config: { access: 'any' } }, async ({ body }) => ({
    ok: true,
    body,
  }))
  app.post(
    '/typed',
    {
      config: { access: 'any' },
      schema: {
        body: Type.Object({
          n: Type.Optional(Type.Union([Type.Integer({ minimum: 0 }), Type.Null()])),
          b: Type.Optional(Type.Boolean()),
          s: Type.Optional(Type.String({ maxLength: 5 })),
          line: Type.Optional(Type.Union([Line(), Type.Null()])),
          exact: Type.Optional(
            Type.Object({ a: Type.Number({ exclusiveMinimum: -1 }) }, { additionalProperties: false }),
          ),
          kind: Type.Optional(Type.Union([Type.Literal('defer'), Type.Literal('error')])),
          needed: Type.Optional(Type.Object({ password: Type.String({ maxLength: 3 }) })),
        }),
      },
    },
    async ({ body }) => ({ ok: true, body }),
  )
  app.get('/throws', { config: { access: 'any' } }, async () => {
    throw new Error('the secret innards')
  })
  app.get('/away', { config: { access: 'any' } }, async () => {
    throw new DatabaseUnavailable('connect ECONNREFUSED 10.1.2.3')
  })
  app.post(
    '/many',
    {
      config: { access: 'any', manyMessages: true, submission: true },
      schema: { body: Type.Object({ messages: Type.Array(Type.Unknown()) }) },
    },
    async request => {
      seen.sizes = []
      seen.ids = []
      const messages = messagesOf(request)
      for await (const chunk of Symbol.asyncIterator in messages ? messages : [messages]) {
        seen.sizes.push(chunk.length)
        for (const message of chunk) seen.ids.push((message as { id: string }).id)
      }
      return { ok: true, count: messageCount(request), other: (request.body as { other?: string }).other }
    },
  )
  app.delete('/account/:account_id', { config: { access: 'any' } }, async () => ({ ok: true }))
}

let http: HttpApp
beforeAll(async () => {
  http = await openHttpApp('sqlite', { env: { GMP_MAX_BODY_MB: '6' }, routes: [testRoutes] })
})
afterAll(() => http.close())

describe('paths and methods', () => {
  it('an unknown path is 404 without a token', async () => {
    const answer = await http.call('GET', '/nowhere', { token: null })
    expect([answer.status, answer.body]).toEqual([
      404,
      { ok: false, error: 'Not Found', code: 'not_found', detail: 'Not Found' },
    ])
  })

  it('the body of an unknown path is not read: nobody was asked for a token', async () => {
    for (const body of ['{', '['.repeat(2_000_000)]) {
      expect(await http.call('POST', '/nowhere', { token: null, body })).toMatchObject({ status: 404 })
      expect(await http.call('PUT', '/many', { token: null, body })).toMatchObject({ status: 405 })
    }
  })

  it('a wrong method is 405 and names the right ones', async () => {
    const answer = await http.call('GET', '/many', { token: null })
    expect([answer.status, answer.body.detail, answer.body.code]).toEqual([
      405,
      'Method Not Allowed',
      'method_not_allowed',
    ])
    expect(answer.headers.allow).toBe('POST')
    expect((await http.call('OPTIONS', '/account/x')).status).toBe(405)
    expect((await http.call('PUT', '/throws')).headers.allow).toBe('GET, HEAD')
  })

  it('a trailing slash is ignored', async () => {
    expect((await http.call('POST', '/echo/', { body: {} })).status).toBe(200)
    expect((await http.call('GET', '/echo/')).status).toBe(405)
  })

  it('a path that cannot be decoded is 400 in our words', async () => {
    const answer = await http.call('DELETE', '/account/%zz')
    expect([answer.status, answer.body.ok, answer.body.code]).toEqual([400, false, 'bad_request'])
  })
})

describe('bodies', () => {
  const post = (body: string, type?: string) =>
    http.call('POST', '/echo', { body, headers: type === undefined ? {} : { 'content-type': type } })

  it.each([
    undefined,
    'application/json',
    'text/plain',
    'application/x-www-form-urlencoded',
    'nonsense',
    'a/b; charset=latin1',
  ])('JSON is read whatever it is called: %s', async type => {
    expect((await post('{"a":1}', type)).body.body).toEqual({ a: 1 })
  })

  it('multipart is not read', async () => {
    const answer = await post('{"a":1}', 'multipart/form-data; boundary=x')
    expect([answer.status, answer.body.code]).toEqual([415, 'unsupported_media_type'])
  })

  it.each(['', '   \n'])('an empty body is an empty object', async body => {
    expect((await post(body, 'application/json')).body.body).toEqual({})
  })

  it('no body at all is an empty object', async () => {
    expect((await http.call('POST', '/echo')).body.body).toEqual({})
  })

  it('what is no JSON is 422 as before, and nothing of it is repeated', async () => {
    const answer = await post('{"password": "hunter2" oops', 'application/json')
    expect([answer.status, answer.body.code]).toEqual([422, 'invalid_json'])
    expect(answer.body.detail[0]).toMatchObject({ type: 'json_invalid', msg: 'JSON decode error', input: {} })
    expect(answer.body.detail[0].loc[0]).toBe('body')
    expect(JSON.stringify(answer.body)).not.toContain('hunter2')
  })

  it('a __proto__ key is refused and not dropped in silence, small or large', async () => {
    for (const filler of ['', 'x'.repeat(1024 * 1024)]) {
      const body = `{"messages":[{"filler":"${filler}","headers":{"__proto__":"x"}}]}`
      expect((await http.call('POST', '/many', { body })).body).toMatchObject({
        code: 'invalid_json',
        error: 'The body has a key named __proto__',
      })
    }
  })

  it('raw line breaks in a content are refused with the same words, small or large', async () => {
    for (const base64 of ['QUJD', 'QUJD'.repeat(500_000)]) {
      const attachments = `[{"filename":"a","storage_path":"base64:QUJD\nQUJD${base64}"}]`
      const answer = await http.call('POST', '/many', { body: `{"messages":[{"attachments":${attachments}}]}` })
      expect([answer.status, answer.body]).toMatchObject([
        422,
        { code: 'invalid_json', error: expect.stringContaining('not valid JSON: line 1, column 73') },
      ])
    }
  })

  it('a compressed body is refused in words that say so', async () => {
    const gzip = { headers: { 'content-encoding': 'gzip' }, body: '\u001f\u008b' }
    expect(await http.call('POST', '/echo', gzip)).toMatchObject({
      status: 415,
      body: { code: 'unsupported_media_type', error: 'Content-Encoding is not supported: send the body as it is' },
    })
    const identity = { headers: { 'content-encoding': 'identity' }, body: {} }
    expect((await http.call('POST', '/echo', identity)).status).toBe(200)
  })

  it('deep nesting is refused, small or large', async () => {
    expect((await post(`${'['.repeat(100)}${']'.repeat(100)}`)).status).toBe(422)
    expect((await post('['.repeat(900_000))).status).toBe(422)
    const large = `{"messages":${'['.repeat(700_000)}${']'.repeat(700_000)}}`
    expect((await http.call('POST', '/many', { body: large })).status).toBe(422)
  })

  it('more values than can be read in one piece are refused before they are made', async () => {
    const body = `[${'{},'.repeat(400_000)}{}]`
    const answer = await http.call('POST', '/echo', { body })
    expect([answer.status, answer.body.error]).toEqual([422, 'The body has more than 100000 values'])
  })

  it('a body over the limit is 413 and names the limit', async () => {
    const answer = await http.call('POST', '/many', { body: `{"messages":[${' '.repeat(6 * 1024 * 1024)}]}` })
    expect([answer.status, answer.body.code, answer.body.error]).toEqual([
      413,
      'body_too_large',
      'The body is larger than 6 MB',
    ])
    const command = await http.call('POST', '/echo', { body: `{"a":"${'x'.repeat(4 * 1024 * 1024)}"}` })
    expect([command.status, command.body.error]).toEqual([413, 'The body is larger than 4 MB'])
  })

  it('messages of a small body come as they are', async () => {
    const messages = Array.from({ length: 3 }, (_, i) => ({ id: `m${i}` }))
    const answer = await http.call('POST', '/many', { body: { messages, other: 'x' } })
    expect(answer.body).toEqual({ ok: true, count: 3, other: 'x' })
    expect(seen).toEqual({ sizes: [3], ids: ['m0', 'm1', 'm2'] })
  })

  it('messages of a large body come in order, in chunks of at most 500, each small enough for the event loop', async () => {
    const messages = Array.from({ length: 1700 }, (_, i) => ({ id: `m${i}`, body: 'ü'.repeat(i < 1300 ? 500 : 5000) }))
    const answer = await http.call('POST', '/many', { body: { messages, other: 'x' } })
    expect(answer.body).toEqual({ ok: true, count: 1700, other: 'x' })
    expect(seen.ids).toEqual(messages.map(each => each.id))
    expect(Math.max(...seen.sizes)).toBe(500)
    expect(seen.sizes.length).toBeGreaterThan(6)
  })

  it('a large body that is no JSON is 422, also from the thread', async () => {
    const answer = await http.call('POST', '/many', { body: `{"messages":[${'1,'.repeat(800_000)}oops]}` })
    expect([answer.status, answer.body.code]).toEqual([422, 'invalid_json'])
  })

  it('a large body without messages is judged by the schema', async () => {
    const answer = await http.call('POST', '/many', { body: { messages: 'x'.repeat(1_500_000) } })
    expect([answer.status, answer.body.detail[0].type]).toEqual([422, 'list_type'])
  })

  it('large bodies at once all arrive', async () => {
    const body = { messages: Array.from({ length: 600 }, (_, i) => ({ id: `m${i}`, body: 'x'.repeat(3000) })) }
    const answers = await Promise.all(Array.from({ length: 5 }, () => http.call('POST', '/many', { body })))
    expect(answers.map(each => each.body.count)).toEqual([600, 600, 600, 600, 600])
  })
})

describe('fields', () => {
  const typed = (body: object) => http.call('POST', '/typed', { body })

  it('numeric strings are numbers, and the old booleans booleans', async () => {
    expect((await typed({ n: ' 587 ', b: 'YES' })).body.body).toEqual({ n: 587, b: true })
    expect((await typed({ n: '5.0', b: 1 })).body.body).toEqual({ n: 5, b: true })
    expect((await typed({ n: null, b: 'off' })).body.body).toEqual({ n: null, b: false })
    expect((await typed({ s: '587' })).body.body).toEqual({ s: '587' })
  })

  it('unknown fields are ignored', async () => {
    expect((await typed({ unknown: 1 })).status).toBe(200)
  })

  it.each([
    [{ n: 'x' }, { type: 'int_parsing', loc: ['body', 'n'], input: 'x' }],
    [{ n: 1.5 }, { type: 'int_from_float', loc: ['body', 'n'], input: 1.5 }],
    [
      { n: -1 },
      {
        type: 'greater_than_equal',
        loc: ['body', 'n'],
        msg: 'Input should be greater than or equal to 0',
        ctx: { ge: 0 },
      },
    ],
    [{ b: 'maybe' }, { type: 'bool_parsing', loc: ['body', 'b'] }],
    [{ s: 5 }, { type: 'string_type', loc: ['body', 's'], msg: 'Input should be a valid string', input: 5 }],
    [{ s: 'longer' }, { type: 'string_too_long', ctx: { max_length: 5 } }],
    [
      { kind: 'x' },
      { type: 'literal_error', msg: "Input should be 'defer' or 'error'", ctx: { expected: "'defer' or 'error'" } },
    ],
    [{ needed: {} }, { type: 'missing', loc: ['body', 'needed', 'password'], msg: 'Field required' }],
    [{ needed: [] }, { type: 'dict_type', loc: ['body', 'needed'] }],
    [{ s: 'a\0b' }, { type: 'value_error', loc: ['body', 's'] }],
    [{ s: 'a\ud800' }, { type: 'value_error', loc: ['body', 's'] }],
    [{ line: 'a\nb' }, { loc: ['body', 'line'], msg: 'must not contain control characters' }],
    [{ exact: { a: 0, b: 1 } }, { type: 'extra_forbidden', loc: ['body', 'exact', 'b'] }],
    [{ exact: { a: -1 } }, { type: 'greater_than', loc: ['body', 'exact', 'a'], ctx: { gt: -1 } }],
    [[], { type: 'dict_type', loc: ['body'] }],
  ])('%j is wrong as the predecessor said it', async (body, problem) => {
    const answer = await typed(body)
    expect([answer.status, answer.body.code, answer.body.detail.length]).toEqual([422, 'validation_failed', 1])
    expect(answer.body.detail[0]).toMatchObject(problem)
  })

  it('a secret that is wrong is not repeated', async () => {
    const answer = await typed({ needed: { password: 'hunter2' } })
    expect(answer.body.detail[0]).toMatchObject({ type: 'string_too_long', input: '***' })
  })
})

describe('failures', () => {
  it('what was not expected is 500 without its message, and logged once', async () => {
    const answer = await http.call('GET', '/throws')
    expect([answer.status, answer.body]).toEqual([
      500,
      { ok: false, error: 'Internal Server Error', code: 'internal_error', detail: 'Internal Server Error' },
    ])
    expect(http.errors.filter(line => line.includes('the secret innards'))).toHaveLength(1)
  })

  it('a database that is away is 503 with Retry-After, and one line in the log', async () => {
    const answers = await Promise.all([http.call('GET', '/away'), http.call('GET', '/away')])
    expect(answers.map(each => [each.status, each.body.code, each.headers['retry-after']])).toEqual([
      [503, 'database_unavailable', '5'],
      [503, 'database_unavailable', '5'],
    ])
    expect(JSON.stringify(answers.map(each => each.body))).not.toContain('10.1.2.3')
    expect(http.errors.filter(line => line.includes('10.1.2.3'))).toHaveLength(1)
  })

  it('submissions are refused while draining and when the disk is nearly full', async () => {
    http.process.draining = true
    const draining = await http.call('POST', '/many', { body: { messages: [] } })
    expect([draining.status, draining.body.code]).toEqual([503, 'draining'])
    expect((await http.call('POST', '/echo')).status).toBe(200)
    http.process.draining = false
    http.process.freeMb = 10
    const full = await http.call('POST', '/many', { body: { messages: [] } })
    expect([full.status, full.body.code]).toEqual([503, 'disk_full'])
    http.process.freeMb = null
  })
})

describe('on a socket', () => {
  let port: number
  beforeAll(async () => {
    await http.app.listen({ port: 0, host: '127.0.0.1' })
    port = (http.app.server.address() as AddressInfo).port
  })

  const raw = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(text))
      let answer = ''
      socket.on('data', data => {
        answer += data
      })
      socket.on('end', () => resolve(answer)).on('error', reject)
    })

  it('HTTP/1.1 without Host is refused as every other failure is; HTTP/1.0 needs none', async () => {
    const without = await raw(`POST /echo HTTP/1.1\r\nX-API-Token: ${ADMIN}\r\nConnection: close\r\n\r\n`)
    expect(without).toMatch(/^HTTP\/1\.1 400 /)
    expect(JSON.parse(without.split('\r\n\r\n')[1]!)).toMatchObject({
      code: 'bad_request',
      error: 'An HTTP/1.1 request needs a Host header',
    })
    expect(await raw(`GET /throws HTTP/1.0\r\n\r\n`)).toMatch(/^HTTP\/1\.1 401 /)
  })

  it('a client that asks first is answered before it sends its body', async () => {
    const outcome = await new Promise<string>((resolve, reject) => {
      const asking = request({
        port,
        method: 'POST',
        path: '/many',
        headers: { 'content-length': 5_000_000, expect: '100-continue' },
      })
      asking.on('continue', () => resolve('told to go on'))
      asking.on('response', response => {
        resolve(`${response.statusCode} ${response.headers.connection}`)
        response.resume()
        asking.destroy()
      })
      asking.on('error', reject)
      asking.flushHeaders()
    })
    expect(outcome).toBe('401 close')
  })

  it('a client that asks first and may is told to go on', async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = { expect: '100-continue', 'x-api-token': ADMIN }
      const asking = request({ port, method: 'POST', path: '/many', headers })
      asking.on('continue', () => asking.end('{"messages":[]}'))
      asking.on('response', response => {
        response.resume()
        resolve(response.statusCode)
      })
      asking.on('error', reject)
      asking.flushHeaders()
    })
    expect(status).toBe(200)
  })

  it('a body that is too large is answered even though it is not read', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/many`, {
      method: 'POST',
      headers: { 'x-api-token': ADMIN },
      body: Buffer.alloc(20 * 1024 * 1024, 32),
    })
    expect(answer.status).toBe(413)
  })

  it('of a large body a turn of the event loop reads a piece', async () => {
    let inTurn = 0
    let most = 0
    let now = performance.now()
    // Each look at it finds a share used up.
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 2))
    const { push } = IncomingMessage.prototype
    const pushed = vi.spyOn(IncomingMessage.prototype, 'push').mockImplementation(function (
      this: IncomingMessage,
      data,
    ) {
      if (inTurn === 0) setImmediate(() => (inTurn = 0))
      inTurn += data?.length ?? 0
      most = Math.max(most, inTurn)
      return push.call(this, data)
    })
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/many`, {
        method: 'POST',
        headers: { 'x-api-token': ADMIN },
        body: JSON.stringify({ messages: [{ id: 'x'.repeat(5_500_000) }] }),
      })
      expect(await answer.json()).toMatchObject({ count: 1 })
    } finally {
      pushed.mockRestore()
      clock.mockRestore()
    }
    expect(most).toBeGreaterThan(0)
    // That of the turn, the next one, whose turn it is not yet, and what comes while it waits. Left alone: 2 MB.
    expect(most).toBeLessThanOrEqual((256 + 256 + 128) * 1024)
  })

  it('a streamed body without a length is limited too', async () => {
    async function* blanks() {
      for (let i = 0; i < 200; i += 1) yield Buffer.alloc(65_536, 32)
    }
    const answer = await fetch(`http://127.0.0.1:${port}/many`, {
      method: 'POST',
      headers: { 'x-api-token': ADMIN },
      body: blanks() as unknown as ReadableStream,
      duplex: 'half',
    } as RequestInit)
    expect(answer.status).toBe(413)
  })
})
