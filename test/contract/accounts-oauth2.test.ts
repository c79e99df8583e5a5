/** The OAuth2 fields of accounts: what is taken, what comes back, what may not be moved. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getAccount } from '../../src/accounts/store.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

const google = {
  provider: 'google',
  client_id: 'app',
  client_secret: 'the-client-secret',
  refresh_token: 'the-refresh-token',
}
const microsoft = {
  provider: 'microsoft',
  tenant: 'contoso.onmicrosoft.com',
  grant_type: 'client_credentials',
  client_id: 'app',
  client_secret: 'the-client-secret',
}
const custom = { token_url: 'https://login.test/token', client_id: 'app', refresh_token: 'the-refresh-token' }
const base = { host: 'smtp.test', user: 'shop@mail.test', auth_method: 'oauth2' }

describe.each(dialects)('the oauth2 fields of accounts on %s', dialect => {
  let http: HttpApp
  let acme: string
  let n = 0
  beforeAll(async () => {
    http = await openHttpApp(dialect)
    acme = await http.addTenant('acme')
  })
  afterAll(() => http.close())

  const post = (body: object, token?: string) =>
    http.call('POST', '/account', { body: { tenant_id: 'acme', ...body }, token })
  const stored = async (id: string) => (await getAccount(http.temp.db, http.sealer, 'acme', id))!
  const shown = async (id: string) => (await http.call('GET', `/account/${id}?tenant_id=acme`)).body
  const newId = () => `a${++n}`

  it('the query of a token_url is not shown, and stays when what is shown comes back', async () => {
    const id = newId()
    const token_url = 'https://login.test/token?key=in-the-query'
    await post({ id, ...base, oauth2: { ...custom, token_url } })
    const { oauth2 } = await shown(id)
    expect(oauth2.token_url).toBe('https://login.test/token?key=***')
    expect((await post({ id, ...base, oauth2 }, acme)).status).toBe(200)
    expect((await stored(id)).oauth2?.tokenUrl).toBe(token_url)
    for (const other of [id, newId()]) {
      const changed = { ...custom, token_url: 'https://evil.test/token?key=***' }
      expect((await post({ id: other, ...base, oauth2: changed })).status).toBe(422)
    }
    await http.app.flushAudit()
    expect(JSON.stringify((await http.call('GET', '/command-log')).body)).not.toContain('in-the-query')
  })

  it('are kept sealed, and come back without their secrets', async () => {
    expect((await post({ id: 'g', ...base, oauth2: google })).body).toEqual({ ok: true })
    expect((await stored('g')).oauth2).toEqual({
      provider: 'google',
      tenant: null,
      tokenUrl: null,
      grantType: 'refresh_token',
      clientId: 'app',
      clientSecret: 'the-client-secret',
      refreshToken: 'the-refresh-token',
      scope: null,
      clientAuthMethod: 'client_secret_post',
    })
    const record = await shown('g')
    expect(record).toMatchObject({ auth_method: 'oauth2', user: 'shop@mail.test' })
    expect(record.oauth2).toEqual({
      provider: 'google',
      grant_type: 'refresh_token',
      client_id: 'app',
      client_secret: '***',
      refresh_token: '***',
      client_auth_method: 'client_secret_post',
    })
    const [row] = await http.temp.db.read({ sql: "select * from accounts where id = 'g'", params: [] })
    expect(row!.oauth2).toMatch(/^ENC:/)
    const log = (await http.call('GET', '/command-log')).body
    for (const text of [JSON.stringify(row), JSON.stringify(record), JSON.stringify(log)])
      expect(text).not.toMatch(/the-client-secret|the-refresh-token/)
  })

  it('a client without a secret tells that there is none', async () => {
    await post({ id: 'public', ...base, oauth2: custom })
    expect((await shown('public')).oauth2).toEqual({
      token_url: 'https://login.test/token',
      grant_type: 'refresh_token',
      client_id: 'app',
      refresh_token: '***',
      client_auth_method: 'client_secret_post',
    })
  })

  it('sealed for one account they do not open for another', async () => {
    await post({ id: 'thief', ...base, oauth2: custom })
    await http.temp.db.write([
      {
        sql: "update accounts set oauth2 = (select oauth2 from accounts where id = 'g') where id = 'thief'",
        params: [],
      },
    ])
    await expect(stored('thief')).rejects.toThrow('altered or belongs elsewhere')
    await http.temp.db.write([{ sql: "delete from accounts where id = 'thief'", params: [] }])
  })

  it('change only where they are given; *** keeps a secret, null and an empty text remove', async () => {
    await post({ id: 'm', ...base, oauth2: microsoft })
    await post({ id: 'm', oauth2: { scope: 'mail.send', client_secret: '***' } })
    expect((await stored('m')).oauth2).toMatchObject({
      provider: 'microsoft',
      tenant: 'contoso.onmicrosoft.com',
      grantType: 'client_credentials',
      clientSecret: 'the-client-secret',
      scope: 'mail.send',
    })
    await post({ id: 'm', oauth2: { scope: '', refresh_token: 'r', grant_type: null, client_secret: null } })
    expect((await stored('m')).oauth2).toMatchObject({
      grantType: 'refresh_token',
      refreshToken: 'r',
      clientSecret: null,
      scope: null,
    })
    // The whole record, as it was told: no change.
    const { ok: _, created_at, updated_at, paused, ...record } = await shown('m')
    const before = await stored('m')
    expect((await post(record)).body).toEqual({ ok: true })
    expect({ ...(await stored('m')), updatedAt: 0 }).toEqual({ ...before, updatedAt: 0, imapPort: 993 })
  })

  it('go with the account back to its password, and away with null', async () => {
    await post({ id: 'back', ...base, password: 'p', oauth2: google })
    expect((await post({ id: 'back', auth_method: 'password' })).status).toBe(200)
    expect(await stored('back')).toMatchObject({
      authMethod: 'password',
      password: 'p',
      oauth2: { provider: 'google' },
    })
    expect((await post({ id: 'back', auth_method: 'oauth2' })).status).toBe(200)
    expect((await post({ id: 'back', oauth2: null })).status).toBe(422)
    expect((await post({ id: 'back', auth_method: null, oauth2: null })).status).toBe(200)
    expect(await stored('back')).toMatchObject({ authMethod: 'password', oauth2: null })
    expect(await shown('back')).not.toHaveProperty('oauth2')
  })

  describe('refused is', () => {
    const without = (fields: Record<string, unknown>, name: string) => ({ ...fields, [name]: null })
    it.each([
      [{ ...base, user: null, oauth2: google }, 'user', 'auth_method oauth2 needs the user'],
      [{ ...base }, 'oauth2', 'auth_method oauth2 needs it'],
      [{ ...base, auth_method: undefined, oauth2: google }, 'auth_method', 'must be oauth2 for oauth2 to be used'],
      [{ ...base, oauth2: {} }, 'oauth2.token_url', 'give a provider (google or microsoft), or the URL'],
      [
        { ...base, oauth2: { ...google, token_url: 'https://x.test/' } },
        'oauth2.token_url',
        'contradicts provider google',
      ],
      [{ ...base, oauth2: without(microsoft, 'tenant') }, 'oauth2.tenant', 'microsoft needs the directory'],
      [{ ...base, oauth2: { ...google, tenant: 'common' } }, 'oauth2.tenant', 'only provider microsoft has a tenant'],
      [{ ...base, oauth2: { ...custom, tenant: 'common' } }, 'oauth2.tenant', 'only provider microsoft has a tenant'],
      [{ ...base, oauth2: { ...microsoft, tenant: 'common' } }, 'oauth2.tenant', 'needs the id of your own directory'],
      [{ ...base, oauth2: without(google, 'client_id') }, 'oauth2.client_id', 'is missing'],
      [{ ...base, oauth2: without(google, 'refresh_token') }, 'oauth2.refresh_token', 'needs a refresh_token'],
      [{ ...base, oauth2: without(microsoft, 'client_secret') }, 'oauth2.client_secret', 'needs a client_secret'],
      [{ ...base, oauth2: { ...google, grant_type: 'client_credentials' } }, 'oauth2.grant_type', 'use refresh_token'],
      [
        { ...base, oauth2: { ...custom, client_auth_method: 'client_secret_basic' } },
        'oauth2.client_secret',
        'client_secret_basic needs a client_secret',
      ],
    ])('%j', async (fields, field, why) => {
      const id = newId()
      const { status, body } = await post({ id, ...fields })
      expect([status, body.code]).toEqual([422, 'validation_failed'])
      expect(body.detail[0].loc).toEqual(['body', ...field.split('.')])
      expect(body.error).toContain(`${field}: `)
      expect(body.error).toContain(why)
      expect(JSON.stringify(body)).not.toMatch(/the-client-secret|the-refresh-token/)
      expect(await getAccount(http.temp.db, http.sealer, 'acme', id)).toBeNull()
    })

    it.each([
      { provider: 'yahoo' },
      { grant_type: 'password' },
      { client_auth_method: 'none' },
      { tenant: '../evil' },
      { tenant: 'a/b' },
      { token_url: 'ftp://login.test/token' },
      { token_url: 'https://user:pw@login.test/token' },
      { token_url: 'https://login.test/token#x' },
      { token_url: 'https://login.test:99999/token' },
      { token_url: 'login.test/token' },
      { client_id: 'a\nb' },
      { refresh_token: 'a\r\nb' },
      { refesh_token: 'misspelt' },
    ])('oauth2 with %j', async change => {
      const { status, body } = await post({ id: newId(), ...base, oauth2: { ...google, ...change } })
      expect([status, body.code]).toEqual([422, 'validation_failed'])
    })

    it('a change that takes away what the account needs', async () => {
      await post({ id: 'whole', ...base, oauth2: google })
      for (const change of [
        { user: null },
        { oauth2: { refresh_token: null } },
        { oauth2: { client_id: '' } },
        { oauth2: { provider: 'microsoft' } },
        { oauth2: { token_url: 'https://login.test/token' } },
      ])
        expect([change, (await post({ id: 'whole', ...change })).status]).toEqual([change, 422])
      expect((await stored('whole')).oauth2).toMatchObject({ provider: 'google', refreshToken: 'the-refresh-token' })
      // Both at once is a change of provider.
      const moved = { provider: null, token_url: 'https://login.test/token' }
      expect((await post({ id: 'whole', oauth2: moved })).status).toBe(200)
    })
  })

  describe('a token endpoint', () => {
    it('without TLS is for the admin to set', async () => {
      const oauth2 = { ...custom, token_url: 'http://10.0.0.7/token' }
      const refused = await post({ id: 'plain', ...base, oauth2 }, acme)
      expect([refused.status, refused.body.error]).toEqual([
        422,
        'oauth2.token_url: must begin with https://: client secret and tokens go there (only the admin may set http)',
      ])
      expect((await post({ id: 'plain', ...base, oauth2 })).status).toBe(200)
      // Naming the same again takes no trust away, naming another does.
      expect((await post({ id: 'plain', oauth2 }, acme)).status).toBe(200)
      expect((await stored('plain')).oauth2Trusted).toBe(true)
      expect(
        (await post({ id: 'plain', oauth2: { ...oauth2, token_url: 'http://10.0.0.8/token' } }, acme)).status,
      ).toBe(422)
    })

    it('is trusted while the admin set it, and not once a tenant has moved it', async () => {
      const trusted = async () => (await stored('trust')).oauth2Trusted
      await post({ id: 'trust', ...base, oauth2: custom }, acme)
      expect(await trusted()).toBe(false)
      await post({ id: 'trust', oauth2: { scope: 'x' } })
      expect(await trusted()).toBe(false)
      await post({ id: 'trust', oauth2: { token_url: custom.token_url } })
      expect(await trusted()).toBe(true)
      await post({ id: 'trust', oauth2: { token_url: 'https://other.test/token', refresh_token: 'mine' } }, acme)
      expect(await trusted()).toBe(false)
      await post({ id: 'trust', oauth2: { token_url: 'https://again.test/token' } })
      await post({ id: 'trust', auth_method: 'password', oauth2: null })
      await post({ id: 'trust', auth_method: 'oauth2', oauth2: custom }, acme)
      expect(await trusted()).toBe(false)
    })
  })

  describe('a tenant who moves an account', () => {
    const both = { ...custom, client_secret: 'the-client-secret' }
    it.each([
      [{ host: 'evil.test' }, 'host changes'],
      [{ port: 2525 }, 'port changes'],
      [{ use_tls: false }, 'use_tls is made weaker'],
      [{ tls_verify: false }, 'tls_verify is turned off'],
      [{ oauth2: { token_url: 'https://evil.test/token' } }, 'the token endpoint changes'],
      [{ oauth2: { token_url: null, provider: 'google' } }, 'the token endpoint changes'],
      [{ auth_method: 'password', host: 'evil.test' }, 'host changes'],
    ])('by %j has to give the secrets again', async (change: Record<string, any>, why) => {
      const id = newId()
      await post({ id, ...base, oauth2: both })
      const before = await stored(id)
      const fails = async (oauth2: object, field: string, what: string) => {
        const { status, body } = await post({ id, ...change, oauth2: { ...change.oauth2, ...oauth2 } }, acme)
        expect([status, body.error]).toEqual([422, `${field}: the ${what} must be given again when ${why}`])
        expect(await stored(id)).toEqual(before)
      }
      await fails({}, 'oauth2.client_secret', 'client secret')
      await fails({ client_secret: '***', refresh_token: 'mine' }, 'oauth2.client_secret', 'client secret')
      await fails({ client_secret: 'mine' }, 'oauth2.refresh_token', 'refresh token')
      const mine = { ...change.oauth2, client_secret: 'mine', refresh_token: 'mine' }
      expect((await post({ id, auth_method: 'oauth2', ...change, oauth2: mine }, acme)).status).toBe(200)
    })

    it('cannot do it with the password in use meanwhile', async () => {
      await post({ id: 'unused', ...base, auth_method: 'password', password: 'p' })
      await post({ id: 'unused', auth_method: 'password', oauth2: both })
      expect((await post({ id: 'unused', host: 'evil.test', password: 'mine' }, acme)).status).toBe(422)
    })

    it('may without the secrets: null removes them', async () => {
      await post({ id: 'gone', ...base, oauth2: both })
      expect((await post({ id: 'gone', host: 'new.test', auth_method: 'password', oauth2: null }, acme)).status).toBe(
        200,
      )
    })

    it('the admin is free to', async () => {
      await post({ id: 'free', ...base, oauth2: both })
      expect((await post({ id: 'free', host: 'new.test', oauth2: { token_url: 'https://new.test/' } })).status).toBe(
        200,
      )
    })
  })
})
