/**
 * What a store's client threw, as a short sentence for a person and whether trying again may help. Codes and statuses
 * only: the texts of clients and servers may hold addresses, URLs with signatures and keys.
 */
import { AttachmentFailure } from '../failure.js'

/** `timeoutMs` is named where a client's own time limit was the first to act. */
export function failureOf(error: unknown, timeoutMs: number): AttachmentFailure {
  for (let cause = error, depth = 0; typeof cause === 'object' && cause !== null && depth < 5; depth += 1) {
    if (cause instanceof AttachmentFailure) return cause
    const known = failureByCode(cause as Thrown, timeoutMs, error) ?? failureByStatus(cause as Thrown, error)
    if (known !== null) return known
    const { cause: next, errors } = cause as Thrown
    cause = next ?? errors?.[0]
  }
  if (error instanceof Error && error.message === 'Region is missing') {
    return new AttachmentFailure('the config of its volume needs a region', 'permanent', { cause: error })
  }
  const { code, name } = (error ?? {}) as Thrown
  const label = [code, name].find(isLabel)
  return new AttachmentFailure(`the store failed${label ? ` (${label})` : ''}`, 'transient', { cause: error })
}

/** Whether the guard refused an address. */
export function isHostRefused(error: unknown): boolean {
  let cause = error
  for (let depth = 0; typeof cause === 'object' && cause !== null && depth < 5; depth += 1) {
    const { code, cause: next, errors } = cause as Thrown
    if (code === NOT_ALLOWED) return true
    cause = next ?? errors?.[0]
  }
  return false
}

/** The failure an HTTP status stands for: what the same request would meet again, or what may pass. */
export function answered(status: number, label?: unknown, cause?: unknown): AttachmentFailure {
  const passing = status >= 500 || status === 408 || status === 425 || status === 429
  const reason = `the server answered ${status}${isLabel(label) ? ` (${label})` : ''}`
  return new AttachmentFailure(reason, passing ? 'transient' : 'permanent', { cause })
}

/** No answer in time: said by whoever held the watch. */
export function noAnswer(timeoutMs: number): AttachmentFailure {
  return new AttachmentFailure(`no answer within ${timeoutMs / 1000} s`, 'transient')
}

interface Thrown {
  readonly code?: unknown
  readonly name?: unknown
  readonly cause?: unknown
  readonly errors?: readonly unknown[]
  readonly statusCode?: unknown
  readonly status?: unknown
  readonly $metadata?: { readonly httpStatusCode?: unknown }
  readonly details?: { readonly errorCode?: unknown }
}

const NOT_ALLOWED = 'ERR_HOST_NOT_ALLOWED'
const BROKEN = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'UND_ERR_SOCKET', 'ERR_STREAM_PREMATURE_CLOSE'])
const TOO_LONG = new Set(['ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'])
const UNREACHABLE = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'EHOSTDOWN', 'ENETDOWN'])
const CERTIFICATE = /^(CERT_|ERR_TLS_|ERR_SSL_|EPROTO$|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(GET|VERIFY)_)/

function failureByCode({ code, name }: Thrown, timeoutMs: number, cause: unknown): AttachmentFailure | null {
  const transient = (reason: string) => new AttachmentFailure(reason, 'transient', { cause })
  // undici's has no code for some of what it cannot read.
  if (name === 'HTTPParserError') return transient('the server did not speak HTTP')
  if (typeof code !== 'string') return null
  if (code === NOT_ALLOWED) {
    return new AttachmentFailure('its host has no address this service may connect to', 'permanent', { cause })
  }
  if (code === 'ERR_OTHER_ORIGIN') {
    return new AttachmentFailure('the server redirected to another origin', 'permanent', { cause })
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return transient('its host name cannot be resolved')
  if (code === 'ECONNREFUSED') return transient('the connection was refused')
  if (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' || BROKEN.has(code)) return transient('the connection broke off')
  if (TOO_LONG.has(code)) return noAnswer(timeoutMs)
  if (UNREACHABLE.has(code)) return transient('its host cannot be reached')
  if (CERTIFICATE.test(code)) return transient('its TLS certificate cannot be verified')
  if (code.startsWith('HPE_')) return transient('the server did not speak HTTP')
  return null
}

function failureByStatus(thrown: Thrown, cause: unknown): AttachmentFailure | null {
  const status = thrown.$metadata?.httpStatusCode ?? thrown.statusCode ?? thrown.status
  if (typeof status !== 'number' || status < 300) return null
  // S3 and Azure name the reason: NoSuchBucket tells more than 404.
  return answered(status, thrown.$metadata === undefined ? thrown.details?.errorCode : thrown.name, cause)
}

// "Error" and a status as text tell nothing; anything longer than a name is not one.
function isLabel(text: unknown): text is string {
  return typeof text === 'string' && /^[A-Za-z][A-Za-z_]{2,49}$/.test(text) && text !== 'Error'
}
