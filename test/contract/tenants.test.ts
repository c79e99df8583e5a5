import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deleteTenant } from '../../src/tenants/delete.js'
import { createTenant, getTenant, loadTenants, updateTenant } from '../../src/tenants/store.js'
import { ADMIN, type HttpApp, openHttpApp } from '../support/http-app.js'
import { addMessages } from '../support/queue-rows.js'
import { dialects } from '../support/temp-db.js'

const [ONE, TWO] = [1, 2].map(each => `whsec_${Buffer.alloc(24, each).toString('base64')}`) as [string, string]

describe.each(dialects)('tenants on %s', dialect => {
  let http: HttpApp
  beforeAll(async () => {
    http = await openHttpApp(dialect)
  })
  afterAll(() => http.close())
  const shown = async (id: string) => (await http.call('GET', `/tenant/${id}`)).body
  const stored = (id: string) => getTenant(http.temp.db, http.sealer, id)

  it('default exists from the start', async () => {
    expect(await shown('default')).toMatchObject({ ok: true, id: 'default', active: true })
  })

  it('a new tenant is answered its key, once; naming it again changes only the fields given', async () => {
    const created = await http.call('POST', '/tenant', {
      body: { id: 'acme', name: 'Acme', client_base_url: 'https://acme.test/api' },
    })
    expect(created.body).toEqual({ ok: true, api_key: expect.stringMatching(/^[\w-]{43}$/) })
    const again = await http.call('POST', '/tenant', { body: { id: 'acme', rate_limits: { hourly: '100' } } })
    expect(again.body).toEqual({ ok: true })
    expect(await shown('acme')).toMatchObject({
      name: 'Acme',
      rate_limits: { hourly: 100 },
      client_base_url: 'https://acme.test/api',
    })
    const { api_key: token } = created.body
    expect((await http.call('GET', '/tenant/acme', { token })).status).toBe(200)
  })

  it('instants are ISO 8601 in UTC', async () => {
    expect((await shown('acme')).created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  })

  it('POST sets a field back with null, PUT takes null for not given', async () => {
    await http.call('POST', '/tenant', { body: { id: 'nulls', name: 'N', client_sync_path: '/sync' } })
    await http.call('PUT', '/tenant/nulls', { body: { name: null } })
    expect((await shown('nulls')).name).toBe('N')
    await http.call('POST', '/tenant', { body: { id: 'nulls', name: null } })
    expect((await shown('nulls')).name).toBeUndefined()
    expect((await shown('nulls')).client_sync_path).toBe('/sync')
  })

  it('an empty update of an existing tenant is no fault', async () => {
    expect((await http.call('PUT', '/tenant/acme', { body: {} })).body).toEqual({ ok: true })
  })

  it('an unknown tenant is 404 in the old words', async () => {
    for (const [method, url] of [
      ['GET', '/tenant/no'],
      ['PUT', '/tenant/no'],
      ['DELETE', '/tenant/no'],
      ['POST', '/tenant/no/api-key'],
      ['DELETE', '/tenant/no/api-key'],
    ] as const) {
      const answer = await http.call(method, url)
      expect([answer.status, answer.body.detail], `${method} ${url}`).toEqual([404, "Tenant 'no' not found"])
    }
  })

  it('the query of a path is not shown, stays when what is shown comes back, and moves nowhere', async () => {
    const token = await http.addTenant('query', {
      client_base_url: 'https://app.test',
      client_sync_path: '/sync?v=1&key=in-the-path',
      client_attachment_path: '/files?key=in-the-other',
    })
    const stored = async () => {
      const { clientSyncPath, clientAttachmentPath } = (await getTenant(http.temp.db, http.sealer, 'query'))!
      return [clientSyncPath, clientAttachmentPath]
    }
    const put = (body: object) => http.call('PUT', '/tenant/query', { body, token })
    const { client_base_url, client_sync_path, client_attachment_path } = await shown('query')
    expect([client_sync_path, client_attachment_path]).toEqual(['/sync?v=***&key=***', '/files?key=***'])
    expect((await put({ client_base_url, client_sync_path, client_attachment_path })).status).toBe(200)
    expect(await stored()).toEqual(['/sync?v=1&key=in-the-path', '/files?key=in-the-other'])
    const elsewhere = 'https://evil.test'
    const moves = [
      [{ client_sync_path: '/else?v=***&key=***' }, 'client_sync_path'],
      [{ client_base_url: elsewhere }, 'client_sync_path'],
      [{ client_base_url: elsewhere, client_sync_path: '/sync?v=***&key=***' }, 'client_sync_path'],
      [{ client_base_url: elsewhere, client_sync_path: '/sync' }, 'client_attachment_path'],
    ] as const
    for (const [body, field] of moves) {
      const refusal = await put(body)
      expect([refusal.status, JSON.stringify(refusal.body)]).toEqual([422, expect.stringContaining(field)])
    }
    const made = await http.call('POST', '/tenant', { body: { id: 'copied', client_sync_path } })
    expect(made.status).toBe(422)
    expect(
      (await put({ client_base_url: elsewhere, client_sync_path: '/s', client_attachment_path: '/f' })).status,
    ).toBe(200)
    await http.app.flushAudit()
    expect(JSON.stringify((await http.call('GET', '/command-log')).body)).not.toMatch(/in-the-path|in-the-other/)
  })

  it('secrets are sealed at rest, masked in answers, and kept when the mask comes back', async () => {
    const auth = { method: 'bearer', token: 'tell-nobody' }
    await http.call('POST', '/tenant', { body: { id: 'auth', client_auth: auth, signing_secrets: [ONE] } })
    const [row] = await http.temp.db.read({ sql: "select * from tenants where id = 'auth'", params: [] })
    expect(JSON.stringify(row)).not.toMatch(/tell-nobody|whsec_/)
    const record = await shown('auth')
    expect(record.client_auth).toEqual({ method: 'bearer', token: '***' })
    expect(JSON.stringify(record)).not.toMatch(/tell-nobody|whsec/)
    await http.call('PUT', '/tenant/auth', { body: { ...record, name: 'renamed' } })
    expect(await stored('auth')).toMatchObject({ name: 'renamed', clientAuth: auth, signingSecrets: [ONE] })
    expect(JSON.stringify((await http.call('GET', '/command-log')).body)).not.toMatch(/tell-nobody|whsec/)
  })

  it('signing secrets are strong, and the mask stands for the ones there are, in their order', async () => {
    const put = (signing_secrets: unknown) => http.call('PUT', '/tenant/signing', { body: { signing_secrets } })
    const kept = async () => (await stored('signing'))?.signingSecrets
    await http.addTenant('signing')
    for (const secret of ['***', 'a', 'whsec_', '', Buffer.alloc(8).toString('base64'), ONE.slice(6)]) {
      const answer = await put([secret])
      expect([answer.status, answer.body.detail[0].loc], secret).toEqual([422, ['body', 'signing_secrets', '0']])
    }
    await put([ONE])
    await put([TWO, '***'])
    expect(await kept()).toEqual([TWO, ONE])
    await put(['***', '***'])
    expect(await kept()).toEqual([TWO, ONE])
    await put(['***'])
    expect(await kept()).toEqual([TWO])
    expect((await put(['***', '***'])).status).toBe(422)
    await http.call('POST', '/tenant', { body: { id: 'signing', signing_secrets: null } })
    expect(await kept()).toEqual([])
  })

  describe('a tenant who moves client_base_url', () => {
    const auth = { method: 'bearer', token: 'set-by-the-admin' }
    const masked = { method: 'bearer', token: '***' }
    const open = async (id: string, fields: object = { client_base_url: 'https://app.test', client_auth: auth }) => {
      const token = await http.addTenant(id, fields)
      return (body: object, as: string | undefined = token) => http.call('PUT', `/tenant/${id}`, { body, token: as })
    }

    it.each([
      { client_base_url: 'https://evil.test' },
      { client_base_url: 'https://evil.test', client_auth: masked },
      { client_base_url: 'http://app.test' },
      { client_base_url: 'https://app.test:8443' },
    ])('has to give the secret again: %j', async body => {
      const put = await open(`moves${JSON.stringify(body).length}`)
      const answer = await put(body)
      expect([answer.status, answer.body.error]).toEqual([
        422,
        'client_auth: the secret must be given again when the origin of client_base_url changes',
      ])
    })

    it('may not go by way of no address at all', async () => {
      const put = await open('nowhere-first')
      expect((await put({ client_base_url: '' })).status).toBe(200)
      expect((await put({ client_base_url: 'https://evil.test' })).status).toBe(422)
    })

    it('may move with the secret, without one, within the origin, and name the same address again', async () => {
      const put = await open('may-move')
      expect((await put({ client_base_url: 'https://app.test/other', client_auth: masked })).status).toBe(200)
      expect((await put({ client_base_url: 'https://new.test', client_auth: auth })).status).toBe(200)
      expect((await put({ client_base_url: 'https://third.test', client_auth: { method: 'none' } })).status).toBe(200)
      const bare = await open('bare', { client_base_url: 'https://app.test' })
      expect((await bare({ client_base_url: 'https://new.test' })).status).toBe(200)
    })

    it('is judged by the secret there is at that instant', async () => {
      const token = await http.addTenant('instant', { client_base_url: 'https://app.test' })
      const moves = Array.from({ length: 8 }, (_, i) =>
        http.call('PUT', '/tenant/instant', { token, body: { client_base_url: `https://evil${i}.test` } }),
      )
      await Promise.all([...moves, http.call('PUT', '/tenant/instant', { body: { client_auth: auth } })])
      const before = (await stored('instant'))?.clientBaseUrl
      await http.call('PUT', '/tenant/instant', { token, body: { client_base_url: 'https://evil.test' } })
      expect(await stored('instant')).toMatchObject({ clientBaseUrl: before, clientAuth: auth })
    })

    it('the admin is free to', async () => {
      const put = await open('by-admin')
      expect((await put({ client_base_url: 'https://new.test' }, ADMIN)).status).toBe(200)
      expect(await stored('by-admin')).toMatchObject({ clientBaseUrl: 'https://new.test', clientAuth: auth })
    })
  })

  it('credentials that no header can carry are refused, and the field is named', async () => {
    for (const [client_auth, field] of [
      [{ token: 'X' }, 'method'],
      [{ method: 'bearer', token: 'é' }, 'token'],
      [{ method: 'bearer', token: '***' }, 'token'],
      [{ method: 'basic', user: 'u' }, 'password'],
      [{ method: 'basic', user: 'u', password: '***' }, 'password'],
      [{ method: 'basic', user: 'a:b', password: 'p' }, 'user'],
    ] as const) {
      const answer = await http.call('POST', '/tenant', { body: { id: 'headers', client_auth } })
      expect([answer.status, answer.body.detail[0].loc]).toEqual([422, ['body', 'client_auth', field]])
    }
  })

  it('an address set by the admin is trusted until the tenant changes it', async () => {
    const token = await http.addTenant('trust', { client_base_url: 'http://10.0.0.5' })
    const trusted = async () => (await stored('trust'))?.endpointTrusted
    const put = (url: string, as: string | undefined) =>
      http.call('PUT', '/tenant/trust', { body: { client_base_url: url }, token: as })
    expect(await trusted()).toBe(true)
    await put('http://10.0.0.5', token)
    expect(await trusted()).toBe(true)
    await put('http://10.0.0.6', token)
    expect(await trusted()).toBe(false)
    await put('http://10.0.0.5', token)
    expect(await trusted()).toBe(false)
    await put('http://10.0.0.5', undefined)
    expect(await trusted()).toBe(true)
  })

  it('a tenant changes its own name and client fields, and nothing that limits it', async () => {
    const token = await http.addTenant('own', { rate_limits: { daily: 10 } })
    const put = (body: object) => http.call('PUT', '/tenant/own', { body, token })
    expect((await put({ name: 'Mine', client_base_url: 'https://own.test' })).status).toBe(200)
    expect((await put({ rate_limits: { daily: 10 }, active: true })).status).toBe(200)
    for (const body of [
      { active: false },
      { rate_limits: { daily: 99 } },
      { max_queued_messages: 5 },
      { attachment_root: '/' },
    ]) {
      const [field] = Object.keys(body)
      expect(await put(body), JSON.stringify(body)).toMatchObject({
        status: 403,
        body: { error: `Admin token required to change ${field}`, details: { admin_fields: [field] } },
      })
    }
    expect((await put({ large_file_config: { storage_url: 'file:///etc' } })).status).toBe(422)
    expect(await shown('own')).toMatchObject({ name: 'Mine', rate_limits: { daily: 10 }, active: true })
  })

  it.each([
    { id: 'a b' },
    { id: '' },
    { id: 'x'.repeat(65) },
    {},
    { id: 'ok', client_base_url: 'ftp://x' },
    { id: 'ok', client_base_url: 'http://user:pw@x' },
    { id: 'ok', client_base_url: 'no url' },
    { id: 'ok', client_sync_path: '@evil.test/' },
    { id: 'ok', client_sync_path: '/../admin' },
    { id: 'ok', client_sync_path: '/a/%2E./b?x' },
    { id: 'ok', client_attachment_path: '/a/.' },
    { id: 'ok', client_attachment_path: '/..\\b' },
    { id: 'ok', client_auth: { method: 'bearer' } },
    { id: 'ok', client_auth: { method: 'digest' } },
    { id: 'ok', name: 'a\r\nb' },
    { id: 'ok', rate_limits: { daily: -1 } },
    { id: 'ok', rate_limits: { weekly: 5 } },
    { id: 'ok', signing_secrets: [ONE, ONE, TWO] },
    { id: 'ok', large_file_config: { enabled: 'perhaps' } },
    { id: 'ok', large_file_config: { max_size_mb: 0 } },
    { id: 'ok', large_file_config: { action: 'delete' } },
    { id: 'ok', large_file_config: { file_ttl_days: 0 } },
    { id: 'ok', large_file_config: { storage_url: 'ftp://x' } },
    { id: 'ok', large_file_config: { public_base_url: 'files.test' } },
    { id: 'ok', large_file_config: { max_size: 5 } },
  ])('%j is refused', async body => {
    const answer = await http.call('POST', '/tenant', { body })
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
  })

  it.each([
    'https://f.test/files?x=1',
    'https://f.test/files#x',
    'https://f.test?',
    'https://ada:pw@f.test/files',
    'https://f.test/"><b>',
    'https://f.test/a\\b',
    'https:///files',
    'https://f.test:port/files',
    'ftp://f.test/files',
  ])('public_base_url %s is refused by its name', async public_base_url => {
    const answer = await http.call('POST', '/tenant', { body: { id: 'ok', large_file_config: { public_base_url } } })
    expect([answer.status, answer.body.error]).toEqual([
      422,
      expect.stringMatching(/^large_file_config\.public_base_url/),
    ])
  })

  it.each(['https://mail.test:8443/files/', 'http://[::1]:8000/a@b/%20', 'https://bücher.test'])(
    'public_base_url %s is taken',
    async public_base_url => {
      const body = { id: `url-${public_base_url.length}`, large_file_config: { public_base_url } }
      expect((await http.call('POST', '/tenant', { body })).status).toBe(200)
    },
  )

  it('large_file_config is checked, and what old clients have beyond it is ignored', async () => {
    const config = {
      enabled: true,
      max_size_mb: 2.5,
      storage_url: 's3://bucket/prefix',
      public_base_url: '',
      file_ttl_days: 30,
      action: 'rewrite',
    }
    await http.addTenant('files', { large_file_config: { ...config, lifespan_after_download_days: 3 } })
    expect((await shown('files')).large_file_config).toEqual(config)
    const unknown = await http.call('PUT', '/tenant/files', { body: { large_file_config: { max_size: 5 } } })
    expect(unknown.body.error).toBe('large_file_config.max_size: Extra inputs are not permitted')
  })

  describe('the store of large_file_config', () => {
    const s3 = (more: object = {}) => ({
      enabled: true,
      action: 'rewrite',
      storage_url: 's3://bucket/prefix',
      storage_config: { endpoint: 'https://s3.test', access_key_id: 'AK', secret_access_key: 'the-secret', ...more },
    })
    const masked = { access_key_id: '***', secret_access_key: '***' }
    const put = (id: string, large_file_config: unknown, token?: string) =>
      http.call('PUT', `/tenant/${id}`, { body: { large_file_config }, ...(token === undefined ? {} : { token }) })

    it('is stored sealed and shown masked, and what comes back masked stays', async () => {
      await http.addTenant('sealed', { large_file_config: s3() })
      expect((await shown('sealed')).large_file_config).toEqual(s3(masked))
      expect((await put('sealed', { ...s3(masked), max_size_mb: 3 })).status).toBe(200)
      expect((await stored('sealed'))!.largeFileConfig).toEqual({ ...s3(), max_size_mb: 3 })
      const [row] = await http.temp.db.read({ sql: "select * from tenants where id = 'sealed'", params: [] })
      expect(JSON.stringify(row)).not.toMatch(/the-secret|s3:\/\/bucket/)
      // Moved to another tenant it does not open.
      await http.addTenant('thief')
      await http.temp.db.write([
        {
          sql: "update tenants set large_file_config = $1 where id = 'thief'",
          params: [row!.large_file_config as string],
        },
      ])
      const answer = await http.call('GET', '/tenant/thief')
      expect([answer.status, JSON.stringify(answer.body)]).toEqual([500, expect.not.stringContaining('the-secret')])
      await http.call('DELETE', '/tenant/thief')
    })

    it('the command log holds no secret of it, not even under a name that is wrong', async () => {
      await http.addTenant('logged', { large_file_config: s3({ acces_kee: 'a-slipped-secret' }) })
      await http.addTenant('logged', { large_file_config: s3() })
      await put('logged', { ...s3(), max_size_mb: 3 })
      await http.app.flushAudit()
      const logged = JSON.stringify((await http.call('GET', '/command-log?limit=5')).body)
      expect(logged).toContain('"max_size_mb":3')
      expect(logged).toContain('"endpoint":"https://s3.test"')
      expect(logged).not.toMatch(/the-secret|a-slipped-secret/)
    })

    it('a mask stands for nothing where nothing is stored', async () => {
      await http.addTenant('nothing')
      const answer = await put('nothing', s3(masked))
      expect([answer.status, answer.body.error]).toEqual([422, expect.stringContaining('storage_config.access_key_id')])
    })

    it('is trusted while an admin set it last, and a tenant sends no stored secret elsewhere', async () => {
      const token = await http.addTenant('place', { large_file_config: s3() })
      const trusted = async () => (await stored('place'))!.largeFilesTrusted
      expect(await trusted()).toBe(true)
      expect((await put('place', { ...s3(masked), max_size_mb: 3 }, token)).status).toBe(200)
      expect(await trusted()).toBe(true)
      for (const config of [
        s3({ ...masked, endpoint: 'https://evil.test' }),
        { ...s3(masked), storage_url: 's3://evil' },
      ]) {
        const answer = await put('place', config, token)
        expect([answer.status, answer.body.error]).toEqual([422, expect.stringContaining('must be given again')])
      }
      expect((await put('place', s3({ secret_access_key: 'own' }), token)).status).toBe(200)
      expect(await trusted()).toBe(false)
      // Sent back by an admin unchanged it stays the tenant's.
      expect((await put('place', s3(masked))).status).toBe(200)
      expect(await trusted()).toBe(false)
      expect((await put('place', s3({ endpoint: 'https://other.test', secret_access_key: 'admin' }))).status).toBe(200)
      expect(await trusted()).toBe(true)
    })

    it.each([
      [{ storage_url: 'file:///srv/files', public_base_url: 'https://f.test' }, /file:.*by the admin only/, null],
      [{ storage_url: 'file:///srv/files' }, /by the admin only/, /public_base_url is missing/],
      [{ storage_url: 'file://host/srv', public_base_url: 'https://f.test' }, /should name a directory/, /directory/],
      [{ storage_url: '' }, /storage_url is missing/, /storage_url is missing/],
      [{ storage_url: 's3://bucket?x' }, /query or fragment/, /query or fragment/],
      [{ storage_url: 's3://bucket', storage_config: { bucket: 'other' } }, /stands in the storage_url/, /stands in/],
      [{ storage_url: 's3://bucket', storage_config: { secret: 'x' } }, /access_key_id is missing/, /access_key_id/],
      [{ storage_url: 's3://bucket', storage_config: { acces_key: 'x' } }, /unknown key acces_key/, /unknown key/],
      [{ storage_url: 'az://files' }, /account_name is missing/, /account_name is missing/],
      [{ storage_url: 'gs://files', storage_config: { endpoint: 'https://x.test' } }, /not for a volume/, null],
      [{ storage_url: 's3://bucket' }, null, null],
    ] as const)('%j is judged by who sets it', async (given, byTenant, byAdmin) => {
      const token = await http.addTenant('judged')
      const config = { enabled: true, action: 'rewrite', ...given }
      for (const [refusal, answer] of [
        [byTenant, await put('judged', config, token)],
        [byAdmin, await put('judged', { ...config, file_ttl_days: 5 })],
      ] as const) {
        if (refusal === null) expect(answer).toMatchObject({ status: 200 })
        else expect([answer.status, answer.body.error]).toEqual([422, expect.stringMatching(refusal)])
      }
      await http.call('DELETE', '/tenant/judged')
    })
  })

  it('default cannot be deleted', async () => {
    const answer = await http.call('DELETE', '/tenant/default')
    expect([answer.status, answer.body.code, answer.body.error]).toEqual([
      400,
      'command_failed',
      'the tenant default always exists and cannot be deleted',
    ])
    expect((await shown('default')).ok).toBe(true)
  })

  it('two changes of different fields at once do not undo each other', async () => {
    await http.addTenant('race')
    const { db } = http.temp
    const options = { now: http.clock.now(), trusted: true }
    const changes = [{ name: 'both' }, { rateDaily: 7 }, { rateHourly: 8 }, { maxQueuedMessages: 9 }]
    await Promise.all(changes.map(patch => updateTenant(db, http.sealer, 'race', patch, options)))
    expect(await stored('race')).toMatchObject({ name: 'both', rateDaily: 7, rateHourly: 8, maxQueuedMessages: 9 })
  })

  it('of several who create the same tenant at once one gets a key', async () => {
    const options = { now: http.clock.now(), trusted: true }
    const made = await Promise.all([1, 2, 3].map(() => createTenant(http.temp.db, http.sealer, 'once', {}, options)))
    expect(made.map(({ kind }) => kind).sort()).toEqual(['created', 'taken', 'taken'])
  })

  it('lists are by id, inactive ones left out on request', async () => {
    await http.addTenant('zz', { active: false })
    const all = (await http.call('GET', '/tenants')).body.tenants.map((each: { id: string }) => each.id)
    expect(all).toEqual([...all].sort())
    expect(all).toContain('zz')
    const active = (await http.call('GET', '/tenants?active_only=yes')).body.tenants.map(
      (each: { id: string }) => each.id,
    )
    expect(active).not.toContain('zz')
    expect([...(await loadTenants(http.temp.db, http.sealer, ['zz', 'gone'])).keys()]).toEqual(['zz'])
  })

  it('sync-status tells who is due and who must not be disturbed', async () => {
    await http.addTenant('sync', { name: 'S', client_base_url: 'https://s.test' })
    const status = async () =>
      (await http.call('GET', '/tenants/sync-status')).body.tenants.find((each: { id: string }) => each.id === 'sync')
    expect(await status()).toEqual({
      id: 'sync',
      name: 'S',
      active: true,
      client_base_url: 'https://s.test',
      next_sync_due: true,
      in_dnd: false,
    })
    const now = http.clock.now()
    await http.temp.db.write([
      {
        sql: 'insert into sync_state (tenant_id, last_sync_at, quiet_until) values ($1, $2, $3)',
        params: ['sync', now - 1500, now + 60_000],
      },
    ])
    expect(await status()).toMatchObject({ last_sync_ts: (now - 1500) / 1000, next_sync_due: false, in_dnd: true })
    expect((await http.call('GET', '/tenants/sync-status')).body.sync_interval_seconds).toBe(300)
  })

  it('deleting a tenant takes its accounts, messages, reports and keys, and nobody else’s', async () => {
    const token = await http.addTenant('gone')
    await http.addTenant('stays')
    for (const tenant_id of ['gone', 'stays']) {
      await http.call('POST', '/account', { body: { id: 'main', tenant_id, host: 'h' } })
      await addMessages(http.temp.db, { tenantId: tenant_id, accountId: 'main', count: 1100 })
    }
    expect((await http.call('DELETE', '/tenant/gone')).body).toEqual({ ok: true })
    expect((await http.call('GET', '/accounts', { token })).status).toBe(401)
    for (const table of ['accounts', 'messages', 'events', 'api_keys']) {
      const rows = await http.temp.db.read({
        sql: `select tenant_id, count(*) as n from ${table} where tenant_id in ('gone', 'stays') group by tenant_id`,
        params: [],
      })
      expect(
        rows.map(row => row.tenant_id),
        table,
      ).toEqual(['stays'])
    }
    const [contents] = await http.temp.db.read({ sql: 'select count(*) as n from contents', params: [] })
    expect(Number(contents!.n)).toBe(1100)
    expect(await deleteTenant(http.temp.db, 'gone', http.clock.now())).toBe(false)
  })
})
