/** Values that one database takes and the other refuses: both answer 422, wherever the value stands. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('values on %s', dialect => {
  let http: HttpApp
  let acme: string
  beforeAll(async () => {
    http = await openHttpApp(dialect)
    acme = await http.addTenant('acme')
  })
  afterAll(() => http.close())

  it.each([1e30, 2 ** 63, -1e30, '9223372036854775807'])(
    'clean-up of what is older than %s seconds is refused',
    async seconds => {
      const answer = await http.call('POST', '/commands/cleanup-messages', { body: { older_than_seconds: seconds } })
      expect([answer.status, answer.body.detail?.[0]?.loc]).toEqual([422, ['body', 'older_than_seconds']])
    },
  )

  it('the oldest age that is taken works', async () => {
    const answer = await http.call('POST', '/commands/cleanup-messages', { body: { older_than_seconds: 1e10 } })
    expect(answer.body).toEqual({ ok: true, removed: 0 })
  })

  it.each(['host', 'user', 'password', 'imap_host', 'imap_user', 'imap_password', 'tenant_id'])(
    'half of a surrogate pair in an account’s %s is refused',
    async field => {
      const answer = await http.call('POST', '/account', { body: { id: 'a', host: 'h', [field]: 'a\ud800' } })
      expect([answer.status, answer.body.detail?.[0]?.loc]).toEqual([422, ['body', field]])
    },
  )

  it.each(['name', 'attachment_root', 'client_base_url', 'client_sync_path', 'client_auth.token'])(
    'half of a surrogate pair in a tenant’s %s is refused',
    async field => {
      const [outer, inner] = field.split('.') as [string, string?]
      const value = inner === undefined ? '/\udc00' : { method: 'bearer', [inner]: '/\udc00' }
      const answer = await http.call('PUT', '/tenant/acme', { body: { [outer]: value } })
      expect([answer.status, answer.body.detail?.[0]?.loc]).toEqual([422, ['body', ...field.split('.')]])
    },
  )

  it('half of a surrogate pair is refused in rules, pauses, batch codes, ids and the name of the instance', async () => {
    await http.call('POST', '/account', { token: acme, body: { id: 'main', host: 'h' } })
    for (const [method, url, body] of [
      ['POST', '/commands/rules', { name: '\ud800' }],
      ['POST', '/commands/rules', { account_id: '\ud800' }],
      ['POST', '/account/main/pause', { reason: '\ud800' }],
      ['POST', '/commands/suspend', { tenant_id: 'acme', batch_code: '\ud800' }],
      ['POST', '/commands/delete-messages', { ids: ['fine', '\ud800'] }],
      ['POST', '/commands/add-messages', { tenant_id: '\ud800', messages: [] }],
      ['PUT', '/instance', { name: '\ud800' }],
    ] as const) {
      expect((await http.call(method, url, { body })).status, `${method} ${url} ${JSON.stringify(body)}`).toBe(422)
    }
  })

  it('a batch code to suspend follows the rules of messages', async () => {
    for (const command of ['suspend', 'activate']) {
      for (const code of ['a\nb', 'a\u0085b', 'x'.repeat(65)]) {
        const body = { tenant_id: 'acme', batch_code: code }
        expect((await http.call('POST', `/commands/${command}`, { body })).status, JSON.stringify(code)).toBe(422)
      }
    }
  })

  it('control characters are refused in the words of messages', async () => {
    for (const [url, field, body] of [
      ['/account', 'user', { id: 'a', host: 'h', user: 'a\u0001' }],
      ['/tenant', 'name', { id: 'a', name: 'a\tb' }],
      ['/commands/rules', 'name', { name: 'a\u009fb' }],
      ['/account/main/pause', 'reason', { reason: 'a\nb' }],
    ] as const) {
      const answer = await http.call('POST', url, { body })
      expect([answer.status, answer.body.error]).toEqual([422, `${field}: must not contain control characters`])
    }
  })

  it.each(['.', '..'])('%s is no id', async id => {
    for (const [url, body] of [
      ['/tenant', { id }],
      ['/account', { id, host: 'h' }],
    ] as const) {
      const answer = await http.call('POST', url, { body })
      expect([answer.status, answer.body.error]).toEqual([422, 'id: Input should be 1 to 64 of A-Z a-z 0-9 _ . -'])
    }
    expect((await http.call('POST', '/tenant', { body: { id: `${id}x` } })).status).toBe(200)
  })

  it('every number that a request may bring has bounds', async () => {
    const { body } = await http.call('GET', '/openapi.json', { token: null })
    const unbounded: string[] = []
    const look = (schema: any, path: string): void => {
      if (typeof schema !== 'object' || schema === null) return
      if (schema.type === 'integer' || schema.type === 'number') {
        const low = schema.minimum ?? schema.exclusiveMinimum
        if (low === undefined || schema.maximum === undefined) unbounded.push(path)
      }
      for (const [key, each] of Object.entries(schema)) look(each, `${path}/${key}`)
    }
    for (const [path, methods] of Object.entries<any>(body.paths)) {
      for (const [method, { parameters, requestBody }] of Object.entries<any>(methods)) {
        look({ parameters, requestBody }, `${method} ${path}`)
      }
    }
    expect(unbounded).toEqual([])
  })

  it('nothing of all this was an internal error', () => {
    expect(http.errors).toEqual([])
  })
})
