import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hashToken } from '../../src/lib/tokens.js'
import { findKey } from '../../src/tenants/keys.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('API keys on %s', dialect => {
  let http: HttpApp
  beforeAll(async () => {
    http = await openHttpApp(dialect)
  })
  afterAll(() => http.close())
  const works = async (token: string) => (await http.call('GET', '/accounts', { token })).status === 200
  const rotate = async (id: string, body: object = {}) =>
    (await http.call('POST', `/tenant/${id}/api-key`, { body })).body.api_key as string

  it('a new key ends the one before at once', async () => {
    const first = await http.addTenant('a')
    const second = await rotate('a')
    expect([await works(first), await works(second)]).toEqual([false, true])
  })

  it('with an overlap both work for a while', async () => {
    const first = await http.addTenant('b')
    const second = await rotate('b', { overlap_seconds: 60 })
    expect([await works(first), await works(second)]).toEqual([true, true])
    await http.clock.advance(60_000)
    expect([await works(first), await works(second)]).toEqual([false, true])
  })

  it('an overlap does not lengthen the life of a key that ends before', async () => {
    await http.addTenant('c')
    const short = await rotate('c', { expires_at: Math.floor(http.clock.now() / 1000) + 10 })
    await rotate('c', { overlap_seconds: 3600 })
    expect(await works(short)).toBe(true)
    await http.clock.advance(11_000)
    expect(await works(short)).toBe(false)
  })

  it('a key ends at its time, and one in the past is refused', async () => {
    await http.addTenant('d')
    const seconds = Math.floor(http.clock.now() / 1000)
    expect((await http.call('POST', '/tenant/d/api-key', { body: { expires_at: seconds } })).status).toBe(422)
    const key = await rotate('d', { expires_at: String(seconds + 5) })
    expect(await works(key)).toBe(true)
    await http.clock.advance(5000)
    expect(await works(key)).toBe(false)
  })

  it('once all have the second key the first is ended, and a third takes the place of both', async () => {
    const first = await http.addTenant('g')
    const second = await rotate('g', { overlap_seconds: 3600 })
    expect([await works(first), await works(second)]).toEqual([true, true])
    const endOld = () => http.call('DELETE', '/tenant/g/api-key', { body: { keep_newest: 'yes' } })
    for (let i = 0; i < 2; i += 1) {
      expect((await endOld()).status).toBe(200)
      expect([await works(first), await works(second)]).toEqual([false, true])
    }
    const third = await rotate('g')
    expect([await works(second), await works(third)]).toEqual([false, true])
    expect((await http.call('DELETE', '/tenant/g/api-key?keep_newest=true')).status).toBe(200)
    expect(await works(third)).toBe(true)
    // The last that is good: one that has ended, though made later, takes no other's place.
    const short = await rotate('g', { overlap_seconds: 3600, expires_at: Math.floor(http.clock.now() / 1000) + 10 })
    await http.clock.advance(11_000)
    expect((await endOld()).status).toBe(200)
    expect([await works(third), await works(short)]).toEqual([true, false])
    await http.clock.advance(3_600_000)
    const rows = () => http.temp.db.read({ sql: "select hash from api_keys where tenant_id = 'g'", params: [] })
    const before = await rows()
    expect((await endOld()).status).toBe(200)
    expect([before.length, await rows()]).toEqual([1, before])
    expect((await http.call('DELETE', '/tenant/nowhere/api-key?keep_newest=true')).status).toBe(404)
  })

  it('ending the keys works also where there are none', async () => {
    const key = await http.addTenant('e')
    for (let i = 0; i < 2; i += 1) expect((await http.call('DELETE', '/tenant/e/api-key')).body).toEqual({ ok: true })
    expect(await works(key)).toBe(false)
  })

  it('with a field that is mistyped none is ended', async () => {
    const key = await http.addTenant('h')
    const inQuery = await http.call('DELETE', '/tenant/h/api-key?keep_newst=true')
    const inBody = await http.call('DELETE', '/tenant/h/api-key', { body: { keepNewest: true } })
    expect([inQuery, inBody]).toMatchObject([
      { status: 422, body: { code: 'validation_failed', error: expect.stringMatching(/^keep_newst: /) } },
      { status: 422, body: { code: 'validation_failed', error: expect.stringMatching(/^keepNewest: /) } },
    ])
    expect(await works(key)).toBe(true)
  })

  it('only the hash is stored, and the log does not have the key', async () => {
    const key = await http.addTenant('f')
    expect(await findKey(http.temp.db, hashToken(key))).toEqual({ tenantId: 'f', expiresAt: null })
    const rows = await http.temp.db.read({ sql: 'select * from api_keys', params: [] })
    expect(JSON.stringify(rows)).not.toContain(key)
    expect(JSON.stringify((await http.call('GET', '/command-log?limit=1000')).body)).not.toContain(key)
  })
})
