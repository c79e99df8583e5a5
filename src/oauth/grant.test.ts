import { describe, expect, it } from 'vitest'
import { type Grant, grantRequest, readAnswer } from './grant.js'
import { scopeOf, tokenUrlOf } from './settings.js'

const refresh: Grant = {
  tokenUrl: 'https://login.test/token',
  trusted: true,
  grantType: 'refresh_token',
  clientId: 'app id',
  clientSecret: 's&=+ü',
  refreshToken: '1//refresh',
  scope: null,
  clientAuthMethod: 'client_secret_post',
}
const fieldsOf = (grant: Grant) => Object.fromEntries(new URLSearchParams(grantRequest(grant).body))

describe('a request for a token', () => {
  it('has the grant and the client, and a scope only where there is one', () => {
    expect(fieldsOf(refresh)).toEqual({
      grant_type: 'refresh_token',
      refresh_token: '1//refresh',
      client_id: 'app id',
      client_secret: 's&=+ü',
    })
    expect(fieldsOf({ ...refresh, clientSecret: null, scope: 'a b' })).toEqual({
      grant_type: 'refresh_token',
      refresh_token: '1//refresh',
      client_id: 'app id',
      scope: 'a b',
    })
  })

  it('by client credentials holds no refresh token', () => {
    expect(fieldsOf({ ...refresh, grantType: 'client_credentials' })).toEqual({
      grant_type: 'client_credentials',
      client_id: 'app id',
      client_secret: 's&=+ü',
    })
  })

  it('puts the client into the header where that is asked for, each part encoded', () => {
    const { body, authorization } = grantRequest({ ...refresh, clientAuthMethod: 'client_secret_basic' })
    expect(Object.fromEntries(new URLSearchParams(body))).toEqual({
      grant_type: 'refresh_token',
      refresh_token: '1//refresh',
    })
    expect(Buffer.from((authorization ?? '').replace('Basic ', ''), 'base64').toString()).toBe(
      'app+id:s%26%3D%2B%C3%BC',
    )
  })
})

describe('an answer', () => {
  const read = (status: number, body: unknown, grant = refresh) =>
    readAnswer(status, typeof body === 'string' ? body : JSON.stringify(body), grant)

  it('with a token is one, for as long as it says', () => {
    const token = { access_token: 'ya29.a0', token_type: 'Bearer', expires_in: 3599 }
    expect(read(200, token)).toEqual({ ok: true, accessToken: 'ya29.a0', lifeSeconds: 3599, refreshToken: null })
    expect(read(200, { ...token, expires_in: '3599', refresh_token: 'next' })).toMatchObject({
      lifeSeconds: 3599,
      refreshToken: 'next',
    })
    for (const expires_in of [undefined, null, 'soon', -1, {}])
      expect(read(200, { ...token, expires_in })).toMatchObject({ ok: true, lifeSeconds: 3600 })
    expect(read(200, { ...token, expires_in: 1e12 })).toMatchObject({ lifeSeconds: 30 * 86_400 })
    expect(read(200, { access_token: 'x', token_type: 'bearer' })).toMatchObject({ ok: true })
  })

  it.each([
    ['no JSON', '<html>'],
    ['no object', '["a"]'],
    ['no token', {}],
    ['an empty token', { access_token: '' }],
    ['a token that would leave its field', { access_token: 'a\u0001user=other' }],
    ['a token with a line break', { access_token: 'a\r\nMAIL FROM:<x>' }],
    ['a token that no AUTH command holds', { access_token: 'a'.repeat(8193) }],
    ['a number', { access_token: 7 }],
  ])('with %s is none', (_what, body) => {
    expect(read(200, body)).toEqual({ ok: false, words: '200 without a usable access_token' })
  })

  it('with a token of another type cannot be used', () => {
    expect(read(200, { access_token: 'x', token_type: 'mac' })).toEqual({
      ok: false,
      words: 'a token of type mac, where only bearer can be used',
    })
  })

  it.each([
    [400, { error: 'invalid_grant', error_description: 'Bad Request' }, '400: invalid_grant: Bad Request'],
    [401, { error: 'invalid_client' }, '401: invalid_client'],
    [200, { error: 'invalid_grant' }, '200: invalid_grant'],
    [403, { error: { code: 403, message: 'Not allowed', status: 'DENIED' } }, '403: 403: Not allowed'],
    [
      400,
      { error: 'a', error_description: 'AADSTS700082: over.\r\nTrace ID: 1\u0000\u2028x' },
      '400: a: AADSTS700082: over. Trace ID: 1 x',
    ],
    [503, 'busy', '503'],
    [302, '', '302'],
  ])('%i %j is a refusal in its words', (status, body, words) => {
    expect(read(status, body)).toEqual({ ok: false, words })
  })

  it('repeats no secret, and not without end', () => {
    const { ok, ...told } = read(400, {
      error: 'x',
      error_description: `${refresh.refreshToken} ${refresh.clientSecret} ${'y'.repeat(5000)}`,
    })
    expect(ok).toBe(false)
    const { words } = told as { words: string }
    expect(words).toMatch(/^400: x: \*\*\* \*\*\* y+…$/)
    expect(words.length).toBeLessThan(620)
  })
})

it('a secret that is repeated as the type of a token is not told', () => {
  const body = JSON.stringify({ access_token: 'good', token_type: 'Bearer the-secret' })
  expect(readAnswer(200, body, { ...refresh, clientSecret: 'the-secret' })).toEqual({
    ok: false,
    words: 'a token of type Bearer ***, where only bearer can be used',
  })
})

describe('a preset', () => {
  const blank = {
    tenant: null,
    tokenUrl: null,
    clientId: 'a',
    clientSecret: null,
    refreshToken: null,
    scope: null,
    clientAuthMethod: 'client_secret_post',
  } as const
  it('leads to the endpoint and the scope of its provider', () => {
    const google = { ...blank, provider: 'google', grantType: 'refresh_token' } as const
    expect([tokenUrlOf(google), scopeOf(google)]).toEqual(['https://oauth2.googleapis.com/token', null])
    const user = { ...blank, provider: 'microsoft', tenant: 'contoso.com', grantType: 'refresh_token' } as const
    expect([tokenUrlOf(user), scopeOf(user)]).toEqual([
      'https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token',
      'https://outlook.office.com/SMTP.Send offline_access',
    ])
    const app = { ...user, grantType: 'client_credentials' } as const
    expect(scopeOf(app)).toBe('https://outlook.office365.com/.default')
    expect(scopeOf({ ...app, scope: 'own' })).toBe('own')
  })
})
