import { describe, expect, it } from 'vitest'
import { isSecretField, maskSecrets } from './mask.js'

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
