/** Message-ID (RFC 5322 §3.6.4): the client's own in form, or one derived from the submission, the same at each attempt. */
import { hash } from 'node:crypto'

/** Not an RFC limit: the field's line has to stay far below 998 octets. */
const MAX_LENGTH = 500

/** The id in angle brackets, or null when it is not one token of printable ASCII. */
export function normaliseMessageId(value: string): string | null {
  const text = value.trim()
  const id = text.startsWith('<') && text.endsWith('>') ? text.slice(1, -1) : text
  return id.length <= MAX_LENGTH && /^[!-;=?-~]+$/.test(id) ? `<${id}>` : null
}

/** A Message-ID that depends on seed and domain alone. `domain` is in A-labels. */
export function deriveMessageId(seed: string, domain: string): string {
  return `<${digest(`message-id\n${seed}`)}@${domain}>`
}

/** A boundary that depends on the seed alone. "=_" stands in no quoted-printable or base64 text (RFC 2045 §6.7). */
export function deriveBoundary(seed: string): string {
  return `=_${digest(`boundary\n${seed}`)}`
}

function digest(text: string): string {
  return hash('sha256', text, 'hex').slice(0, 40)
}
