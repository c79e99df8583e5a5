/**
 * Nodemailer's mail as a message of the proxy, so that what arrives is what Nodemailer's SMTP transport would have sent.
 * What the proxy cannot carry is refused by name: a mail that silently lacks something is worse than none.
 */
import { randomUUID } from 'node:crypto'
import { domainToASCII } from 'node:url'
import { MailProxyError } from '../error.js'
import type { AttachmentInput, MessageInput } from '../messages.js'
import { forbiddenSource } from './access.js'
import { customHeaders, headerLines } from './header-lines.js'
import type { Address, Attachment, Content, Mail, MailData, ProxyFields } from './mail.js'

export interface MappedMail {
  readonly message: MessageInput
  readonly envelope: { readonly from: string; readonly to: string[] }
  readonly messageId: string
}

/** @throws MailProxyError `unsupported_field`; what Nodemailer throws when a content cannot be read. */
export async function mapMail(mail: Mail, defaults: ProxyFields): Promise<MappedMail> {
  refuseUnsupported(mail.data as MailData)
  const header = headerLines(mail.message.buildHeaders())
  const data = await normalized(mail)
  const { envelope, to, cc, bcc } = recipients(data)
  const importance = PRIORITIES[String(data.priority ?? '').toLowerCase()]
  const { id, ...fields } = { ...defaults, ...(importance && { priority: importance }), ...data.mailProxy }
  const messageId = data.messageId ?? ''
  const html = bodyOf(data.html)
  return {
    envelope,
    messageId,
    message: {
      ...fields,
      id: id ?? randomUUID(),
      from: fromOf(data, header.get('from')?.values[0] ?? ''),
      to,
      cc,
      bcc,
      reply_to: listed(data.replyTo),
      return_path: envelope.from || '<>',
      subject: (data.subject ?? '').replace(/\r\n?|\n/g, ' '),
      body_text: bodyOf(data.text) ?? (html === undefined ? '' : undefined),
      body_html: html,
      headers: customHeaders(header),
      message_id: messageId,
      attachments: [...(data.attachments ?? []).map(attachmentOf), ...calendarOf(data)],
    },
  }
}

/** Nodemailer's importance of a mail, as its priority in the queue unless `mailProxy` names one. */
const PRIORITIES: Readonly<Record<string, 'high' | 'low'>> = { high: 'high', low: 'low' }

function refuseUnsupported(data: MailData): void {
  if (data.raw) throw unsupported('raw', 'a message is told by its fields and not as finished MIME')
  if (data.dkim) throw unsupported('dkim', 'the mail is written by the proxy: let the SMTP provider sign it')
  if (data.amp) throw unsupported('amp', 'a mail has a text and an html body')
  if (data.watchHtml) throw unsupported('watchHtml', 'a mail has a text and an html body')
  if (data.alternatives?.length) throw unsupported('alternatives', 'a mail has a text and an html body')
  if (data.dsn || data.envelope?.dsn) throw unsupported('dsn', 'reports come from the proxy, see docs/reports.md')
  const forbidden = forbiddenSource(data)
  if (forbidden !== null) throw unsupported(forbidden.field, `${forbidden.rule} forbids where its content comes from`)
  for (const [i, attachment] of (data.attachments ?? []).entries()) {
    if (attachment.raw) throw unsupported(`attachments[${i}].raw`, 'give filename and content')
    if (attachment.headers && Object.keys(attachment.headers).length > 0) {
      throw unsupported(`attachments[${i}].headers`, 'the proxy writes the headers of attachments')
    }
  }
}

function normalized(mail: Mail): Promise<MailData> {
  return new Promise((resolve, reject) => {
    mail.normalize((error, data) => (error ? reject(error) : resolve(data as MailData)))
  })
}

function fromOf({ from }: MailData, line: string): string {
  if (!from?.address) throw unsupported('from', 'it needs one address')
  // Names with commas are quoted or encoded in a header.
  const bare = line.replace(/"(?:[^"\\]|\\.)*"/g, '')
  if (bare.includes(',')) throw unsupported('from', 'only one address can be the author')
  return written(from)
}

/** The envelope decides who gets it: whom the header does not name becomes a Bcc. */
function recipients({ to, cc, bcc, envelope }: MailData) {
  const shown = { to: listed(to) ?? [], cc: listed(cc) }
  const inHeader = new Set([...flat(to), ...flat(cc)].map(each => key(each.address!)))
  const inEnvelope = envelope?.to ?? []
  const reached = new Set(inEnvelope.map(key))
  const left = [...inHeader].find(address => !reached.has(address))
  if (left !== undefined) {
    throw unsupported('envelope', `it leaves out ${left}, which stands in to or cc: the proxy sends to all of them`)
  }
  if (shown.to.length === 0)
    throw unsupported('to', 'at least one address has to be there; cc and bcc alone are not enough')
  const hidden = inEnvelope.filter(address => !inHeader.has(key(address)))
  // Nodemailer itself leaves a Bcc out that a custom envelope does not have.
  const names = new Map(flat(bcc).map(each => [key(each.address!), written(each)]))
  return {
    ...shown,
    bcc: hidden.length === 0 ? undefined : hidden.map(address => names.get(key(address)) ?? address),
    // As Nodemailer's SMTP transport tells it.
    envelope: { from: envelope?.from || '', to: [...inEnvelope] },
  }
}

/** Domains are compared without case and in their ASCII form; what stands before the @ is the receiving server's. */
function key(address: string): string {
  const at = address.lastIndexOf('@') + 1
  const domain = address.slice(at)
  return address.slice(0, at) + (domainToASCII(domain) || domain.toLowerCase())
}

function flat(addresses: readonly Address[] | null | undefined): Address[] {
  return (addresses ?? [])
    .flatMap(each => (each.group === undefined ? each : flat(each.group)))
    .filter(each => each.address)
}

function listed(addresses: readonly Address[] | null | undefined): string[] | undefined {
  const all = flat(addresses).map(written)
  return all.length === 0 ? undefined : all
}

function written({ name, address = '' }: Address): string {
  const shown = (name ?? '').replace(/[\r\n]+/g, ' ').trim()
  return shown === '' ? address : `"${shown.replace(/["\\]/g, '\\$&')}" <${address}>`
}

function bodyOf(body: string | Content | undefined): string | undefined {
  if (body === undefined || body === null || typeof body === 'string') return body || undefined
  return String(body.content ?? '')
}

function attachmentOf(attachment: Attachment): AttachmentInput {
  return {
    filename: attachment.filename || 'attachment',
    storage_path: base64Of(attachment),
    mime_type: attachment.contentType,
    content_id: attachment.cid,
  }
}

/** Nodemailer sends an event as an alternative and as a file; the proxy carries the file, with the method in its type. */
function calendarOf({ icalEvent }: MailData): AttachmentInput[] {
  if (!icalEvent) return []
  const method = (icalEvent.method ?? 'PUBLISH').toUpperCase().trim()
  return [
    {
      filename: icalEvent.filename || 'invite.ics',
      storage_path: base64Of(icalEvent),
      mime_type: `text/calendar; charset=utf-8; method=${method}`,
    },
  ]
}

function base64Of({ content = '', encoding = 'utf8' }: Content): string {
  return `base64:${encoding === 'base64' ? content : Buffer.from(content, 'utf8').toString('base64')}`
}

function unsupported(field: string, why: string): MailProxyError {
  return new MailProxyError('unsupported_field', `The mail proxy cannot take ${field}: ${why}`, { details: { field } })
}
