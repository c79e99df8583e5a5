/** Asks a report endpoint with an empty report, as the idle call does, and judges its answer by the same rules. */

import type { Clock } from '../lib/clock.js'
import { type GlobalEndpoint, reportEndpoint } from '../tenants/endpoint.js'
import type { Tenant } from '../tenants/tenant.js'
import { judgeAnswer } from './acknowledge.js'
import type { Poster } from './post.js'
import { batchId } from './sign.js'

export interface SyncTest {
  readonly ok: boolean
  /** Without query; null: the tenant has no endpoint. */
  readonly url: string | null
  readonly durationMs: number
  readonly error: string | null
}

export interface TestDeps {
  readonly clock: Clock
  readonly poster: Poster
  readonly global: GlobalEndpoint
  readonly signal: AbortSignal
}

/** Never rejects for what the endpoint did. The answer's wishes (another sync, do not disturb) are not followed. */
export async function testEndpoint(tenant: Tenant, { clock, poster, global, signal }: TestDeps): Promise<SyncTest> {
  const endpoint = reportEndpoint(tenant, global)
  if (endpoint === null) {
    const error = 'the tenant has no report endpoint: its messages count as reported when they end'
    return { ok: false, url: null, durationMs: 0, error }
  }
  const startedAt = clock.monotonic()
  const answer = await poster.post(
    {
      endpoint,
      id: batchId(tenant.id, []),
      body: '{"delivery_report":[]}',
      signingSecrets: tenant.signingSecrets,
      traceparent: null,
    },
    signal,
  )
  const durationMs = clock.monotonic() - startedAt
  const verdict = answer.answered
    ? judgeAnswer(answer, clock.now())
    : { acknowledged: false as const, cause: answer.cause }
  const url = endpoint.url === null ? null : `${endpoint.url.origin}${endpoint.url.pathname}`
  return { ok: verdict.acknowledged, url, durationMs, error: verdict.acknowledged ? null : verdict.cause }
}
