/** A DNS resolver that never answers: whoever asks for a host by name ends in its own time, and says so. */
import { expect, it, onTestFinished } from 'vitest'
import { createAttachmentFetcher, type FetchContext, type FetchDeps } from '../../src/attachments/fetch.js'
import { createHttpSource } from '../../src/attachments/http-source.js'
import { openStore } from '../../src/attachments/stores/open-store.js'
import type { Backend } from '../../src/attachments/stores/store.js'
import { systemClock } from '../../src/lib/clock.js'
import { createNetworkGuard } from '../../src/lib/network-guard.js'
import type { AttachmentRef } from '../../src/messages/message.js'
import { createTokenEndpoint } from '../../src/oauth/token-endpoint.js'
import { createPoster } from '../../src/reports/post.js'
import { startHttpSink } from '../support/http-sink.js'

const guard = createNetworkGuard({ allowPrivate: true, allowed: [] }, () => new Promise(() => {}))
const url = new URL('http://hangs.example/')
const timeoutMs = 300
const signal = new AbortController().signal
const LATE = 'no answer within 0.3 s'
const POSTING = {
  endpoint: { url, authorization: null, trusted: false },
  id: 'r1',
  body: '{}',
  signingSecrets: [],
  traceparent: null,
}

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

it('an attachment, in the time of its own source, also when the lookup is that of a redirect', async () => {
  const sink = await startHttpSink(() => ({ status: 302, headers: { location: url.href } }))
  onTestFinished(() => sink.close())
  const http = createHttpSource(guard, 60_000)
  onTestFinished(() => http.close())
  const fetcher = createAttachmentFetcher({
    config: { timeoutMs: 60_000, timeoutMsBySource: { http_url: timeoutMs }, maxBytes: 1_000, maxBytesBySource: {} },
    http,
  } as FetchDeps)
  const ref: AttachmentRef = { filename: 'a.txt', fetchMode: 'http_url', storagePath: sink.url }
  const context = { tenantId: 'acme', accountId: 'main', trustedOrigins: [sink.url], ownAuthorization: null }
  await expect(fetcher.fetch([ref], context as unknown as FetchContext, signal)).rejects.toMatchObject({
    message: 'Attachment fetch failed for a.txt: not fetched within 0.3 s',
  })
  expect(sink.requests).toHaveLength(1)
})

it('a report', async () => {
  const poster = createPoster({ clock: systemClock, guard, timeoutMs })
  onTestFinished(() => poster.close())
  expect(await poster.post(POSTING, signal)).toEqual({ answered: false, cause: LATE })
})

it('a report that is stopped meanwhile, at once', async () => {
  const stop = new AbortController()
  const resolve = () => {
    stop.abort()
    return new Promise<never>(() => {})
  }
  const stopping = createNetworkGuard({ allowPrivate: true, allowed: [] }, resolve)
  const poster = createPoster({ clock: systemClock, guard: stopping, timeoutMs: 60_000 })
  onTestFinished(() => poster.close())
  expect(await poster.post(POSTING, stop.signal)).toEqual({ answered: false, cause: 'stopped' })
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
