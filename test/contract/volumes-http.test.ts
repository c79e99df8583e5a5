/** Volumes over HTTP and at submission: the predecessor's answers, who may see and do what, and where secrets are not. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { listVolumes, saveVolume } from '../../src/volumes/store.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('volumes over HTTP on %s', dialect => {
  let http: HttpApp
  let acme: string
  let other: string
  beforeAll(async () => {
    http = await openHttpApp(dialect)
    acme = await http.addTenant('acme', { client_base_url: 'https://acme.example' })
    other = await http.addTenant('other')
    for (const [tenant_id, id] of [
      ['acme', 'main'],
      ['acme', 'only'],
      ['other', 'main'],
    ]) {
      await http.call('POST', '/account', { body: { id, tenant_id, host: 'h', is_default: id === 'main' } })
    }
  })
  afterAll(() => http.close())
  beforeEach(() => http.temp.db.write([{ sql: 'delete from volumes', params: [] }]))

  const post = (body: object, token?: string) => http.call('POST', '/volume', { body, token })
  const get = (path: string, token?: string) => http.call('GET', path, { token })
  const drop = (path: string, token?: string) => http.call('DELETE', path, { token })
  const names = async (path: string, token?: string) =>
    (await get(path, token)).body.volumes.map((each: any) => `${each.tenant_id ?? '-'}/${each.name}`)
  const s3 = (name: string, fields: object = {}) => ({ name, backend: 's3', config: { bucket: name }, ...fields })
  const config = async (path: string) => (await get(path)).body.config
  const stored = async () => (await listVolumes(http.temp.db, http.sealer, null)).map(each => each.config)

  describe("the predecessor's answers", () => {
    it('POST, GET, list and DELETE', async () => {
      expect((await post(s3('files', { account_id: null }))).body).toEqual({ ok: true })
      const one = await get('/volume/files')
      expect([one.status, one.body]).toEqual([
        200,
        { id: expect.any(Number), name: 'files', backend: 's3', config: { bucket: 'files' } },
      ])
      expect((await get('/volumes')).body).toEqual({
        ok: true,
        volumes: [{ ...one.body, created_at: expect.stringMatching(/^\d{4}-/), updated_at: expect.any(String) }],
      })
      expect((await drop('/volume/files')).body).toEqual({ ok: true })
      const gone = await get('/volume/files')
      expect([gone.status, gone.body.detail]).toEqual([404, "Volume 'files' not found"])
      expect((await drop('/volume/files')).body.detail).toBe("Volume 'files' not found")
    })

    it('account_id means the tenant of that id, else the account, and comes back as given', async () => {
      await post(s3('a', { account_id: 'acme' }))
      await post(s3('b', { account_id: 'only' }))
      expect((await get('/volume/a?account_id=acme')).body).toMatchObject({ tenant_id: 'acme', account_id: 'acme' })
      expect((await get('/volume/b?account_id=only')).body).toMatchObject({ tenant_id: 'acme', account_id: 'only' })
      expect((await get('/volume/a?account_id=only')).body).toMatchObject({ account_id: 'acme' })
      // A private one without account_id.
      expect((await get('/volume/a')).status).toBe(404)
      expect(await post(s3('c', { account_id: 'main' }))).toMatchObject({ status: 400, body: { code: 'bad_request' } })
      expect(await post(s3('c', { account_id: 'nobody' }))).toMatchObject({
        status: 404,
        body: { detail: "Account 'nobody' not found" },
      })
      expect(await post(s3('c', { tenant_id: 'nowhere' }))).toMatchObject({
        status: 404,
        body: { detail: "Tenant 'nowhere' not found" },
      })
      await post(s3('c', { account_id: 'main', tenant_id: 'other' }))
      expect((await get('/volume/c?account_id=main&tenant_id=other')).body.tenant_id).toBe('other')
    })

    it('own comes before shared, and DELETE with an account_id is for that owner only', async () => {
      await post(s3('files', { config: { bucket: 'of-all' } }))
      await post(s3('files', { config: { bucket: 'of-acme' }, tenant_id: 'acme' }))
      await post(s3('files', { config: { bucket: 'of-only' }, account_id: 'only' }))
      expect(await config('/volume/files')).toEqual({ bucket: 'of-all' })
      expect(await config('/volume/files?tenant_id=acme')).toEqual({ bucket: 'of-acme' })
      expect(await config('/volume/files?account_id=only')).toEqual({ bucket: 'of-only' })
      expect(await config('/volume/files?tenant_id=other')).toEqual({ bucket: 'of-all' })
      expect(await names('/volumes')).toEqual(['-/files', 'acme/files', 'acme/files'])
      expect(await names('/volumes?account_id=nobody')).toEqual(['-/files'])
      expect(await names('/volumes?tenant_id=other')).toEqual(['-/files'])
      expect((await drop('/volume/files?tenant_id=other')).status).toBe(404)
      expect((await drop('/volume/files?account_id=only')).status).toBe(200)
      expect((await drop('/volume/files?account_id=only')).status).toBe(404)
      await drop('/volume/files')
      expect(await names('/volumes')).toEqual(['acme/files'])
      // Without any owner: the only one there is.
      await post(s3('files', { tenant_id: 'other' }))
      expect((await drop('/volume/files')).status).toBe(400)
      await drop('/volume/files?tenant_id=other')
      expect((await drop('/volume/files')).status).toBe(200)
    })

    it.each([
      [{ backend: 's3', config: {} }, 'name', 'missing'],
      [{ name: 'a', config: {} }, 'backend', 'missing'],
      [{ name: 'a', backend: 's3' }, 'config', 'missing'],
      [s3('a', { config: '{"secret": "hunter2"}' }), 'config', 'dict_type'],
      [s3('a', { config: ['hunter2'] }), 'config', 'dict_type'],
      [s3('a', { config: { secret: 'hunter2'.padEnd(70_000) } }), 'config', 'value_error'],
      [s3('a', { config: { deep: [{ secret: `hunter2\${HOME}` }] } }), 'config', 'value_error'],
      [s3('a', { config: { secret: '***' } }), 'config.secret', 'value_error'],
      [s3('a/b'), 'name', 'string_pattern_mismatch'],
      [s3('base64'), 'name', 'value_error'],
      [s3('https'), 'name', 'value_error'],
      [s3('..'), 'name', 'string_pattern_mismatch'],
      [s3('a', { backend: 'ftp', config: { x: 'hunter2' } }), 'backend', 'value_error'],
      [s3('a', { backend: 'memory' }), 'backend', 'value_error'],
      [s3('a', { config: {} }), 'config', 'value_error'],
      [s3('a', { config: { bucket: 'a', passwort: 'hunter2' } }), 'config', 'value_error'],
      [s3('a', { config: { bucket: 'a', secret: 'hunter2' } }), 'config', 'value_error'],
      [s3('a', { config: { bucket: 'a', endpoint: 'https://u:hunter2@s3.test' } }), 'config', 'value_error'],
    ])('%j is refused', async (body, field, type) => {
      const answer = await post(body)
      expect(answer).toMatchObject({ status: 422, body: { detail: [{ type, loc: ['body', ...field.split('.')] }] } })
      const log = await get('/command-log?limit=1')
      expect(JSON.stringify([answer.body, log.body])).not.toContain('hunter2')
      expect((await get('/volumes')).body.volumes).toEqual([])
    })

    it('a name that no volume can have is not found', async () => {
      for (const name of ['base64', '..', 'a%20b', '%F0%9F%98%80']) {
        expect([(await get(`/volume/${name}`)).status, (await drop(`/volume/${name}`)).status]).toEqual([404, 404])
      }
    })
  })

  describe("a tenant's key", () => {
    it('has its own volumes, sees the shared ones without their config, and no others', async () => {
      await post(s3('shared', { config: { bucket: 'the-shared-bucket', key: 'AK', secret: 'hunter2' } }))
      await post(s3('theirs', { tenant_id: 'other' }))
      expect((await post(s3('mine'), acme)).body).toEqual({ ok: true })
      await post(s3('for-main', { account_id: 'main' }), acme)
      expect(await names('/volumes', acme)).toEqual(['acme/for-main', 'acme/mine', '-/shared'])
      expect(await names('/volumes?account_id=only', acme)).toEqual(['acme/mine', '-/shared'])
      const seen = await get('/volumes', acme)
      expect(seen.body.volumes[2]).toEqual({
        id: expect.any(Number),
        name: 'shared',
        backend: 's3',
        created_at: expect.any(String),
        updated_at: expect.any(String),
      })
      expect((await get('/volume/shared', acme)).body.config).toBeUndefined()
      expect(JSON.stringify(seen.body)).not.toMatch(/hunter2|the-shared-bucket|theirs/)
      expect((await get('/volume/theirs', acme)).status).toBe(404)
      expect((await get('/volume/mine', other)).status).toBe(404)
      expect((await get('/volume/for-main?account_id=main', acme)).body.account_id).toBe('main')
      expect((await get('/volume/for-main?account_id=main', other)).status).toBe(404)
    })

    it('changes and deletes its own only', async () => {
      await post(s3('files'))
      await post(s3('theirs', { tenant_id: 'other' }))
      expect((await post(s3('files', { tenant_id: 'other' }), acme)).status).toBe(401)
      expect((await post(s3('files', { account_id: 'other' }), acme)).status).toBe(404)
      expect((await get('/volumes?tenant_id=other', acme)).status).toBe(401)
      expect((await drop('/volume/theirs?tenant_id=other', acme)).status).toBe(401)
      expect((await drop('/volume/theirs', acme)).status).toBe(404)
      expect(await drop('/volume/files', acme)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
      // Its own of that name stands beside the shared one.
      await post(s3('files', { config: { bucket: 'of-acme' } }), acme)
      expect(await names('/volumes')).toEqual(['-/files', 'acme/files', 'other/theirs'])
      expect((await drop('/volume/files', acme)).status).toBe(200)
      expect(await names('/volumes')).toEqual(['-/files', 'other/theirs'])
    })

    it('may not name local files or variables of the environment', async () => {
      const local = await post({ name: 'root', backend: 'local', config: { root: '/' } }, acme)
      expect([local.status, local.body.error]).toEqual([422, expect.stringMatching(/only the administrator/)])
      const variable = await post(s3('v', { config: { bucket: 'v', key: 'AK', secret: `\${GMP_API_TOKEN}` } }), acme)
      expect([variable.status, variable.body.error]).toEqual([422, expect.stringContaining('config.ini only')])
      expect((await post({ name: 'root', backend: 'local', config: { root: '/srv' } })).status).toBe(200)
    })

    it('cannot send elsewhere what the administrator stored', async () => {
      const full = { url: 'https://files.acme.test/', token: 'hunter2' }
      await post({ name: 'dav', backend: 'webdav', config: full, tenant_id: 'acme' })
      const shown = (await get('/volume/dav', acme)).body.config
      expect(shown).toEqual({ url: 'https://files.acme.test/', token: '***' })
      const moved = await post(
        { name: 'dav', backend: 'webdav', config: { ...shown, url: 'https://evil.test/' } },
        acme,
      )
      expect([moved.status, moved.body.error]).toEqual([422, expect.stringContaining('the administrator set')])
      expect(await stored()).toEqual([full])
      // The whole record as it was shown changes nothing.
      const trusted = async () =>
        (await http.temp.db.read({ sql: 'select trusted from volumes', params: [] }))[0]!.trusted
      expect((await post({ name: 'dav', backend: 'webdav', config: shown }, acme)).status).toBe(200)
      expect(Number(await trusted())).toBe(1)
      await post({ name: 'dav', backend: 'webdav', config: { url: 'https://mine.test/', token: 't' } }, acme)
      expect(Number(await trusted())).toBe(0)
    })
  })

  it.each([
    [{ bucket: 'b', secret: 'x' }, 'access_key_id is missing'],
    [{ bucket: 'b', regoin: 'eu' }, 'unknown key regoin: did you mean region?'],
    [{ bucket: 'b', prefix: 'a/../b' }, 'prefix has a ".." segment'],
  ])('what is wrong with a config is told by its key: %j', async (wrong, sentence) => {
    const { status, body } = await post(s3('v', { config: wrong }))
    expect([status, body.error, body.detail]).toEqual([
      422,
      `config: ${sentence}`,
      [{ type: 'value_error', loc: ['body', 'config'], msg: sentence }],
    ])
  })

  it.each([
    [
      's3',
      { bucket: 'b', base_path: 'p', key: 'AK', secret: 'hunter2-s3', endpoint_url: 'https://s3.test', anon: false },
    ],
    ['webdav', { base_url: 'https://dav.test', username: 'ada', password: 'hunter2-dav' }],
    ['azure', { container: 'c', connection_string: 'AccountName=a;AccountKey=hunter2' }],
    ['gcs', { bucket: 'b', token: { client_email: 'a@b', private_key: 'hunter2-gcs' } }],
  ])('a config keeps the names its client gave the keys, and its secrets behind ***: %s %j', async (backend, given) => {
    expect(await post({ name: 'v', backend, config: given }, acme)).toMatchObject({ status: 200 })
    const { body } = await get('/volume/v?tenant_id=acme')
    expect(Object.keys(body.config)).toEqual(Object.keys(given))
    expect(JSON.stringify(body)).not.toContain('hunter2')
    expect(await post({ name: 'v', backend, config: body.config }, acme)).toMatchObject({ status: 200 })
    expect(await stored()).toEqual([given])
  })

  it('a URL is masked in one pass, whatever it is made of: 60 KB of question marks held the service for seconds', async () => {
    const refused = await post({
      name: 'v',
      backend: 'http',
      config: { base_url: `https://h/${'?'.repeat(3_000_000)}` },
    })
    expect([refused.status, refused.body.error]).toEqual([422, 'config: should have at most 65536 characters'])
  })

  it('secrets are in no answer, no command log and not in the database; *** keeps them', async () => {
    const secrets = {
      base_url: 'https://files.test/p',
      auth: { method: 'basic', user: 'ada', password: 'hunter2-basic' },
      headers: {
        'X-Api-Key': 'hunter2-header',
        'X-Shop': 'hunter2-shop',
        Referer: 'https://user:hunter2-user@x.test/?sig=hunter2-sig&x=',
        Accept: '*/*',
      },
    }
    const web = (config: object) => post({ name: 'v', backend: 'http', config }, acme)
    await web(secrets)
    const shown = await config('/volume/v?tenant_id=acme')
    expect(shown).toEqual({
      base_url: 'https://files.test/p',
      auth: { method: 'basic', user: 'ada', password: '***' },
      headers: { 'X-Api-Key': '***', 'X-Shop': '***', Referer: 'https://***@x.test/?sig=***&x=', Accept: '*/*' },
    })
    await web({ ...shown, base_url: 'https://files.test/q' })
    expect(await stored()).toEqual([{ ...secrets, base_url: 'https://files.test/q' }])
    const moved = await web({ ...shown, headers: { Referer: 'https://***@elsewhere.test/' } })
    expect(moved.status).toBe(422)
    // An object may also be given as its JSON, as it must be where there are only texts.
    await web({ ...secrets, headers: JSON.stringify(secrets.headers) })
    const asText = await config('/volume/v?tenant_id=acme')
    expect(asText.headers).toBe('***')
    await web({ ...asText, base_url: 'https://files.test/r' })
    expect(await stored()).toEqual([
      { ...secrets, headers: JSON.stringify(secrets.headers), base_url: 'https://files.test/r' },
    ])
    await drop('/volume/v', acme)
    const log = (await get('/command-log')).body
    expect(JSON.stringify(log)).toMatch(/deleteVolume.*addVolume/)
    const rows = await http.temp.db.read({ sql: 'select * from volumes', params: [] })
    const rawLog = await http.temp.db.read({ sql: 'select payload from command_log', params: [] })
    expect(/.{40}hunter2/.exec(JSON.stringify([log, rows, rawLog, await get('/volumes'), http.errors]))).toBeNull()
  })

  it('two changes at once leave one of them whole', async () => {
    await Promise.all([1, 2, 3, 4].map(n => post(s3('v', { config: { bucket: `b${n}`, prefix: `b${n}` } }))))
    const [left] = await stored()
    expect(left?.bucket).toMatch(/^b[1-4]$/)
    expect(left?.prefix).toBe(left?.bucket)
  })

  describe('at submission', () => {
    let n = 0
    const submit = async (attachment: object | object[], token = acme, fields: object = {}) => {
      n += 1
      const attachments = [attachment].flat().map(each => ({ filename: 'a.txt', ...each }))
      const mail = { id: `v${n}`, from: 'a@x.it', to: 'b@y.it', subject: 'Hi', attachments, ...fields }
      const { body } = await http.call('POST', '/commands/add-messages', { token, body: { messages: [mail] } })
      if (body.rejected.length > 0) return body.rejected[0]
      return (await get(`/messages/v${n}?tenant_id=${token === acme ? 'acme' : 'other'}`)).body.message.attachments[0]
    }

    it('an unknown or foreign volume rejects the message', async () => {
      await post(s3('theirs', { tenant_id: 'other' }))
      await post(s3('for-only', { account_id: 'only' }))
      for (const storage_path of ['none:a.txt', 'theirs:a.txt', 'for-only:a.txt']) {
        expect(await submit({ storage_path, fetch_mode: 'storage' })).toEqual({
          index: 0,
          id: `v${n}`,
          reason: `Invalid/unauthorized storage volumes: ${storage_path}`,
          code: 'volume_not_found',
          field: 'attachments[0].storage_path',
        })
      }
      const both = await submit([
        { storage_path: 'base64:QQ==' },
        { storage_path: 'none:a', fetch_mode: 'volume' },
        { storage_path: 'theirs:b', fetch_mode: 'volume' },
      ])
      expect(both).toMatchObject({
        reason: 'Invalid/unauthorized storage volumes: none:a, theirs:b',
        field: 'attachments[1].storage_path',
      })
      expect(
        await submit({ storage_path: 'for-only:a', fetch_mode: 'storage' }, acme, { account_id: 'only' }),
      ).toMatchObject({ fetch_mode: 'volume' })
      expect((await get(`/messages/v1?tenant_id=acme`)).status).toBe(404)
    })

    it('name:path without fetch_mode is a volume that the message may use, else the endpoint', async () => {
      expect(await submit({ storage_path: 'late:a/b.txt' })).toMatchObject({ fetch_mode: 'endpoint' })
      await post(s3('late'))
      expect(await submit({ storage_path: 'late:a/b.txt' })).toMatchObject({
        fetch_mode: 'volume',
        storage_path: 'late:a/b.txt',
      })
      expect(await submit({ storage_path: 'late:a', fetch_mode: 'endpoint' })).toMatchObject({ fetch_mode: 'endpoint' })
      await drop('/volume/late')
      expect(await submit({ storage_path: 'late:a', fetch_mode: 'volume' })).toMatchObject({ code: 'volume_not_found' })
      await post(s3('late', { tenant_id: 'other' }))
      expect(await submit({ storage_path: 'late:a' })).toMatchObject({ fetch_mode: 'endpoint' })
      expect(await submit({ storage_path: 'late:a' }, other)).toMatchObject({ fetch_mode: 'volume' })
    })

    it('one made by another instance works at once', async () => {
      const place = { tenantId: 'acme', accountId: null, name: 'elsewhere' }
      expect(await submit({ storage_path: 'elsewhere:a', fetch_mode: 'volume' })).toMatchObject({
        code: 'volume_not_found',
      })
      const content = { backend: 's3' as const, config: { bucket: 'b' }, trusted: true, fromConfig: false }
      await saveVolume(http.temp.db, http.sealer, place, () => content, { now: 1 })
      expect(await submit({ storage_path: 'elsewhere:a', fetch_mode: 'volume' })).toMatchObject({
        fetch_mode: 'volume',
      })
    })

    it('what cannot be fetched here is rejected with what is missing', async () => {
      expect(await submit({ storage_path: 'doc_id=9' }, other)).toMatchObject({
        code: 'attachment_source_unavailable',
        reason: expect.stringContaining('client_base_url'),
      })
      expect(await submit({ storage_path: '/srv/a.pdf' })).toMatchObject({
        code: 'attachment_source_unavailable',
        reason: expect.stringContaining('GMP_ATTACHMENT_BASE_DIR'),
      })
      expect(await submit({ storage_path: 'doc_id=9' })).toMatchObject({ fetch_mode: 'endpoint' })
      expect(await submit({ storage_path: 'https://x.test/a' })).toMatchObject({ fetch_mode: 'http_url' })
      expect(await submit({ storage_path: 'ftp://x.test/a', fetch_mode: 'http_url' })).toMatchObject({
        code: 'invalid_field',
      })
      for (const storage_path of ['a.txt', 'vol:', 'a/b:c']) {
        expect(await submit({ storage_path, fetch_mode: 'volume' })).toMatchObject({ code: 'invalid_field' })
      }
    })
  })
})
