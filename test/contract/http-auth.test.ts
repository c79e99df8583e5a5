/** Tokens: how they come, what is remembered of them, and guesses. Who may do what is in http-access.test.ts. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ADMIN, type HttpApp, openHttpApp } from '../support/http-app.js'

describe('authentication', () => {
  let http: HttpApp
  let acme: string
  beforeAll(async () => {
    http = await openHttpApp('sqlite')
    acme = await http.addTenant('acme')
    await http.addTenant('other')
  })
  afterAll(() => http.close())

  it('the token may come as a bearer', async () => {
    const asked = { token: null, headers: { authorization: `Bearer ${ADMIN}` } }
    expect((await http.call('GET', '/tenants', asked)).status).toBe(200)
    const basic = { token: null, headers: { authorization: `Basic ${ADMIN}` } }
    expect((await http.call('GET', '/tenants', basic)).status).toBe(401)
  })

  it('the pages of the API ask for no token', async () => {
    for (const url of ['/openapi.json', '/docs', '/docs/static/swagger-ui.css']) {
      expect((await http.call('GET', url, { token: null })).status, url).toBe(200)
    }
  })

  it('the token is judged before the body', async () => {
    const answer = await http.call('POST', '/account', { token: 'wrong', body: '{not json' })
    expect(answer.status).toBe(401)
  })

  it('a foreign tenant is refused before the fields are judged', async () => {
    const answer = await http.call('POST', '/account', { token: acme, body: { tenant_id: 'other', port: 'x' } })
    expect(answer.status).toBe(401)
  })

  it('tenant_id in query and body must agree', async () => {
    const answer = await http.call('POST', '/account?tenant_id=acme', {
      body: { id: 'a', host: 'h', tenant_id: 'other' },
    })
    expect(answer.status).toBe(400)
  })

  it('an empty tenant_id is refused as before', async () => {
    const answer = await http.call('GET', '/accounts?tenant_id=')
    expect([answer.status, answer.body.detail]).toEqual([400, 'tenant_id is required'])
  })
})

describe('unknown tokens', () => {
  it('are refused from an address that gave too many of them, and no token that is known is', async () => {
    const http = await openHttpApp('sqlite', { env: { GMP_METRICS_TOKEN: 'scrape' } })
    const key = await http.addTenant('acme')
    const ask = async (token: string, remoteAddress = '192.0.2.1', url = '/status') => {
      const answer = await http.app.inject({ url, remoteAddress, headers: { 'x-api-token': token } })
      return [answer.statusCode, answer.headers['retry-after']]
    }
    for (let i = 0; i < 300; i += 1)
      expect(await ask(`guess-${i}`, undefined, i % 2 ? '/metrics' : '/status')).toEqual([401, undefined])
    expect(await ask('guess')).toEqual([429, '1'])
    expect(await ask('guess', undefined, '/metrics')).toEqual([429, '1'])
    expect(await ask(key)).toEqual([200, undefined])
    expect(await ask(ADMIN)).toEqual([200, undefined])
    expect(await ask('guess', '192.0.2.2')).toEqual([401, undefined])
    // No token is a mistake and no guess.
    expect((await http.app.inject({ url: '/status', remoteAddress: '192.0.2.1' })).statusCode).toBe(401)
    await http.clock.advance(1_000)
    expect(await ask('guess')).toEqual([401, undefined])
    await http.close()
  })
})

describe('tokens', () => {
  let http: HttpApp
  beforeAll(async () => {
    http = await openHttpApp('sqlite', { env: { GMP_API_TOKEN: 'from-the-environment', GMP_METRICS_TOKEN: 'scrape' } })
  })
  afterAll(() => http.close())
  const admin = { token: 'from-the-environment' }

  it('GMP_API_TOKEN is the admin token, and the API cannot change it', async () => {
    expect((await http.call('GET', '/tenants', admin)).status).toBe(200)
    const answer = await http.call('PUT', '/instance', { ...admin, body: { api_token: 'another-token' } })
    expect([answer.status, answer.body.code]).toEqual([400, 'command_failed'])
    expect((await http.call('GET', '/tenants', { token: 'another-token' })).status).toBe(401)
  })

  it('GMP_METRICS_TOKEN protects the metrics', async () => {
    expect((await http.call('GET', '/metrics', { token: null })).status).toBe(401)
    expect((await http.call('GET', '/metrics', { token: 'scrape' })).status).toBe(200)
    expect((await http.call('GET', '/metrics', admin)).status).toBe(200)
    expect((await http.call('GET', '/tenants', { token: 'scrape' })).status).toBe(401)
  })
})

describe('without any authentication', () => {
  it('everybody is the admin', async () => {
    const http = await openHttpApp('sqlite', { flags: { 'server.insecureNoAuth': 'true', 'server.host': '127.0.0.1' } })
    expect((await http.call('GET', '/tenants', { token: null })).status).toBe(200)
    expect((await http.call('GET', '/tenants', { token: 'whatever' })).status).toBe(200)
    await http.close()
  })
})

describe('what is remembered of tokens', () => {
  let http: HttpApp
  beforeAll(async () => {
    http = await openHttpApp('sqlite')
  })
  afterAll(() => http.close())
  const forgetKeysOf = (tenant: string) =>
    http.temp.db.write([{ sql: 'delete from api_keys where tenant_id = $1', params: [tenant] }])

  it('a key revoked here stops at once', async () => {
    const token = await http.addTenant('a')
    expect((await http.call('GET', '/accounts', { token })).status).toBe(200)
    await http.call('DELETE', '/tenant/a/api-key')
    expect((await http.call('GET', '/accounts', { token })).status).toBe(401)
  })

  it('a key revoked by another process stops within a second', async () => {
    const token = await http.addTenant('b')
    expect((await http.call('GET', '/accounts', { token })).status).toBe(200)
    await forgetKeysOf('b')
    expect((await http.call('GET', '/accounts', { token })).status).toBe(200)
    await http.clock.advance(1000)
    expect((await http.call('GET', '/accounts', { token })).status).toBe(401)
  })

  it('PUT /instance api_token takes the place of the admin token at once', async () => {
    await http.call('PUT', '/instance', { body: { api_token: 'the-next-admin-token' } })
    expect((await http.call('GET', '/tenants')).status).toBe(401)
    const next = { token: 'the-next-admin-token' }
    expect((await http.call('GET', '/tenants', next)).status).toBe(200)
    const [row] = await http.temp.db.read({ sql: "select value from meta where key = 'admin_token_hash'", params: [] })
    expect(row!.value).toMatch(/^[0-9a-f]{64}$/)
    expect((await http.call('GET', '/instance', next)).body.api_token).toBe('***')
    expect(JSON.stringify((await http.call('GET', '/command-log', next)).body)).not.toContain('the-next-admin-token')
  })
})
