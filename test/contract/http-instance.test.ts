/** The instance's settings, its status, its description and the command log. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('the instance on %s', dialect => {
  let http: HttpApp
  beforeAll(async () => {
    http = await openHttpApp(dialect)
  })
  afterAll(() => http.close())
  const put = (body: object) => http.call('PUT', '/instance', { body })

  it('has the old defaults until something is set', async () => {
    expect((await http.call('GET', '/instance')).body).toMatchObject({
      ok: true,
      id: 1,
      name: 'mail-proxy',
      bounce_enabled: false,
      bounce_imap_port: 993,
      bounce_imap_folder: 'INBOX',
      bounce_imap_ssl: true,
      bounce_poll_interval: 60,
    })
    expect((await put({})).body).toEqual({ ok: true })
  })

  it('the IMAP password is sealed and never shown', async () => {
    await put({ name: 'post', bounce_imap_host: 'imap.test', bounce_imap_password: 'hunter2' })
    const shown = (await http.call('GET', '/instance')).body
    expect(shown).toMatchObject({ name: 'post', bounce_imap_host: 'imap.test' })
    const rows = await http.temp.db.read({ sql: 'select value from meta', params: [] })
    const log = (await http.call('GET', '/command-log')).body
    expect(JSON.stringify([shown, rows, log])).not.toContain('hunter2')
    await put({ name: null })
    expect((await http.call('GET', '/instance')).body.name).toBe('post')
  })

  it('two changes at once do not undo each other', async () => {
    await Promise.all([put({ name: 'both' }), put({ bounce_poll_interval: 77 }), put({ bounce_imap_user: 'u' })])
    expect((await http.call('GET', '/instance')).body).toMatchObject({
      name: 'both',
      bounce_poll_interval: 77,
      bounce_imap_user: 'u',
    })
  })

  it('reload-bounce answers as before', async () => {
    const reload = () => http.call('POST', '/instance/reload-bounce')
    expect((await reload()).body).toEqual({ ok: true, error: null })
    await put({ bounce_enabled: true, bounce_imap_host: '' })
    const refused = await reload()
    expect([refused.status, refused.body.detail]).toEqual([400, 'Bounce enabled but imap_host not configured'])
  })

  it('/health, /ready, /status and /metrics', async () => {
    expect((await http.call('GET', '/health', { token: null })).body).toEqual({
      ok: true,
      status: 'ok',
      version: '1.2.3',
    })
    expect((await http.call('HEAD', '/health', { token: null })).status).toBe(200)
    http.process.problems.push('the database cannot be reached')
    const ready = await http.call('GET', '/ready', { token: null })
    expect([ready.status, ready.body]).toMatchObject([
      503,
      { ok: false, code: 'not_ready', error: 'the database cannot be reached' },
    ])
    http.process.problems.length = 0
    await http.clock.advance(5000)
    expect((await http.call('GET', '/status')).body).toEqual({
      ok: true,
      active: true,
      scheduler_active: true,
      pending_messages: 0,
      uptime_seconds: 5,
      version: '1.2.3',
      draining: false,
      paused_accounts: [],
    })
    const metrics = await http.call('GET', '/metrics', { token: null })
    expect([metrics.headers['content-type'], metrics.body]).toEqual([
      'text/plain; version=0.0.4; charset=utf-8',
      'gmp_pending_messages 0\n',
    ])
  })

  it('describes itself in OpenAPI 3.1, with what every route takes and who may call it', async () => {
    const { body } = await http.call('GET', '/openapi.json', { token: null })
    expect(body.openapi).toBe('3.1.0')
    expect(body.paths['/account'].post.requestBody.content['application/json'].schema.properties.host).toBeDefined()
    expect(body.paths['/tenant/{tenant_id}'].put.security).toEqual([{ token: [] }, { bearer: [] }])
    expect(body.paths['/health'].get.security).toBeUndefined()
    expect(body.paths['/account'].post.responses.default).toBeDefined()
    expect(Object.keys(body.paths['/account'])).toEqual(['post'])
  })

  it('the page at /docs asks nobody else for anything', async () => {
    const page = await http.call('GET', '/docs', { token: null })
    expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self'/)
    expect(page.body).not.toMatch(/(src|href)="(https?:)?\/\//)
    const start = await http.call('GET', '/docs/static/swagger-initializer.js', { token: null })
    expect(start.body).toContain('/openapi.json')
  })

  describe('command log', () => {
    const list = async (query = '') => (await http.call('GET', `/command-log${query}`)).body

    it('has each command with its answer, the newest first', async () => {
      await http.clock.advance(10_000)
      const since = Math.floor(http.clock.now() / 1000)
      await http.call('POST', '/tenant', {
        body: { id: 'logged', client_auth: { method: 'bearer', token: 'secret-token' } },
      })
      await http.clock.advance(1000)
      await http.call('DELETE', '/account/none?tenant_id=logged')
      await http.clock.advance(1000)
      await http.call('POST', '/tenant', { body: { id: 'not an id' } })
      const { commands, total } = await list(`?since_ts=${since}`)
      expect(total).toBe(2)
      expect(commands).toEqual([
        {
          id: expect.any(Number),
          command_ts: since + 1,
          endpoint: 'deleteAccount',
          tenant_id: 'logged',
          payload: { tenant_id: 'logged', account_id: 'none' },
          response_status: 400,
        },
        {
          id: expect.any(Number),
          command_ts: since,
          endpoint: 'addTenant',
          payload: { id: 'logged', client_auth: { method: 'bearer', token: '***' } },
          response_status: 200,
        },
      ])
      expect((await list(`?since_ts=${since}&until_ts=${since}`)).commands).toHaveLength(1)
      expect((await list('?tenant_id=logged')).commands).toHaveLength(1)
      expect(
        (await list('?endpoint_filter=addten')).commands.every(
          (each: { endpoint: string }) => each.endpoint === 'addTenant',
        ),
      ).toBe(true)
      expect((await list('?endpoint_filter=%25')).commands).toEqual([])
      expect((await list('?limit=1')).commands).toHaveLength(1)
      const { commands: exported } = (await http.call('GET', `/command-log/export?since_ts=${since}`)).body
      expect(exported.map((each: object) => Object.values(each).slice(0, 2))).toEqual([
        ['addTenant', null],
        ['deleteAccount', 'logged'],
      ])
    })

    it('has no password of a URL either, which is refused and logged all the same', async () => {
      await http.call('PUT', '/tenant/default', { body: { client_base_url: 'https://ada:hunter2@x.test/' } })
      const { commands } = await list('?limit=1')
      expect(commands).toMatchObject([{ payload: { client_base_url: 'https://***@x.test/' }, response_status: 422 }])
    })

    it.each(['%00', '%ED%A0%80'])('a command for a tenant %s, which cannot be, takes no other with it', async id => {
      await put({ name: 'before' })
      await http.call('POST', `/instance/reload-bounce?tenant_id=${id}`)
      await http.call('PUT', '/instance', { body: '{"tenant_id":"\\ud800"}' })
      expect((await list('?limit=3')).commands.map((each: { endpoint: string }) => each.endpoint)).toEqual([
        'updateInstance',
        'reloadBounce',
        'updateInstance',
      ])
      expect(http.warnings).toEqual([])
    })

    it('forgets what is older than ninety days', async () => {
      await http.clock.advance(91 * 86_400_000)
      await put({ name: 'later' })
      expect((await list()).commands.map((each: { endpoint: string }) => each.endpoint)).toEqual(['updateInstance'])
    })
  })
})
