/**
 * One request for an access token and its answer (RFC 6749 §4.4, §5, §6). Pure: what is sent, what is understood.
 * A refusal is a value, in the provider's words; no secret ever stands in them.
 */
import type { ClientAuthMethod, GrantType } from './settings.js'

/** All that shapes a request. */
export interface Grant {
  readonly tokenUrl: string
  /** False: set with a tenant's key, so only addresses the network guard allows may be connected to. */
  readonly trusted: boolean
  readonly grantType: GrantType
  readonly clientId: string
  readonly clientSecret: string | null
  readonly refreshToken: string | null
  readonly scope: string | null
  readonly clientAuthMethod: ClientAuthMethod
}

export type GrantAnswer =
  | {
      readonly ok: true
      readonly accessToken: string
      readonly lifeSeconds: number
      /** Takes the place of the one that was used; null: that one stays. */
      readonly refreshToken: string | null
    }
  | { readonly ok: false; readonly words: string }

export function grantRequest(grant: Grant): { readonly body: string; readonly authorization: string | null } {
  const { grantType, clientId, clientSecret, refreshToken, scope } = grant
  const fields = new URLSearchParams({ grant_type: grantType })
  if (grantType === 'refresh_token' && refreshToken !== null) fields.set('refresh_token', refreshToken)
  if (scope !== null) fields.set('scope', scope)
  if (grant.clientAuthMethod === 'client_secret_basic') {
    return { body: fields.toString(), authorization: basic(clientId, clientSecret ?? '') }
  }
  fields.set('client_id', clientId)
  if (clientSecret !== null) fields.set('client_secret', clientSecret)
  return { body: fields.toString(), authorization: null }
}

/** Where a provider does not say (RFC 6749 §5.1 only recommends it). A wrong guess costs one refused login. */
const DEFAULT_LIFE_SECONDS = 3600
const MAX_LIFE_SECONDS = 30 * 86_400
/** In base64 it must fit the 12,288 octets of an AUTH command (RFC 4954 §4). */
const MAX_TOKEN = 8192

/** `body`: as it came. */
export function readAnswer(status: number, body: string, grant: Grant): GrantAnswer {
  const fields = parseObject(body)
  if (status !== 200) return no(`${status}${errorWords(fields, grant)}`)
  const { access_token: accessToken, token_type: type, expires_in: life, refresh_token: refreshToken } = fields
  // Some answer an error with a 200.
  if (accessToken === undefined && fields.error !== undefined) return no(`200${errorWords(fields, grant)}`)
  if (!isToken(accessToken)) return no('200 without a usable access_token')
  if (typeof type === 'string' && type.toLowerCase() !== 'bearer')
    return no(`a token of type ${printable(masked(type, grant), 40)}, where only bearer can be used`)
  return {
    ok: true,
    accessToken,
    lifeSeconds: secondsOf(life),
    refreshToken: isToken(refreshToken) ? refreshToken : null,
  }
}

/** `: invalid_grant: Token has been expired or revoked.` (RFC 6749 §5.2). */
function errorWords(fields: Readonly<Record<string, unknown>>, grant: Grant): string {
  // Some put an object there; its code and message are what these fields are elsewhere.
  const nested = isObject(fields.error) ? fields.error : {}
  const parts = [
    typeof fields.error === 'string' ? fields.error : (nested.code ?? nested.status),
    fields.error_description ?? nested.message,
  ]
  const words = parts.flatMap(part => (typeof part === 'string' || typeof part === 'number' ? `: ${part}` : []))
  return printable(masked(words.join(''), grant), 600)
}

/** Without what was a secret of ours, which some endpoints repeat. */
function masked(words: string, { clientSecret, refreshToken }: Grant): string {
  return [clientSecret, refreshToken].reduce<string>(
    (text, secret) => (secret === null || secret === '' ? text : text.replaceAll(secret, '***')),
    words,
  )
}

function basic(clientId: string, clientSecret: string): string {
  // Each form-encoded first (RFC 6749 §2.3.1), so that a colon does not end the id.
  const encode = (text: string) => new URLSearchParams({ x: text }).toString().slice(2)
  return `Basic ${Buffer.from(`${encode(clientId)}:${encode(clientSecret)}`).toString('base64')}`
}

/** VSCHAR (RFC 6749 appendix A.12): nothing that could end a line, a header or a field of SASL. */
function isToken(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_TOKEN && /^[\x21-\x7e]+$/.test(value)
}

function secondsOf(value: unknown): number {
  const seconds = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value
  if (typeof seconds !== 'number' || !(seconds >= 0)) return DEFAULT_LIFE_SECONDS
  return Math.min(seconds, MAX_LIFE_SECONDS)
}

function parseObject(body: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body)
    return isObject(value) ? value : {}
  } catch {
    return {}
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** One line for a person: Microsoft's descriptions come with line breaks. */
function printable(text: string, maxLength: number): string {
  const line = text.replace(/[\x00-\x20\x7f-\x9f\u2028\u2029]+/g, ' ').trim()
  return line.length <= maxLength ? line : `${line.slice(0, maxLength).replace(/[\ud800-\udbff]$/, '')}…`
}

function no(words: string): GrantAnswer {
  return { ok: false, words }
}
