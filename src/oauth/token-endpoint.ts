/**
 * One POST to a token endpoint. Never throws: what goes wrong is an answer in words that hold no credential. Redirects
 * are refused, TLS certificates verified; an endpoint that a tenant set is connected to through the network guard.
 */
import { Agent, type Dispatcher, request } from 'undici'
import type { Clock } from '../lib/clock.js'
import { guardedConnector } from '../lib/guarded-http.js'
import { causeOf, readBounded } from '../lib/http-answer.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import { orAborted } from '../lib/or-aborted.js'
import { type Grant, type GrantAnswer, grantRequest, readAnswer } from './grant.js'

export interface TokenEndpoint {
  /** Ends within the time limit. */
  ask(grant: Grant): Promise<GrantAnswer>
  close(): Promise<void>
}

const MAX_ANSWER_BYTES = 64 * 1024

export function createTokenEndpoint(deps: {
  readonly clock: Clock
  readonly guard: NetworkGuard
  readonly timeoutMs: number
}): TokenEndpoint {
  const { clock, guard, timeoutMs } = deps
  // The deadline of the whole request is the clock's. Connections are not kept: one is needed once an hour.
  const common = { headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: 1_000, keepAliveMaxTimeout: 1_000 }
  const trusted = new Agent({ ...common, connect: { timeout: timeoutMs } })
  const guarded = new Agent({ ...common, connect: guardedConnector(guard, timeoutMs) })

  return {
    async ask(grant) {
      const ended = new AbortController()
      void clock.sleep(timeoutMs, ended.signal).then(() => ended.abort(new Error('timeout')))
      try {
        const asking = exchange(grant, grant.trusted ? trusted : guarded, ended.signal)
        return named(grant, await orAborted(asking, ended.signal))
      } catch (error) {
        const cause = ended.signal.aborted ? `no answer within ${timeoutMs / 1000} s` : causeOf(error)
        return { ok: false, words: `Token endpoint ${placeOf(grant)} cannot be asked: ${cause}` }
      } finally {
        ended.abort(new Error('ended'))
      }
    },
    async close() {
      await Promise.all([trusted.destroy(), guarded.destroy()])
    },
  }
}

async function exchange(grant: Grant, dispatcher: Dispatcher, signal: AbortSignal): Promise<GrantAnswer> {
  const { body, authorization } = grantRequest(grant)
  const answer = await request(grant.tokenUrl, {
    method: 'POST',
    dispatcher,
    signal,
    body,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': 'genro-mail-proxy',
      ...(authorization === null ? {} : { authorization }),
    },
  })
  const text = await readBounded(answer.body, MAX_ANSWER_BYTES)
  if (text === null) return { ok: false, words: `${answer.statusCode} with more than ${MAX_ANSWER_BYTES} bytes` }
  return readAnswer(answer.statusCode, text, grant)
}

function named(grant: Grant, answer: GrantAnswer): GrantAnswer {
  return answer.ok ? answer : { ok: false, words: `Token endpoint ${placeOf(grant)} answered ${answer.words}` }
}

/** Without a query: what stands there may be a key. */
function placeOf({ tokenUrl }: Grant): string {
  const { origin, pathname } = new URL(tokenUrl)
  return `${origin}${pathname}`
}
