/** A DNS resolver that never answers: whoever asks for a host by name ends in its own time, and says so. */
import { expect, it, onTestFinished } from 'vitest'
import { createHttpSource } from '../../src/attachments/http-source.js'
import { openStore } from '../../src/attachments/stores/open-store.js'
import type { Backend } from '../../src/attachments/stores/store.js'
import { systemClock } from '../../src/lib/clock.js'
import { createNetworkGuard } from '../../src/lib/network-guard.js'
import { createTokenEndpoint } from '../../src/oauth/token-endpoint.js'
import { createPoster } from '../../src/reports/post.js'

const guard = createNetworkGuard({ allowPrivate: true, allowed: [] }, () => new Promise(() => {}))
const url = new URL('http://hangs.example/')
const timeoutMs = 300
const signal = new AbortController().signal
const LATE = 'no answer within 0.3 s'

it.each<[Backend, Record<string, unknown>]>([
  ['http', { base_url: url.href }],
  ['webdav', { url: url.href, user: 'ada', password: 'secret' }],
  ['s3', { bucket: 'files', endpoint: url.href, access_key_id: 'AK', secret_access_key: 'secret' }],
  ['azure', { container: 'files', account_name: 'ada', account_key: 'aHVudGVyMg==', endpoint: url.href }],
])('a store of %s', async (backend, config) => {
  const store = await openStore(backend, config, { guard, ambient: false, timeoutMs })
  onTestFinished(() => store.close())
  await expect(store.get('a.txt', signal)).rejects.toMatchObject({ kind: 'transient', message: LATE })
})

it('a URL of an attachment', async () => {
  const source = createHttpSource(guard, timeoutMs)
  onTestFinished(() => source.close())
  await expect(source.get(url, [], {}, signal)).rejects.toMatchObject({ code: 'UND_ERR_CONNECT_TIMEOUT' })
})

it('a report', async () => {
  const poster = createPoster({ clock: systemClock, guard, timeoutMs })
  onTestFinished(() => poster.close())
  const endpoint = { url, authorization: null, trusted: false }
  const posting = { endpoint, id: 'r1', body: '{}', signingSecrets: [], traceparent: null }
  expect(await poster.post(posting, signal)).toEqual({ answered: false, cause: LATE })
})

const GRANT = {
  tokenUrl: url.href,
  trusted: false,
  grantType: 'client_credentials' as const,
  clientId: 'app',
  clientSecret: 'secret',
  refreshToken: null,
  scope: null,
  clientAuthMethod: 'client_secret_post' as const,
}

it('a token endpoint', async () => {
  const tokens = createTokenEndpoint({ clock: systemClock, guard, timeoutMs })
  onTestFinished(() => tokens.close())
  expect(await tokens.ask(GRANT)).toMatchObject({ ok: false, words: expect.stringContaining(LATE) })
})
