/** Secrets in what is shown or logged: their values become `***`, whatever the depth. */

/** Stands for a secret in answers. Sent back by a client it means: unchanged. */
export const MASK = '***'

const SECRET =
  /password|passwd|passphrase|token|secret|authorization|credential|connection_string|(api|access|account|private|encryption)[_-]?key|^(auth|key|sas|pass|pwd|cookie|sig|signature)$/i

export function isSecretField(name: string): boolean {
  return SECRET.test(name)
}

/** A copy with the values of secret fields masked; null and absent stay as they are. */
export function maskSecrets(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth > 16) return MASK
  if (Array.isArray(value)) return value.map(each => maskSecrets(each, depth + 1))
  const masked: Record<string, unknown> = {}
  for (const [name, each] of Object.entries(value)) {
    masked[name] =
      each !== null && each !== undefined && isSecretField(name) ? maskOne(each, depth) : maskSecrets(each, depth + 1)
  }
  return masked
}

/** `client_auth`-like objects keep their method and user, lists keep their length. */
function maskOne(value: unknown, depth: number): unknown {
  if (Array.isArray(value)) return value.map(() => MASK)
  if (typeof value === 'object' && value !== null) return maskSecrets(value, depth + 1)
  return MASK
}

/** A copy in which no URL has a user or password, and neither a URL nor a path the values of its query. */
export function maskUrls(value: unknown): unknown {
  if (typeof value === 'string') return URL_OR_PATH.test(value) ? maskQuery(value.replace(LOGIN, `$1${MASK}@`)) : value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(maskUrls)
  const masked: Record<string, unknown> = {}
  for (const [name, each] of Object.entries(value)) masked[name] = maskUrls(each)
  return masked
}

/** As URLs are read: with spaces before, and any slashes. */
const LOGIN = /^(\s*(?:https?:[/\\]*|[a-z][a-z0-9+.-]*:\/\/))[^/\\?#]*@/i
const URL_OR_PATH = /^\s*(?:https?:|[a-z][a-z0-9+.-]*:\/\/|\/)/i

/**
 * A URL or path without the values of its query: one may be a token. By the text, so that also what is no good URL is masked.
 * A name ends at the next mark of one, or a row of them would be read anew from each.
 */
export function maskQuery(text: string): string
export function maskQuery(text: string | null): string | null
export function maskQuery(text: string | null): string | null {
  return text === null ? null : text.replace(/([?&][^=?&#]*=)[^&#]+/g, `$1${MASK}`)
}

const MASKED_QUERY = /[?&][^=?&#]*=\*\*\*(?:[&#]|$)/

export function hasMaskedQuery(text: string | null | undefined): boolean {
  return text != null && MASKED_QUERY.test(text)
}
