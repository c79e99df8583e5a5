/**
 * A mail file (RFC 5322, MIME) as a message to submit. Addresses, subject, both bodies, attachments and inline images are
 * kept, and of the header what still fits a mail that is rendered anew: traces of its old way and signatures are left
 * out, and named.
 */
import PostalMime, { type Address, type Attachment, decodeWords, type Email, type Mailbox } from 'postal-mime'
import { CliError } from '../../errors.js'

export interface ReadMail {
  /** Fields of the API's message, but for its id and account. */
  readonly fields: Readonly<Record<string, unknown>>
  /** Without angle brackets; null: it has none that can be used. */
  readonly messageId: string | null
  /** Names of headers that do not go along. */
  readonly leftOut: readonly string[]
}

/** Throws CliError when it is no mail; `name` is how the error calls it. */
export async function readEml(octets: Uint8Array, name: string): Promise<ReadMail> {
  let mail: Email
  try {
    mail = await PostalMime.parse(octets, { attachmentEncoding: 'base64', forceRfc822Attachments: true })
  } catch (cause) {
    throw new CliError(`${name} cannot be read as a mail: ${(cause as Error).message}`, { cause })
  }
  const [from] = mailboxes(mail.from === undefined ? [] : [mail.from])
  if (from === undefined) throw new CliError(`${name} has no From: is it a mail?`)
  const messageId = bareMessageId(mail.messageId)
  const { headers, leftOut } = headersOf(mail)
  return {
    messageId,
    leftOut,
    fields: {
      from: written(from),
      to: mailboxes(mail.to).map(written),
      cc: mailboxes(mail.cc).map(written),
      bcc: mailboxes(mail.bcc).map(written),
      reply_to: mailboxes(mail.replyTo).map(written),
      subject: oneLine(mail.subject ?? '') || '(no subject)',
      body_text: mail.text ?? (mail.html === undefined ? '' : undefined),
      body_html: mail.html,
      headers,
      message_id: messageId === null ? undefined : `<${messageId}>`,
      attachments: mail.attachments.map((each, i) => attachmentOf(each, i, mail.html)),
    },
  }
}

/** Groups are their members: `undisclosed-recipients:;` is nobody. */
function mailboxes(addresses: readonly Address[] = []): Mailbox[] {
  return addresses.flatMap(each => (each.group === undefined ? [each] : each.group)).filter(each => each.address !== '')
}

function written({ name, address }: Mailbox): string {
  const shown = oneLine(name)
  return shown === '' ? address : `"${shown.replace(/[\\"]/g, '\\$&')}" <${address}>`
}

function bareMessageId(text: string | undefined): string | null {
  const bare = text?.trim().replace(/^<(.*)>$/, '$1') ?? ''
  return /^[!-;=?-~]{1,255}$/.test(bare) ? bare : null
}

/** Fields of the message, or written by the service. */
const FIELDS = /^(from|to|cc|bcc|reply-to|subject|message-id|mime-version|content-.*)$/
/** They tell of the way it came, or sign octets that will be others. */
const OF_ITS_WAY =
  /^(received|received-.*|return-path|delivered-to|envelope-to|x-original-to|x-received|resent-.*|x-genro-mail-id|dkim-signature|domainkey-signature|arc-.*|authentication-results)$/

function headersOf(mail: Email): { headers: Record<string, string>; leftOut: string[] } {
  const headers = new Map<string, string>()
  const seen = new Set<string>()
  const leftOut = new Set<string>()
  for (const { key, originalKey, value } of mail.headers) {
    if (FIELDS.test(key)) continue
    // The API knows one of a name.
    if (OF_ITS_WAY.test(key) || seen.has(key)) leftOut.add(originalKey)
    else headers.set(originalKey, oneLine(decodeWords(value)))
    seen.add(key)
  }
  return { headers: Object.fromEntries(headers), leftOut: [...leftOut] }
}

function attachmentOf(each: Attachment, index: number, html: string | undefined): Record<string, unknown> {
  const contentId = each.contentId?.replace(/^<(.*)>$/, '$1')
  // Some programs give every attachment an id; shown inside the html are only those it asks for.
  const isInline = contentId !== undefined && (each.related === true || html?.includes(`cid:${contentId}`) === true)
  const method = each.method === undefined ? '' : `; method=${each.method}; charset=utf-8`
  return {
    filename:
      oneLine(each.filename ?? '') || `${isInline ? 'image' : 'attachment'}-${index + 1}${endingOf(each.mimeType)}`,
    fetch_mode: 'base64',
    storage_path: each.mimeType === 'text/calendar' ? withCrlf(String(each.content)) : each.content,
    mime_type: `${each.mimeType}${method}`,
    content_id: isInline ? contentId : undefined,
  }
}

/** RFC 5545 §3.1; the reader makes LF of them, however the calendar came. */
function withCrlf(base64: string): string {
  const text = Buffer.from(base64, 'base64').toString()
  return Buffer.from(text.replace(/\r?\n/g, '\r\n')).toString('base64')
}

/** Parts without a name; what is not here is known by its type all the same. */
const ENDINGS: ReadonlyMap<string, string> = new Map([
  ['message/rfc822', '.eml'],
  ['text/calendar', '.ics'],
  ['text/plain', '.txt'],
  ['text/html', '.html'],
  ['image/png', '.png'],
  ['image/jpeg', '.jpg'],
  ['image/gif', '.gif'],
  ['application/pdf', '.pdf'],
])

function endingOf(mimeType: string): string {
  return ENDINGS.get(mimeType) ?? ''
}

/** The API refuses control characters; a folded header may have left a tab. */
function oneLine(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ').trim()
}
