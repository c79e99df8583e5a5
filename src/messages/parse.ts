/**
 * parseMessage: one submitted message, hostile JSON, to plain checked data or to the first reason why not. Pure.
 * What passes is safe to store, to put into headers and into SMTP commands. It is on the hot path: a usual message takes
 * a few microseconds, so each field is read once, by hand.
 */
import { type ParsedAddress, parseAddress, parseAddressList, parseReversePath } from '../mime/address.js'
import {
  flagField,
  instantField,
  isObject,
  lineField,
  type Reading,
  type Refusal,
  refuse,
  refuseInvalid,
  refuseMissing,
  startReading,
} from './fields.js'
import type { Content, Envelope, InlineUpload, Priority } from './message.js'
import { parseAttachments } from './parse-attachments.js'
import { parseBodies } from './parse-bodies.js'
import { parseHeaders } from './parse-headers.js'
import { priorityOf } from './priority.js'
import { type FieldWarning, findUnknown, sayUnknown, type UnknownField, warningOf } from './unknown-fields.js'

/** A message whose tenant and account are still as the client named them, if it did. */
export interface ParsedMessage {
  readonly id: string
  readonly tenantId: string | null
  readonly accountId: string | null
  readonly priority: Priority
  readonly batchCode: string | null
  /** Epoch ms; null: now. */
  readonly notBefore: number | null
  /** Epoch ms; null: never. */
  readonly expiresAt: number | null
  readonly envelope: Envelope
  readonly content: Content
  /** Contents of its attachments that were taken out of the request, by the attachment's place; to be stored first. */
  readonly uploads: ReadonlyMap<number, InlineUpload>
}

export interface ParseContext {
  /** For messages without their own. */
  readonly defaultPriority: Priority
  /** Unknown fields refuse the message instead of warning. */
  readonly strict: boolean
  /** Tells `name:path` of a volume from a path at the tenant's endpoint. */
  readonly isVolume?: (name: string) => boolean
  /** Long contents that were taken out of the request, by what stands in their place. */
  readonly uploads?: ReadonlyMap<string, InlineUpload>
}

/** `id` of a refused message is what the client can recognise it by: its id as text, if it had one at all. */
export type ParseResult =
  | { readonly ok: true; readonly message: ParsedMessage; readonly warnings: readonly FieldWarning[] }
  | ({ readonly ok: false; readonly id: string | null } & Refusal)

const MAX_ID = 255
const MAX_RECORD_ID = 64
const MAX_BATCH_CODE = 64
/** Far above what makes sense in one header; a longer one is a body in the wrong field. */
const MAX_SUBJECT = 10_000
/** Of one field, and of the envelope. */
const MAX_RECIPIENTS = 10_000
/** Characters of bodies and attachments together. GMP_MAX_BODY_MB usually stops earlier. */
const MAX_MESSAGE = 100 * 1024 * 1024

export const MESSAGE_FIELDS: ReadonlySet<string> = new Set(
  `id tenant_id account_id from from_addr to cc bcc reply_to return_path subject body content_type body_text body_html
  headers message_id attachments priority deferred_ts expires_ts batch_code keep_conversation`.split(/\s+/),
)

export function parseMessage(raw: unknown, context: ParseContext): ParseResult {
  if (!isObject(raw)) {
    return { ok: false, id: null, code: 'invalid_message', field: null, reason: 'a message must be an object' }
  }
  const reading = startReading(raw)
  const unknown: UnknownField[] = []
  const message = readMessage(reading, context, unknown)
  if (message !== null && reading.refusal === null) {
    findUnknown(raw, MESSAGE_FIELDS, '', unknown)
    const [first] = unknown
    if (!context.strict || first === undefined) {
      return {
        ok: true,
        message,
        warnings: unknown.length === 0 ? NONE : unknown.map(each => warningOf(message.id, each)),
      }
    }
    reading.refusal = { code: 'unknown_field', field: first.field, reason: sayUnknown(first) }
  }
  return { ok: false, id: recognisableId(raw.id), ...reading.refusal! }
}

const NONE: readonly FieldWarning[] = []

/** null, with the refusal in the reading, when a field is missing or wrong. */
function readMessage(reading: Reading, context: ParseContext, unknown: UnknownField[]): ParsedMessage | null {
  const id = lineField(reading, 'id', MAX_ID) ?? refuseMissing(reading, 'id')
  const tenantId = lineField(reading, 'tenant_id', MAX_RECORD_ID)
  const accountId = lineField(reading, 'account_id', MAX_RECORD_ID)
  const from = readFrom(reading)
  const to = readAddresses(reading, 'to')
  if (to === null || to.length === 0) refuseMissing(reading, 'to')
  const subject = lineField(reading, 'subject', MAX_SUBJECT) ?? refuseMissing(reading, 'subject')
  if (id === null || from === null || to === null || subject === null || reading.refusal !== null) return null

  const cc = readAddresses(reading, 'cc')
  const bcc = readAddresses(reading, 'bcc')
  const replyTo = readAddresses(reading, 'reply_to')
  const returnPath = readReturnPath(reading)
  const recipients = to.length === 1 && cc === null && bcc === null ? [to[0]!.address] : unique(reading, to, cc, bcc)
  const bodies = parseBodies(reading)
  const headers = parseHeaders(reading)
  const messageId = readMessageId(reading)
  const attachments = parseAttachments(reading, context, unknown)
  const priority = readPriority(reading, context.defaultPriority)
  const batchCode = readBatchCode(reading)
  const notBefore = instantField(reading, 'deferred_ts')
  const expiresAt = instantField(reading, 'expires_ts')
  const keepConversation = flagField(reading, 'keep_conversation') ?? false
  if (reading.refusal !== null) return null
  if (bodies.length + attachments.length > MAX_MESSAGE) {
    return refuse(reading, 'message_too_large', 'body', `message too large: more than ${MAX_MESSAGE} characters`)
  }

  return {
    id,
    tenantId,
    accountId,
    priority,
    batchCode,
    notBefore: notBefore === 0 ? null : notBefore,
    expiresAt,
    envelope: { from: returnPath?.address ?? from.address, to: recipients },
    // Subject and recipients first: a search reads only the beginning of the stored text (see search.ts).
    content: {
      subject,
      to: to.map(headerOf),
      cc: cc?.map(headerOf),
      bcc: bcc?.map(headerOf),
      from: from.header,
      replyTo: replyTo?.map(headerOf).join(', ') || undefined,
      returnPath: returnPath?.given,
      contentType: bodies.contentType,
      headers,
      messageId: messageId ?? undefined,
      body: bodies.body,
      bodyText: bodies.bodyText,
      bodyHtml: bodies.bodyHtml,
      attachments: attachments.refs,
      keepConversation: keepConversation || undefined,
    },
    uploads: attachments.uploads,
  }
}

function readFrom(reading: Reading): ParsedAddress | null {
  const field = isBlank(reading.source.from) && !isBlank(reading.source.from_addr) ? 'from_addr' : 'from'
  const value = reading.source[field]
  if (isBlank(value)) return refuseMissing(reading, 'from')
  if (typeof value !== 'string') return refuseInvalid(reading, field, 'must be a string')
  const parsed = parseAddress(value)
  return parsed.ok ? parsed.address : refuseInvalid(reading, field, parsed.problem)
}

/** A list, or a string with commas. null: absent or refused. */
function readAddresses(reading: Reading, field: string): readonly ParsedAddress[] | null {
  const value = reading.source[field]
  if (value === undefined || value === null) return null
  if (typeof value !== 'string') {
    if (!Array.isArray(value)) return refuseInvalid(reading, field, 'must be a string or a list of strings')
    const wrong = value.findIndex(each => typeof each !== 'string')
    if (wrong >= 0) return refuseInvalid(reading, `${field}[${wrong}]`, 'must be a string')
  }
  const parsed = parseAddressList(value as string | string[], MAX_RECIPIENTS)
  if (parsed.ok) return parsed.addresses
  return refuseInvalid(reading, parsed.index === null ? field : `${field}[${parsed.index}]`, parsed.problem)
}

/** '' counts as absent, as old clients meant it; '<>' is the null reverse-path (RFC 5321 §4.5.5). */
function readReturnPath(reading: Reading): { address: string; given: string } | null {
  const value = reading.source.return_path
  if (isBlank(value)) return null
  if (typeof value !== 'string') return refuseInvalid(reading, 'return_path', 'must be a string')
  const parsed = parseReversePath(value)
  return parsed.ok
    ? { address: parsed.address, given: value.trim() }
    : refuseInvalid(reading, 'return_path', parsed.problem)
}

/** The envelope's addresses, each once, in the order given. */
function unique(reading: Reading, ...lists: (readonly ParsedAddress[] | null)[]): readonly string[] {
  const addresses = new Set<string>()
  for (const list of lists) for (const { address } of list ?? []) addresses.add(address)
  if (addresses.size > MAX_RECIPIENTS) refuseInvalid(reading, 'to', `more than ${MAX_RECIPIENTS} recipients`)
  return [...addresses]
}

/** RFC 5322 §3.6.4 without its obsolete forms. Non-ASCII is refused: it would make the whole mail need SMTPUTF8. */
const MESSAGE_ID = /^(?:<[!-;=?-~]{1,500}>|[!-;=?-~]{1,500})$/

function readMessageId(reading: Reading): string | null {
  const value = lineField(reading, 'message_id', 502)
  if (value === null || MESSAGE_ID.test(value.trim())) return value?.trim() ?? null
  return refuseInvalid(reading, 'message_id', 'must be one msg-id, like <unique@example.org>')
}

function readPriority(reading: Reading, otherwise: Priority): Priority {
  const value = reading.source.priority
  if (value === undefined || value === null) return otherwise
  const priority = priorityOf(value)
  if (priority === null) refuseInvalid(reading, 'priority', 'must be 0 to 3 or immediate, high, medium, low')
  return priority ?? otherwise
}

function readBatchCode(reading: Reading): string | null {
  const code = lineField(reading, 'batch_code', MAX_BATCH_CODE)
  // In the list of suspended batches "*" means all of them.
  return code === '*' ? refuseInvalid(reading, 'batch_code', '"*" is reserved') : code
}

function headerOf(address: ParsedAddress): string {
  return address.header
}

function isBlank(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'string' && value.trim() === '')
}

/** The client's own id, also where it was refused, so that it can tell which message is meant. */
function recognisableId(id: unknown): string | null {
  if (typeof id === 'number') return String(id)
  return typeof id === 'string' && id !== '' ? id.slice(0, 1000) : null
}
