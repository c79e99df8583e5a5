import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import { type HttpSink, startHttpSink } from '../../test/support/http-sink.js'
import { deadPort } from '../../test/support/story.js'
import { systemClock } from '../lib/clock.js'
import { createNetworkGuard } from '../lib/network-guard.js'
import type { Grant } from './grant.js'
import { createTokenEndpoint, type TokenEndpoint } from './token-endpoint.js'

const guard = createNetworkGuard({ allowPrivate: false, allowed: [] })
const open: TokenEndpoint[] = []
let sink: HttpSink

beforeEach(async () => {
  sink = await startHttpSink(() => ({ body: { access_token: 'good', token_type: 'Bearer', expires_in: 60 } }))
})
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
  await sink.close()
})

function endpoint(timeoutMs = 5_000, clock = systemClock): TokenEndpoint {
  const made = createTokenEndpoint({ clock, guard, timeoutMs })
  open.push(made)
  return made
}

const grant = (changes: Partial<Grant> = {}): Grant => ({
  tokenUrl: `${sink.url}/token?key=in-the-query`,
  trusted: true,
  grantType: 'client_credentials',
  clientId: 'app',
  clientSecret: 'the-secret',
  refreshToken: null,
  scope: null,
  clientAuthMethod: 'client_secret_post',
  ...changes,
})

describe('a token endpoint', () => {
  it('is posted a form, and its answer understood', async () => {
    expect(await endpoint().ask(grant())).toMatchObject({ ok: true, accessToken: 'good', lifeSeconds: 60 })
    expect(sink.requests).toMatchObject([
      {
        method: 'POST',
        path: '/token?key=in-the-query',
        headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
        body: 'grant_type=client_credentials&client_id=app&client_secret=the-secret',
      },
    ])
  })

  it('that refuses is named, without its query', async () => {
    sink.answer(() => ({ status: 401, body: { error: 'invalid_client' } }))
    expect(await endpoint().ask(grant())).toEqual({
      ok: false,
      words: `Token endpoint ${sink.url}/token answered 401: invalid_client`,
    })
  })

  it('that redirects is not followed: the secrets stay where they were meant for', async () => {
    const other = await startHttpSink()
    sink.answer(() => ({ status: 307, headers: { location: `${other.url}/steal` } }))
    const { ok, ...told } = await endpoint().ask(grant())
    expect([ok, told]).toEqual([false, { words: `Token endpoint ${sink.url}/token answered 307` }])
    expect(other.connections()).toBe(0)
    await other.close()
  })

  it.each(['headers', 'body'] as const)('whose %s never come is given up in time', async hang => {
    sink.answer(() => ({ hang }))
    const clock = createFakeClock()
    const asking = endpoint(30_000, clock).ask(grant())
    await sink.waitFor(1)
    await clock.advance(30_000)
    expect(await asking).toEqual({
      ok: false,
      words: `Token endpoint ${sink.url}/token cannot be asked: no answer within 30 s`,
    })
    expect(clock.sleepers()).toBe(0)
  })

  it('that answers without end is cut off', async () => {
    sink.answer(() => ({ body: `{"access_token": "${'x'.repeat(100_000)}"}` }))
    expect(await endpoint().ask(grant())).toEqual({
      ok: false,
      words: `Token endpoint ${sink.url}/token answered 200 with more than 65536 bytes`,
    })
  })

  it('that nobody serves is told by a code', async () => {
    const port = await deadPort()
    expect(await endpoint().ask(grant({ tokenUrl: `http://127.0.0.1:${port}/` }))).toEqual({
      ok: false,
      words: `Token endpoint http://127.0.0.1:${port}/ cannot be asked: ECONNREFUSED`,
    })
  })

  it.each(['127.0.0.1', 'localhost', '0x7f.1'])('at %s that a tenant set is not connected to', async host => {
    const tokenUrl = `http://${host}:${sink.port}/token`
    const { ok, ...told } = await endpoint().ask(grant({ tokenUrl, trusted: false }))
    expect([ok, told]).toEqual([
      false,
      { words: expect.stringMatching(/cannot be asked: the endpoint has no address this service may connect to$/) },
    ])
    expect(sink.connections()).toBe(0)
  })
})
