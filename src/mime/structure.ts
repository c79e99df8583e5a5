/**
 * The MIME structure of a mail: mixed( alternative( plain, related( html, inline parts ) ), attachments ), each level
 * only where it is needed. Everything but the attachments' content is ASCII text with CRLF line endings.
 */
import type { Content } from '../messages/message.js'
import { attachmentHeaders, cleanContentId, type RenderedAttachment } from './attachment-part.js'
import { encodeText } from './body.js'
import { deriveBoundary, type Submission } from './message-id.js'

/** ASCII text, or an attachment in whose place its base64 lines stand. */
export type Segment = string | RenderedAttachment

/** The Content-* fields of the mail, the empty line and the body, ended by CRLF. */
export function renderBody(
  content: Content,
  attachments: readonly RenderedAttachment[],
  submission: Submission,
): Segment[] {
  const { text, html } = bodiesOf(content)
  if (attachments.length === 0 && (text === undefined || html === undefined)) {
    const single = html === undefined ? textPart('plain', text ?? '', null) : textPart('html', html, null)
    const body = single.body[0] as string
    return [`${single.headers}\r\n`, body, body.endsWith('\r\n') ? '' : '\r\n']
  }
  const boundary = deriveBoundary(submission)
  const isInline = (a: RenderedAttachment) => html !== undefined && cleanContentId(a.contentId) !== null
  const inline = attachments.filter(isInline).map(a => attachmentPart(a, 'inline'))
  const others = attachments.filter(a => !isInline(a)).map(a => attachmentPart(a, 'attachment'))
  const alternatives: Part[] = []
  if (text !== undefined || html === undefined) alternatives.push(partInMultipart('plain', text ?? '', boundary))
  if (html !== undefined) alternatives.push(related(partInMultipart('html', html, boundary), inline, boundary))
  const body = alternatives.length === 1 ? alternatives[0]! : multipart('alternative', alternatives, boundary)
  const root = others.length === 0 ? body : multipart('mixed', [body, ...others], boundary)
  return [`${root.headers}\r\n`, ...root.body]
}

/** The html of the mail shows this attachment where it says `cid:`. */
export function isShownInHtml(content: Content, contentId: string | undefined): boolean {
  const id = cleanContentId(contentId)
  const { html } = bodiesOf(content)
  if (id === null || html === undefined) return false
  // In a URL, and in an attribute, some characters of an id stand for themselves or escaped.
  const forms = [id, encodeURIComponent(id), id.replaceAll('&', '&amp;')]
  return forms.some(form => html.includes(`cid:${form}`))
}

interface Part {
  readonly headers: string
  readonly body: readonly Segment[]
}

/** `body` is the one body of content_type; an empty one beside body_text or body_html counts as not given. */
export function bodiesOf(content: Content): { text: string | undefined; html: string | undefined } {
  const { bodyText: text, bodyHtml: html, body } = content
  if (!body)
    return text === undefined && html === undefined && content.contentType === 'html'
      ? { text, html: '' }
      : { text, html }
  return content.contentType === 'html' ? { text, html: html ?? body } : { text: text ?? body, html }
}

// A boundary inside a 7bit body would end the part; encoded, "=" never stands before "_".
function partInMultipart(subtype: 'plain' | 'html', text: string, boundary: string): Part {
  const part = textPart(subtype, text, boundary)
  return { headers: part.headers, body: [...part.body, '\r\n'] }
}

function textPart(subtype: 'plain' | 'html', text: string, avoid: string | null): Part {
  const { encoding, data } = encodeText(text, avoid)
  return {
    headers: `Content-Type: text/${subtype}; charset=utf-8\r\nContent-Transfer-Encoding: ${encoding}\r\n`,
    body: [data],
  }
}

function attachmentPart(attachment: RenderedAttachment, disposition: 'inline' | 'attachment'): Part {
  return { headers: attachmentHeaders(attachment, disposition), body: [attachment] }
}

function related(html: Part, inline: readonly Part[], boundary: string): Part {
  return inline.length === 0 ? html : multipart('related; type="text/html"', [html, ...inline], boundary)
}

/** Each part's body ends in CRLF, which is the one that belongs to the delimiter after it (RFC 2046 §5.1.1). */
function multipart(subtype: string, parts: readonly Part[], boundary: string): Part {
  const own = `${boundary}.${subtype.slice(0, 3)}`
  return {
    headers: `Content-Type: multipart/${subtype};\r\n boundary="${own}"\r\n`,
    body: [...parts.flatMap(part => [`--${own}\r\n${part.headers}\r\n`, ...part.body]), `--${own}--\r\n`],
  }
}
