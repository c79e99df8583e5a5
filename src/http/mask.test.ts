import { describe, expect, it } from 'vitest'
import { isSecretField, maskSecrets, maskUrls } from './mask.js'

describe('masking', () => {
  it.each([
    'password',
    'imap_password',
    'api_token',
    'X-API-Token',
    'client_secret',
    'signing_secrets',
    'access_key',
    'connection_string',
    'auth',
    'key',
  ])('%s is a secret', name => expect(isSecretField(name)).toBe(true))

  it.each(['id', 'host', 'user', 'author', 'keyboard', 'storage_url', 'tenant_id'])('%s is none', name =>
    expect(isSecretField(name)).toBe(false),
  )

  it('reaches into objects and lists, and keeps what tells the shape', () => {
    const given = {
      a: [{ password: 'x', user: 'u' }],
      auth: { method: 'bearer', token: 't' },
      signing_secrets: ['s', 't'],
      password: null,
    }
    expect(maskSecrets(given)).toEqual({
      a: [{ password: '***', user: 'u' }],
      auth: { method: 'bearer', token: '***' },
      signing_secrets: ['***', '***'],
      password: null,
    })
    expect(given.a[0]!.password).toBe('x')
  })
})

it('user, password and query of a URL are masked, however it is written, and nothing else', () => {
  const masked = [
    'https://ada:hunter2@x.test/p?q=a@b',
    ' HTTP:\\\\ada:hunter2@x.test',
    's3://key:hunter2@bucket',
    'https://x.test/a@b',
    'to: ada@x.test',
    ['https:hunter2@x'],
    '/sync?key=hunter2&flag&&v=1#top',
    'why?key=value',
  ].map(maskUrls)
  expect(masked).toEqual([
    'https://***@x.test/p?q=***',
    ' HTTP:\\\\***@x.test',
    's3://***@bucket',
    'https://x.test/a@b',
    'to: ada@x.test',
    ['https:***@x'],
    '/sync?key=***&flag&&v=***#top',
    'why?key=value',
  ])
})
