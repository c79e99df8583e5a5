/**
 * Renders a stored message as the octets of a mail (RFC 5322, MIME). The same input gives the same octets at every
 * attempt, Message-ID and boundaries included. Submission has checked the content; what could harm is dropped or
 * encoded here once more. A message without attachments is one string: that path costs 10–20 µs and should stay so.
 */
import { Readable } from 'node:stream'
import type { Content, Envelope } from '../messages/message.js'
import type { Mail } from '../smtp/transport.js'
import { asciiDomain, isNonAscii } from './addr-spec.js'
import { type ParsedAddress, parseAddress, parseAddressList } from './address.js'
import { encodedChunks, encodedSize, type RenderedAttachment } from './attachment-part.js'
import { base64Lines } from './body.js'
import { addressField, exactField, problemOfHeader, textField } from './header.js'
import { deriveMessageId, normaliseMessageId } from './message-id.js'
import { renderBody, type Segment } from './structure.js'

export interface RenderInput {
  /** The client's message id, for X-Genro-Mail-ID. */
  readonly id: string
  readonly content: Content
  readonly envelope: Envelope
  /** Epoch ms; the Date header unless the client gave one. */
  readonly createdAt: number
  /** What names this submission among all, e.g. tenant, id and time: Message-ID and boundaries are derived from it. */
  readonly messageIdSeed: string
  /** Right side of a derived Message-ID; left out: the domain of the From address. */
  readonly messageIdDomain?: string
}

/** Up to this the mail is handed over as one string, above it as a stream: no second copy of large attachments. */
const MAX_BUFFERED = 256 * 1024

/** @throws Error when From is not one address: better no mail than one with a sender nobody meant. */
export function renderMail(input: RenderInput, attachments: readonly RenderedAttachment[]): Mail {
  const header = renderHeader(input)
  const segments = renderBody(input.content, attachments, input.messageIdSeed)
  const needsSmtpUtf8 = header.international || isNonAscii(input.envelope.from) || input.envelope.to.some(isNonAscii)
  // A character an octet, as in the segments.
  const fields = header.international ? Buffer.from(header.text).toString('latin1') : header.text
  const sizeBytes = segments.reduce((sum, segment) => sum + sizeOf(segment), fields.length)
  const [first] = segments
  const isText = segments.length === 1 && typeof first === 'string'
  const inMemory = isText ? fields + first : sizeBytes <= MAX_BUFFERED ? concatenate(fields, segments) : null
  return { sizeBytes, needsSmtpUtf8, is8bit: false, open: () => inMemory ?? openStream(fields, segments) }
}

interface Header {
  readonly text: string
  /** An address stands in it that only SMTPUTF8 can carry. */
  readonly international: boolean
}

function renderHeader({ id, content, createdAt, ...input }: RenderInput): Header {
  const from = parseAddress(content.from)
  if (!from.ok) throw new Error(`the From address cannot be rendered: ${from.problem}`)
  const custom = readCustomHeaders(content)
  const to = readAddresses(content.to)
  const cc = content.cc?.length ? readAddresses(content.cc) : custom.cc
  const replyTo = content.replyTo ? readAddresses(content.replyTo) : custom.replyTo
  const messageId =
    normaliseMessageId(content.messageId ?? '') ??
    custom.messageId ??
    deriveMessageId(input.messageIdSeed, input.messageIdDomain ?? asciiDomain(from.address.address))
  let text = `Message-ID: ${messageId}\r\nDate: ${custom.date ?? formatDate(createdAt)}\r\n`
  text += addressField('From', [from.address])
  // RFC 5322 wants no To, but mail without any destination field is refused here and there.
  if (to.length > 0) text += addressField('To', to)
  else if (cc.length === 0) text += 'To: undisclosed-recipients:;\r\n'
  if (cc.length > 0) text += addressField('Cc', cc)
  if (replyTo.length > 0) text += addressField('Reply-To', replyTo)
  text += textField('Subject', content.subject) + exactField('X-Genro-Mail-ID', id) + custom.text
  const all = [from.address, ...to, ...cc, ...replyTo]
  return { text: `${text}MIME-Version: 1.0\r\n`, international: all.some(({ address }) => isNonAscii(address)) }
}

interface CustomHeaders {
  /** The fields that have no meaning of their own here, rendered. */
  readonly text: string
  readonly cc: readonly ParsedAddress[]
  readonly replyTo: readonly ParsedAddress[]
  readonly date: string | null
  readonly messageId: string | null
}

/** Sorts the client's headers: message fields win, known ones must be well-formed, what may not be set is dropped. */
function readCustomHeaders({ headers }: Content): CustomHeaders {
  if (headers === undefined) return NO_CUSTOM_HEADERS
  const custom = { ...NO_CUSTOM_HEADERS }
  for (const [name, value] of Object.entries(headers)) {
    if (problemOfHeader(name, value) !== null) continue
    switch (name.toLowerCase()) {
      case 'from':
      case 'to':
      case 'subject':
        break
      case 'cc':
        custom.cc = readAddresses(value)
        break
      case 'reply-to':
        custom.replyTo = readAddresses(value)
        break
      case 'date':
        custom.date = isDate(value) ? value : null
        break
      case 'message-id':
        custom.messageId = normaliseMessageId(value)
        break
      default:
        custom.text += textField(name, value)
    }
  }
  return custom
}

const NO_CUSTOM_HEADERS: CustomHeaders = { text: '', cc: [], replyTo: [], date: null, messageId: null }

/** The addresses that can be read; one that cannot is left out of the header, the envelope has it if it is real. */
function readAddresses(values: string | readonly string[]): readonly ParsedAddress[] {
  const whole = parseAddressList(values)
  if (whole.ok) return whole.addresses
  if (typeof values === 'string') return []
  return values.flatMap(value => readAddresses(value))
}

/** RFC 5322 §3.3, in UTC. Messages come many a second, and a date takes 2 µs. */
function formatDate(epochMs: number): string {
  const second = Math.floor(epochMs / 1000)
  if (second !== lastDate.second) {
    lastDate = { second, text: new Date(epochMs).toUTCString().replace('GMT', '+0000') }
  }
  return lastDate.text
}

let lastDate = { second: Number.NaN, text: '' }

function isDate(value: string): boolean {
  return DATE.test(value) && !Number.isNaN(Date.parse(value))
}

const DATE =
  /^(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT|UT)$/

function sizeOf(segment: Segment): number {
  return typeof segment === 'string' ? segment.length : encodedSize(segment.content)
}

/** One string, or null when an attachment has to be read from elsewhere. */
function concatenate(header: string, segments: readonly Segment[]): string | null {
  let octets = header
  for (const segment of segments) {
    if (typeof segment === 'string') octets += segment
    else if (Buffer.isBuffer(segment.content)) octets += base64Lines(segment.content)
    else return null
  }
  return octets
}

// Not Readable.from: its destroy waits for the generator, and a generator waiting for a stalled source never comes.
function openStream(header: string, segments: readonly Segment[]): Readable {
  const abort = new AbortController()
  const octets = octetsOf(header, segments, abort.signal)
  return new Readable({
    read() {
      octets.next().then(
        ({ done, value }) => this.push(done ? null : value),
        error => this.destroy(error),
      )
    },
    destroy(error, callback) {
      abort.abort()
      callback(error)
    },
  })
}

async function* octetsOf(header: string, segments: readonly Segment[], signal: AbortSignal): AsyncGenerator<Buffer> {
  yield Buffer.from(header, 'latin1')
  for (const segment of segments) {
    if (typeof segment === 'string') yield Buffer.from(segment, 'latin1')
    else yield* encodedChunks(segment.content, segment.filename, signal)
  }
}
