/**
 * One attachment as a body part: its Content-* fields (RFC 2183, RFC 2231) and its octets in base64, from memory or
 * streamed, with the exact size known before the first octet.
 */
import { addAbortSignal, type Readable } from 'node:stream'
import { detectMimeType } from 'nodemailer/lib/mime-funcs/mime-types'
import { escapeQuoted } from './addr-spec.js'
import { base64Lines, base64Size } from './body.js'
import { tokenField } from './header.js'

export interface RenderedAttachment {
  readonly filename: string
  readonly mimeType?: string
  readonly contentId?: string
  readonly content: AttachmentContent
}

/** In memory, or a source that can be read once for each attempt and holds exactly `sizeBytes` octets. */
export type AttachmentContent = Buffer | { readonly sizeBytes: number; open(): Readable }

/** The Content-* fields of an attachment's part, each ended by CRLF. */
export function attachmentHeaders(attachment: RenderedAttachment, disposition: 'inline' | 'attachment'): string {
  const filename = cleanFilename(attachment.filename)
  const contentId = cleanContentId(attachment.contentId)
  const type = contentTypeTokens(attachment.mimeType ?? detectMimeType(filename))
  // Readers show an inline text part as one more piece of the body; by its id it is found all the same.
  const shown = /^text\//i.test(type[0]!) ? 'attachment' : disposition
  return (
    tokenField('Content-Type', type) +
    'Content-Transfer-Encoding: base64\r\n' +
    tokenField('Content-Disposition', [`${shown};`, ...filenameTokens(filename)]) +
    (contentId === null ? '' : `Content-ID: <${contentId}>\r\n`)
  )
}

/** A content id without brackets, or null when it cannot stand in a header or a cid: URL. */
export function cleanContentId(value: string | undefined): string | null {
  if (value === undefined) return null
  const id = value.startsWith('<') && value.endsWith('>') ? value.slice(1, -1) : value
  return id.length <= 250 && /^[!-;=?-~]+$/.test(id) ? id : null
}

/** Octets the attachment takes in the mail. */
export function encodedSize(content: AttachmentContent): number {
  return base64Size(Buffer.isBuffer(content) ? content.length : content.sizeBytes)
}

/**
 * The content in base64 lines; the signal closes its source.
 * @throws Error when a source does not hold what it said: the mail must not end as if it did.
 */
export async function* encodedChunks(
  content: AttachmentContent,
  filename: string,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  if (Buffer.isBuffer(content)) {
    for (let i = 0; i < content.length; i += SLICE) yield encode(content.subarray(i, i + SLICE))
    return
  }
  let rest: Buffer = Buffer.alloc(0)
  let seen = 0
  for await (const chunk of addAbortSignal(signal, content.open())) {
    const octets: Buffer = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    seen += octets.length
    if (seen > content.sizeBytes) break
    const pending = rest.length === 0 ? octets : Buffer.concat([rest, octets])
    const whole = pending.length - (pending.length % OCTETS_A_LINE)
    if (whole > 0) yield encode(pending.subarray(0, whole))
    rest = pending.subarray(whole)
  }
  if (seen !== content.sizeBytes)
    throw new Error(
      `attachment ${JSON.stringify(filename)} should have ${content.sizeBytes} octets and has ${seen > content.sizeBytes ? 'more' : seen}`,
    )
  if (rest.length > 0) yield encode(rest)
}

function encode(octets: Buffer): Buffer {
  return Buffer.from(base64Lines(octets), 'latin1')
}

const OCTETS_A_LINE = 57
const SLICE = OCTETS_A_LINE * 1024

/** RFC 2231 beside a plain ASCII name for readers that do not know it. */
function filenameTokens(filename: string): string[] {
  const ascii = filename.replace(/[^ -~]/gu, '_')
  const plain = ascii === filename && !/["\\%]|=\?/.test(filename)
  const fallback = `filename="${escapeQuoted(ascii)}"`
  return plain ? [fallback] : [`${fallback};`, ...extendedTokens('filename', filename)]
}

/** `name*=utf-8''…`, or `name*0*=…; name*1*=…` where one line would be too long; cut between characters. */
function extendedTokens(name: string, value: string): string[] {
  const pieces = ['']
  for (const character of value) {
    const encoded = encodeURIComponent(character).replace(
      /[!'()*]/g,
      c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
    )
    if (pieces.at(-1)!.length + encoded.length > EXTENDED_PIECE) pieces.push('')
    pieces[pieces.length - 1] += encoded
  }
  if (pieces.length === 1) return [`${name}*=utf-8''${pieces[0]}`]
  return pieces.map((piece, index) => {
    const end = index < pieces.length - 1 ? ';' : ''
    return `${name}*${index}*=${index === 0 ? "utf-8''" : ''}${piece}${end}`
  })
}

const EXTENDED_PIECE = 54

// Not a reader's safety (it must not trust paths anyway), only that the name can stand in a header.
function cleanFilename(filename: string): string {
  const clean = Buffer.from(filename.slice(0, 255))
    .toString()
    .replace(/[\0-\x1f\x7f-\x9f]/g, '_')
    .trim()
  return clean === '' ? 'attachment' : clean
}

/**
 * `type/subtype;` and its parameters as far as they are well-formed. Composite types become octet-stream: RFC 2046
 * forbids base64 for them, and a reader would look inside for parts.
 */
function contentTypeTokens(value: string): string[] {
  const [type = '', ...parameters] = value.split(';', 8).map(part => part.trim())
  if (!/^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}$/.test(type) || /^(multipart|message)\//i.test(type))
    return ['application/octet-stream']
  const kept = parameters.filter(
    p =>
      /^[\w-]{1,32}=([\w!#$&'*+.^`{|}~-]{1,64}|"[\w !#$&'*+.^`{|}~:/,-]{0,64}")$/.test(p) &&
      !/^(name|boundary)=/i.test(p),
  )
  return [type, ...kept].map((token, index, all) => (index < all.length - 1 ? `${token};` : token))
}
