/** Whatever a client sends, over real sockets: a clear refusal of the documented shape, and the service goes on. */
import { request } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ADMIN_TOKEN, startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many, tenant } from '../support/story.js'

let service: TestService
let sink: SmtpSink
let key: string

beforeAll(async () => {
  service = await startTestService()
  sink = await startSink()
  key = await tenant(service, 'acme', null)
  await service.account(sink)
})
afterAll(async () => {
  await service.stop()
  await sink.close()
})

const JSON_TYPE = { 'Content-Type': 'application/json' }

/** A body as it is, under any type. */
async function post(path: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = JSON_TYPE) {
  const response = await fetch(`${service.url}${path}`, {
    method: 'POST',
    headers: { 'X-API-Token': ADMIN_TOKEN, ...headers },
    body,
  })
  return { status: response.status, body: (await response.json()) as any }
}

/** The documented failure: one sentence on one line, a code, the old detail, no stack and no secret. */
function expectFailure({ status, body }: { status: number; body: any }, wanted: number, code: string): void {
  expect([status, body.code]).toEqual([wanted, code])
  expect(body).toMatchObject({ ok: false, error: expect.stringMatching(/^[^\n]{3,300}$/) })
  expect(body.detail).toBeDefined()
  const text = JSON.stringify(body)
  expect(text).not.toMatch(/\bat .*\.[jt]s:\d+|node_modules|\/work\//)
  expect(text).not.toContain(ADMIN_TOKEN)
}

it('wrong JSON is 422 with its position, whatever the content type', async () => {
  for (const headers of [
    JSON_TYPE,
    { 'Content-Type': 'text/plain' },
    { 'Content-Type': 'application/x-www-form-urlencoded' },
  ]) {
    const answer = await post('/commands/add-messages', '{"messages": [}', headers)
    expectFailure(answer, 422, 'invalid_json')
    expect(answer.body.detail[0]).toMatchObject({ type: 'json_invalid', loc: ['body', expect.any(Number)] })
  }
  for (const body of ['{"messages": []', 'messages=1', '\u0000', '{"a": NaN}']) {
    expectFailure(await post('/commands/add-messages', body), 422, 'invalid_json')
  }
  expectFailure(
    await post('/commands/add-messages', new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])),
    422,
    'invalid_json',
  )
})

it('wrong types and an array for an object are 422 in the shape of old', async () => {
  const wrong = await post('/commands/add-messages', '{"messages": "none"}')
  expectFailure(wrong, 422, 'validation_failed')
  expect(wrong.body.detail).toEqual([
    expect.objectContaining({ type: 'list_type', loc: ['body', 'messages'], msg: 'Input should be a valid list' }),
  ])
  for (const body of ['[]', '"text"', '12', 'null', '[{"id": "m1"}]'])
    expectFailure(await post('/commands/add-messages', body), 422, 'validation_failed')
  const account = await post(
    '/account',
    '{"id": "a b", "host": 5, "port": "http", "password": {"secret": "hidden-one"}}',
  )
  expectFailure(account, 422, 'validation_failed')
  expect(account.body.detail.map((each: { loc: unknown[] }) => each.loc.at(-1)).sort()).toEqual([
    'host',
    'id',
    'password',
    'port',
  ])
  expect(JSON.stringify(account.body)).not.toContain('hidden-one')
  expectFailure(await service.call('GET', '/messages?limit=many'), 422, 'validation_failed')
})

it('an empty body is an empty object', async () => {
  const missing = await post('/commands/add-messages', '')
  expectFailure(missing, 422, 'validation_failed')
  expect(missing.body.detail).toEqual([
    expect.objectContaining({ type: 'missing', loc: ['body', 'messages'], msg: 'Field required' }),
  ])
  expect((await post('/commands/run-now', '')).status).toBe(200)
  expect((await service.call('POST', '/commands/cleanup-messages')).status).toBe(200)
})

it('multipart is refused before it is read', async () => {
  const form = new FormData()
  form.set('messages', 'x')
  const response = await fetch(`${service.url}/commands/add-messages`, {
    method: 'POST',
    headers: { 'X-API-Token': ADMIN_TOKEN },
    body: form,
  })
  expectFailure({ status: response.status, body: await response.json() }, 415, 'unsupported_media_type')
})

it('a single bad message does not fail its neighbours, and says what is wrong with it', async () => {
  const good = { from: 'a@example.com', to: 'b@example.net', subject: 's' }
  const answer = await post(
    '/commands/add-messages',
    JSON.stringify({
      messages: [
        { id: 'ok1', tenant_id: 'default', ...good },
        { id: 'no-from', tenant_id: 'default', to: 'b@example.net', subject: 's' },
        { id: 'inject', tenant_id: 'default', ...good, subject: 'a\r\nBcc: victim@example.net' },
        { id: 'inject2', tenant_id: 'default', ...good, to: 'b@example.net\r\nDATA' },
        null,
        [],
        'text',
        { tenant_id: 'default', ...good },
        { id: 'ok2', tenant_id: 'default', ...good },
      ],
    }),
  )
  expect([answer.status, answer.body.queued, answer.body.rejected.length]).toEqual([200, 2, 7])
  for (const rejection of answer.body.rejected) {
    expect(rejection.reason).toMatch(/^[^\r\n]{3,200}$/)
    expect(rejection.code).toMatch(/^[a-z_]+$/)
  }
  expect(answer.body.rejected[0]).toMatchObject({ id: 'no-from', reason: 'missing from' })
  await sink.waitFor(2)
  expect(sink.messages.flatMap(each => each.to)).toEqual(['b@example.net', 'b@example.net'])
  expect(sink.messages.map(({ raw }) => raw.toString()).join()).not.toContain('victim')
})

it('10,001 messages are refused as a whole, 10,000 are not too many', async () => {
  const tooMany = await post('/commands/add-messages', JSON.stringify({ messages: many(10_001, 'm') }))
  expectFailure(tooMany, 400, 'bad_request')
  expect(tooMany.body.detail).toEqual({ error: 'Cannot enqueue more than 10000 messages at once', rejected: null })
  const rejected = await post('/commands/add-messages', JSON.stringify({ messages: many(10_000, 'm') }))
  expect([rejected.status, rejected.body.rejected.length]).toEqual([400, 10_000])
  expect(rejected.body.detail.error).toBeNull()
}, 60_000)

it.each([true, false])(
  'a body of 100 MB is 413 without being kept in memory (length declared: %s)',
  async declared => {
    const before = process.memoryUsage().rss
    let most = before
    const chunk = Buffer.alloc(256 * 1024, 0x20)
    const answer = await new Promise<{ status: number; body: any }>((resolve, reject) => {
      const sending = request(`${service.url}/commands/add-messages`, {
        method: 'POST',
        headers: {
          'X-API-Token': ADMIN_TOKEN,
          ...JSON_TYPE,
          ...(declared ? { 'Content-Length': String(100 * 1024 * 1024) } : {}),
        },
      })
      let sent = 0
      let answered = false
      sending.on('response', async response => {
        answered = true
        const parts: Buffer[] = []
        for await (const part of response) parts.push(part as Buffer)
        resolve({ status: response.statusCode!, body: JSON.parse(Buffer.concat(parts).toString()) })
        sending.destroy()
      })
      sending.on('error', error => {
        if (!answered) reject(error)
      })
      const pour = () => {
        while (!answered && sent < 400) {
          sent += 1
          most = Math.max(most, process.memoryUsage().rss)
          if (!sending.write(chunk)) return void sending.once('drain', pour)
        }
      }
      pour()
    })
    expectFailure(answer, 413, 'body_too_large')
    // Undeclared it is read as far as the 50 MB that are allowed, and let go.
    expect((most - before) / 1024 / 1024).toBeLessThan(declared ? 40 : 130)
    expect((await service.call('GET', '/health')).status).toBe(200)
  },
  60_000,
)

it('a command other than add-messages may have 4 MB at most', async () => {
  expectFailure(await post('/commands/run-now', `{"a": "${'x'.repeat(5 * 1024 * 1024)}"}`), 413, 'body_too_large')
})

it('unknown paths are 404, wrong methods 405 with Allow, in the words of old', async () => {
  expectFailure(await service.call('GET', '/nowhere'), 404, 'not_found')
  expect((await service.call('GET', '/nowhere')).body.detail).toBe('Not Found')
  expectFailure(await service.call('GET', '/%c0%ae%c0%ae/etc/passwd'), 400, 'bad_request')
  expectFailure(await service.call('DELETE', '/health'), 405, 'method_not_allowed')
  const response = await fetch(`${service.url}/commands/add-messages`, { headers: { 'X-API-Token': ADMIN_TOKEN } })
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST'])
  expect(((await response.json()) as { detail: string }).detail).toBe('Method Not Allowed')
})

it('what is no HTTP and headers without end get one line and no stack', async () => {
  const raw = (bytes: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(service.url).port), '127.0.0.1', () => socket.write(bytes))
      let text = ''
      socket.on('data', data => {
        text += data.toString()
      })
      socket.on('close', () => resolve(text)).on('error', error => (text === '' ? reject(error) : resolve(text)))
    })
  for (const [bytes, status] of [
    ['EHLO there\r\n\r\n', 400],
    [`GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
    [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
    ['POST /account HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  ] as const) {
    const answer = await raw(bytes)
    expect(answer.split('\r\n')[0]).toContain(` ${status} `)
    expectFailure({ status, body: JSON.parse(answer.split('\r\n\r\n')[1]!) }, status, 'bad_request')
  }
})

it('tokens: none, unknown, foreign and insufficient are told apart as of old', async () => {
  const detail = async (method: string, path: string, token: string) => {
    const { status, body } = await service.call(method, path, method === 'GET' ? undefined : {}, token)
    return [status, body.detail]
  }
  expect(await detail('GET', '/status', '')).toEqual([401, 'Invalid or missing API token'])
  expect(await detail('GET', '/tenants', '')).toEqual([401, 'Admin token required'])
  expect(await detail('GET', '/tenants', 'wrong')).toEqual([401, 'Invalid or missing API token'])
  expect(await detail('GET', '/tenants', key)).toEqual([
    403,
    'Admin token required, tenant tokens not allowed for this operation',
  ])
  expect(await detail('GET', '/messages?tenant_id=default', key)).toEqual([401, 'Token not authorized for this tenant'])
  expect(await detail('GET', '/messages?tenant_id=nobody', key)).toEqual([401, 'Token not authorized for this tenant'])
  expect(await detail('GET', '/tenant/nobody', ADMIN_TOKEN)).toEqual([404, "Tenant 'nobody' not found"])
})

it("an old client's requests work as they are: bare lists, numbers as text, yes and no, curl's form type", async () => {
  const before = sink.accepted
  const account = {
    id: 'old',
    tenant_id: 'acme',
    host: '127.0.0.1',
    port: String(sink.port),
    use_tls: 'no',
    ttl: '300',
    is_pec_account: 0,
    some_old_field: 1,
  }
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
  expect(await post('/account', JSON.stringify(account), form)).toEqual({ status: 200, body: { ok: true } })
  const answer = await post(
    '/commands/add-messages',
    JSON.stringify({
      messages: [
        {
          id: 'old-1',
          tenant_id: 'acme',
          account_id: 'old',
          from_addr: 'Old Client <old@example.com>',
          to: 'one@example.net, "Two, Jr." <two@example.net>',
          cc: ['three@example.net'],
          subject: 'Hello',
          content_type: 'text/html',
          body: '<b>hi</b>',
          priority: 'high',
          deferred_ts: String(Math.floor(Date.now() / 1000) - 5),
          headers: { 'X-Custom': 7, 'X-None': null },
        },
      ],
      default_priority: 'low',
    }),
    form,
  )
  expect(answer).toEqual({ status: 200, body: { ok: true, queued: 1, rejected: [] } })
  await sink.waitFor(before + 1)
  const { to, from, raw } = sink.messages.at(-1)!
  expect([from, to]).toEqual(['old@example.com', ['one@example.net', 'two@example.net', 'three@example.net']])
  expect(raw.toString()).toMatch(/^X-Custom: 7\r$/m)
  expect(raw.toString()).not.toContain('X-None')
  const again = await post(
    '/commands/add-messages',
    JSON.stringify({
      messages: [
        { id: 'old-1', tenant_id: 'acme', account_id: 'old', from: 'a@example.com', to: 'b@example.net', subject: 's' },
      ],
    }),
  )
  expect([again.status, again.body.ok, again.body.rejected[0].reason]).toEqual([200, true, 'already sent'])
  const unknown = await post(
    '/commands/add-messages',
    JSON.stringify({
      messages: [
        { id: 'x', tenant_id: 'acme', account_id: 'none', from: 'a@example.com', to: 'b@example.net', subject: 's' },
      ],
    }),
  )
  expect([unknown.status, unknown.body.detail.rejected[0]]).toMatchObject([
    400,
    { id: 'x', reason: "account not found for tenant: 'none'" },
  ])
  expect((await service.call('GET', '/accounts?tenant_id=')).body.detail).toBe('tenant_id is required')
  expect((await service.call('DELETE', '/account/none?tenant_id=acme')).body.detail).toBe(
    'account not found or not owned by tenant',
  )
  expect((await service.call('POST', '/commands/suspend?tenant_id=nobody')).body.detail).toBe('tenant not found')
  expect((await service.call('PATCH', '/commands/rules/99', { enabled: 'true' })).body).toEqual({ ok: true, rules: [] })
})

it('none of this was an internal error', () => {
  expect(service.logs.filter(line => line.startsWith('ERROR'))).toEqual([])
})
