/**
 * Renders a stored message as the octets of a mail (RFC 5322, MIME). The same input gives the same octets at every
 * attempt, Message-ID and boundaries included. Submission has checked the content; what could harm is dropped or
 * encoded here once more. A message without attachments is a few strings: that path costs 5–9 µs and should stay so.
 */
import { Readable } from 'node:stream'
import { remember } from '../lib/remember.js'
import type { Content, Envelope } from '../messages/message.js'
import type { Mail } from '../smtp/transport.js'
import { asciiDomain, isNonAscii } from './addr-spec.js'
import { LONGEST_SENDER, MOST_SENDERS, type ParsedAddress, parseAddress, parseAddressList } from './address.js'
import { encodedChunks, encodedSize, type RenderedAttachment } from './attachment-part.js'
import { base64Lines } from './body.js'
import { addressField, exactField, problemOfHeader, textField } from './header.js'
import { deriveMessageId, normaliseMessageId, type Submission } from './message-id.js'
import { renderBody, type Segment } from './structure.js'

/** The client's message id is also that of X-Genro-Mail-ID, the time the Date header's unless the client gave one. */
export interface RenderInput extends Submission {
  readonly content: Content
  readonly envelope: Envelope
}

/** Up to this the mail is handed over as strings, above it as a stream: no second copy of large attachments. */
const MAX_BUFFERED = 256 * 1024

/** @throws Error when From is not one address: better no mail than one with a sender nobody meant. */
export function renderMail(input: RenderInput, attachments: readonly RenderedAttachment[]): Mail {
  const { content, envelope } = input
  const header = renderHeader(input)
  // What is not ASCII there is an address that only SMTPUTF8 can carry.
  const international = isNonAscii(header)
  // A character an octet, as in the segments of the body.
  const fields = international ? Buffer.from(header).toString('latin1') : header
  const segments = [fields, ...renderBody(content, attachments, input)]
  let sizeBytes = 0
  for (const segment of segments) sizeBytes += sizeOf(segment)
  const inMemory = attachments.length === 0 || sizeBytes <= MAX_BUFFERED ? textsOf(segments) : null
  const needsSmtpUtf8 = international || isNonAscii(envelope.from) || envelope.to.some(isNonAscii)
  return { sizeBytes, needsSmtpUtf8, is8bit: false, open: () => inMemory ?? openStream(segments) }
}

function renderHeader(input: RenderInput): string {
  const { id, content, createdAt } = input
  const from = senderOf(content.from)
  const custom = readCustomHeaders(content)
  const to = readAddresses(content.to)
  const cc = content.cc?.length ? readAddresses(content.cc) : custom.cc
  const replyTo = content.replyTo ? readAddresses(content.replyTo) : custom.replyTo
  const messageId =
    (content.messageId === undefined ? null : normaliseMessageId(content.messageId)) ??
    custom.messageId ??
    deriveMessageId(input, from.domain)
  let text = `Message-ID: ${messageId}\r\nDate: ${custom.date ?? formatDate(createdAt)}\r\n${from.field}`
  // RFC 5322 wants no To, but mail without any destination field is refused here and there.
  if (to.length > 0) text += addressField('To', to)
  else if (cc.length === 0) text += 'To: undisclosed-recipients:;\r\n'
  if (cc.length > 0) text += addressField('Cc', cc)
  if (replyTo.length > 0) text += addressField('Reply-To', replyTo)
  text += textField('Subject', content.subject) + exactField('X-Genro-Mail-ID', id) + custom.text
  return `${text}MIME-Version: 1.0\r\n`
}

interface Sender {
  /** The From field. */
  readonly field: string
  /** In A-labels. */
  readonly domain: string
}

const senderOf = remember(readSender, MOST_SENDERS, LONGEST_SENDER)

function readSender(text: string): Sender {
  const from = parseAddress(text)
  if (!from.ok) throw new Error(`the From address cannot be rendered: ${from.problem}`)
  return { field: addressField('From', [from.address]), domain: asciiDomain(from.address.address) }
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

/** Null when an attachment has to be read from elsewhere. */
function textsOf(segments: readonly Segment[]): readonly string[] | null {
  const texts: string[] = []
  for (const segment of segments) {
    if (typeof segment === 'string') texts.push(segment)
    else if (Buffer.isBuffer(segment.content)) texts.push(base64Lines(segment.content))
    else return null
  }
  return texts
}

// Not Readable.from: its destroy waits for the generator, and a generator waiting for a stalled source never comes.
function openStream(segments: readonly Segment[]): Readable {
  const abort = new AbortController()
  const octets = octetsOf(joined(segments), abort.signal)
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

async function* octetsOf(segments: readonly Segment[], signal: AbortSignal): AsyncGenerator<Buffer> {
  for (const segment of segments) {
    if (typeof segment === 'string') yield Buffer.from(segment, 'latin1')
    else yield* encodedChunks(segment.content, segment.filename, signal)
  }
}

/** One text where several follow each other: each is a write of its own. */
function joined(segments: readonly Segment[]): Segment[] {
  const out: Segment[] = []
  for (const segment of segments) {
    const last = out.at(-1)
    if (typeof segment === 'string' && typeof last === 'string') out[out.length - 1] = last + segment
    else out.push(segment)
  }
  return out
}
