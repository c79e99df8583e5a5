import { describe, expect, it } from 'vitest'
import { readHttpAuth } from './http-auth.js'

describe('readHttpAuth', () => {
  it.each([
    [{}, { method: 'none' }],
    [{ method: null, token: '', user: null }, { method: 'none' }],
    [{ method: 'none', token: 'left over' }, { method: 'none' }],
    [
      { method: 'bearer', token: 'a b/c+=~' },
      { method: 'bearer', token: 'a b/c+=~' },
    ],
    [
      { method: 'basic', user: 'ü', password: 'p:w' },
      { method: 'basic', user: 'ü', password: 'p:w' },
    ],
    [
      { method: 'basic', user: 'key', password: '' },
      { method: 'basic', user: 'key', password: '' },
    ],
  ])('%j can be sent', (given, auth) => {
    expect(readHttpAuth(given)).toEqual({ ok: true, auth })
  })

  it.each([
    [{ token: 'X' }, 'method'],
    [{ user: 'u', password: 'p' }, 'method'],
    [{ method: 'digest' }, 'method'],
    [{ method: 'bearer' }, 'token'],
    [{ method: 'bearer', token: 5 }, 'token'],
    [{ method: 'bearer', token: 'töken' }, 'token'],
    [{ method: 'bearer', token: 'a\r\nX: y' }, 'token'],
    [{ method: 'bearer', token: ' a' }, 'token'],
    [{ method: 'bearer', token: 'a'.repeat(8_193) }, 'token'],
    [{ method: 'basic', password: 'p' }, 'user'],
    [{ method: 'basic', user: 'a:b', password: 'p' }, 'user'],
    [{ method: 'basic', user: 'u' }, 'password'],
    [{ method: 'basic', user: 'u', password: null }, 'password'],
    [{ method: 'basic', user: 'u', password: 'a\u0000b' }, 'password'],
  ])('%j cannot: %s is at fault', (given, field) => {
    expect(readHttpAuth(given)).toMatchObject({ ok: false, field })
  })
})
