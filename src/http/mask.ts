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

/** A copy in which no text that is a URL has a user or password. As URLs are read: with spaces before, and any slashes. */
export function maskLogins(value: unknown): unknown {
  if (typeof value === 'string') return value.includes('@') ? value.replace(LOGIN, `$1${MASK}@`) : value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(maskLogins)
  const masked: Record<string, unknown> = {}
  for (const [name, each] of Object.entries(value)) masked[name] = maskLogins(each)
  return masked
}

const LOGIN = /^(\s*(?:https?:[/\\]*|[a-z][a-z0-9+.-]*:\/\/))[^/\\?#]*@/i
