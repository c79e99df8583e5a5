/**
 * One POST of a delivery report. Never throws: what comes back is an answer or the cause of its absence, and neither
 * holds a credential. Redirects are answers like any other; TLS certificates are verified.
 */
import { Agent, type Dispatcher, request } from 'undici'
import type { Clock } from '../lib/clock.js'
import { guardedConnector } from '../lib/guarded-http.js'
import { causeOf, readBounded } from '../lib/http-answer.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import { orAborted } from '../lib/or-aborted.js'
import type { Endpoint } from '../tenants/endpoint.js'
import { signWebhook } from './sign.js'

const MAX_ANSWER_BYTES = 1_000_000

export interface Posting {
  readonly endpoint: Endpoint
  /** Stable over retries of the same batch. */
  readonly id: string
  readonly body: string
  readonly signingSecrets: readonly string[]
  /** W3C Trace Context: where the call stands in a trace. */
  readonly traceparent: string | null
}

export type PostResult =
  | { readonly answered: true; readonly status: number; readonly body: string }
  | { readonly answered: false; readonly cause: string }

export interface Poster {
  /** Ends within timeoutMs, at once when the signal aborts. */
  post(posting: Posting, signal: AbortSignal): Promise<PostResult>
  close(): Promise<void>
}

export interface PosterDeps {
  readonly clock: Clock
  readonly guard: NetworkGuard
  readonly timeoutMs: number
  /** In place of the service's own connections: the first for trusted endpoints, the second behind the guard. */
  readonly dispatchers?: { readonly trusted: Dispatcher; readonly guarded: Dispatcher }
}

export function createPoster({ clock, guard, timeoutMs, dispatchers }: PosterDeps): Poster {
  // The deadline of the whole request is the clock's, so that headers and body that trickle in do not extend it.
  const common = { headersTimeout: 0, bodyTimeout: timeoutMs, keepAliveMaxTimeout: 30_000 }
  const trusted = dispatchers?.trusted ?? new Agent({ ...common, connect: { timeout: timeoutMs } })
  const guarded = dispatchers?.guarded ?? new Agent({ ...common, connect: guardedConnector(guard, timeoutMs) })

  return {
    async post(posting, signal) {
      const ended = new AbortController()
      const stop = () => ended.abort(new Error('stopped'))
      signal.addEventListener('abort', stop, { once: true })
      if (signal.aborted) stop()
      void clock.sleep(timeoutMs, ended.signal).then(() => ended.abort(new Error('timeout')))
      try {
        const dispatcher = posting.endpoint.trusted ? trusted : guarded
        return await orAborted(exchange(posting, dispatcher, clock, ended.signal), ended.signal)
      } catch (error) {
        if (signal.aborted) return { answered: false, cause: 'stopped' }
        const cause = ended.signal.aborted ? `no answer within ${timeoutMs / 1000} s` : causeOf(error)
        return { answered: false, cause }
      } finally {
        signal.removeEventListener('abort', stop)
        ended.abort(new Error('ended'))
      }
    },
    async close() {
      await Promise.all([trusted.destroy(), guarded.destroy()])
    },
  }
}

async function exchange(
  { endpoint, id, body, signingSecrets, traceparent }: Posting,
  dispatcher: Dispatcher,
  clock: Clock,
  signal: AbortSignal,
): Promise<PostResult> {
  if (endpoint.url === null) return { answered: false, cause: 'the endpoint is not an http or https URL' }
  const answer = await request(endpoint.url, {
    method: 'POST',
    dispatcher,
    signal,
    body,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': 'genro-mail-proxy',
      ...(traceparent === null ? {} : { traceparent }),
      ...(endpoint.authorization === null ? {} : { authorization: endpoint.authorization }),
      ...(signingSecrets.length === 0 ? {} : signWebhook(signingSecrets, id, clock.now(), body)),
    },
  })
  const status = answer.statusCode
  if (status < 200 || status > 299) {
    // The status says it all: a failing server does not get to hold the place with a body that never ends.
    answer.body.on('error', () => {}).destroy()
    return { answered: true, status, body: '' }
  }
  const text = await readBounded(answer.body, MAX_ANSWER_BYTES)
  return text === null
    ? { answered: false, cause: `HTTP ${status} with an answer over ${MAX_ANSWER_BYTES} bytes` }
    : { answered: true, status, body: text }
}
