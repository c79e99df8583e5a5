/** Is this report from the service, unaltered and recent? Standard Webhooks (standardwebhooks.com, version 1). */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** Of fetch, of node:http, or any object with the names in lower case. */
export type HeadersGiven = Headers | Readonly<Record<string, string | readonly string[] | undefined>>

export interface VerifyOptions {
  /** How old, or early, a request may be. 300. */
  readonly toleranceSeconds?: number
  /** Epoch milliseconds; now unless given. */
  readonly now?: number
}

/**
 * True when one of the secrets signed this very body lately. The body as it came, before it is parsed.
 * @throws TypeError for a secret that is none: with an empty one everybody could sign.
 */
export function verifyReport(
  headers: HeadersGiven,
  body: string | Uint8Array,
  secrets: readonly string[],
  { toleranceSeconds = 300, now = Date.now() }: VerifyOptions = {},
): boolean {
  const keys = secrets.map(keyOf)
  const id = headerOf(headers, 'webhook-id')
  const timestamp = headerOf(headers, 'webhook-timestamp')
  const given = headerOf(headers, 'webhook-signature')
  if (id === null || timestamp === null || given === null || !/^\d{1,12}$/.test(timestamp)) return false
  if (Math.abs(now / 1000 - Number(timestamp)) > toleranceSeconds) return false
  const expected = keys.map(key => createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest())
  const signatures = given.split(' ').filter(each => each.startsWith('v1,'))
  return signatures.some(each => expected.some(mac => isSame(Buffer.from(each.slice(3), 'base64'), mac)))
}

/** A header's value by its name in lower case; null when it is not there, or there twice. */
export function headerOf(headers: HeadersGiven, name: string): string | null {
  const value = isFetchHeaders(headers) ? headers.get(name) : headers[name]
  return typeof value === 'string' ? value : null
}

function isFetchHeaders(headers: HeadersGiven): headers is Headers {
  return typeof (headers as Headers).get === 'function'
}

function isSame(given: Buffer, expected: Buffer): boolean {
  return given.length === expected.length && timingSafeEqual(given, expected)
}

function keyOf(secret: string): Buffer {
  const [, text] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret) ?? []
  const key = Buffer.from(text ?? '', 'base64')
  if (key.length < 24 || key.length > 64) {
    throw new TypeError('a signing secret is whsec_ and base64 of 24 to 64 random bytes')
  }
  return key
}
