/**
 * Standard Webhooks (standardwebhooks.com, v1): lets a client verify that a report came from this service, unaltered
 * and lately. During a rotation both secrets sign, so that the client may change over at any moment in between.
 */
import { createHash, createHmac, randomUUID } from 'node:crypto'
import { signingKey } from '../lib/signing-secret.js'

export interface WebhookHeaders {
  readonly 'webhook-id': string
  readonly 'webhook-timestamp': string
  readonly 'webhook-signature': string
}

/** Signs `id.timestamp.body` with each secret; `at` in epoch ms. What is no secret signs nothing: its key is guessable. */
export function signWebhook(secrets: readonly string[], id: string, at: number, body: string): WebhookHeaders {
  const timestamp = String(Math.floor(at / 1000))
  const signatures = secrets
    .map(signingKey)
    .filter(key => key !== null)
    .map(key => `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`)
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}

/** The same for the same entries whenever and by whichever instance they are posted: clients drop repeats by it. */
export function batchId(tenantId: string, eventIds: readonly number[]): string {
  if (eventIds.length === 0) return `msg_${randomUUID()}`
  return `msg_${createHash('sha256')
    .update(`${tenantId}\n${eventIds.join(',')}`)
    .digest('base64url')
    .slice(0, 32)}`
}
