/** Message-ID (RFC 5322 §3.6.4): the client's own in form, or one derived from the submission, the same at each attempt. */
import { hash } from 'node:crypto'
import { remember } from '../lib/remember.js'

/** Not an RFC limit: the field's line has to stay far below 998 octets. */
const MAX_LENGTH = 500

/** The id in angle brackets, or null when it is not one token of printable ASCII. */
export function normaliseMessageId(value: string): string | null {
  const text = value.trim()
  const id = text.startsWith('<') && text.endsWith('>') ? text.slice(1, -1) : text
  return id.length <= MAX_LENGTH && /^[!-;=?-~]+$/.test(id) ? `<${id}>` : null
}

/** What names one submission among all. */
export interface Submission {
  readonly tenantId: string
  /** The client's message id. */
  readonly id: string
  /** Epoch ms. */
  readonly createdAt: number
}

/**
 * A Message-ID that depends on submission and domain alone. `domain` is in A-labels. An id that can stand in it does, as it
 * does in X-Genro-Mail-ID: a digest takes 3 µs. The tenant's never does.
 */
export function deriveMessageId(submission: Submission, domain: string): string {
  const { tenantId, id, createdAt } = submission
  const left = PLAIN_ID.test(id) ? `${id}.${createdAt}.${markOf(tenantId)}` : digest('message-id', submission)
  return `<${left}@${domain}>`
}

/** A boundary that depends on the submission alone. "=_" stands in no quoted-printable or base64 text (RFC 2045 §6.7). */
export function deriveBoundary(submission: Submission): string {
  return `=_${digest('boundary', submission)}`
}

/** Without a dot, so that what follows it in a Message-ID cannot be taken for a part of it. */
const PLAIN_ID = /^[\w-]{1,64}$/

const MOST_TENANTS = 10_000
const markOf = remember(tenantId => hash('sha256', `tenant\n${tenantId}`, 'hex').slice(0, 20), MOST_TENANTS)

function digest(purpose: string, { tenantId, id, createdAt }: Submission): string {
  return hash('sha256', `${purpose}\n${tenantId} ${id} ${createdAt}`, 'hex').slice(0, 40)
}
