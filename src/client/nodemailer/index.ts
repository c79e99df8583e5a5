/**
 * `genro-mail-proxy/nodemailer`: a Nodemailer transport that submits to the proxy, so that an application changes the one
 * line that makes its transporter. The callback comes when the mail is durable in the queue; what becomes of it is reported.
 */
import type { ClientOptions } from '../call.js'
import { createClient } from '../client.js'
import { MailProxyError } from '../error.js'
import type { Rejected } from '../submit.js'
import type { Access } from './access.js'
import type { Mail, MailData, ProxyFields } from './mail.js'
import { type MappedMail, mapMail } from './map-mail.js'

export type { Mail, MailProxyOptions, ProxyFields } from './mail.js'

/** `disableFileAccess` and `disableUrlAccess` go for all mails, as in the options of Nodemailer's own transports. */
export interface TransportOptions extends ClientOptions, Access {
  /** For mails that name none in `mailProxy`. */
  readonly account?: string
  readonly priority?: ProxyFields['priority']
  readonly batchCode?: string
}

/** What `sendMail` answers. */
export interface SentInfo {
  /** `from` is empty for the null reverse-path. */
  envelope: { from: string; to: string[] }
  messageId: string
  /** Recipients the queue has taken: none has been asked of a server yet. */
  accepted: string[]
  rejected: string[]
  pending: string[]
  response: string
  /** The message's id at the proxy. */
  proxyId: string
  // biome-ignore lint/suspicious/noExplicitAny: Nodemailer's own result types are so, and T has to be one of them.
  [field: string]: any
}

export interface MailProxyTransport {
  readonly name: string
  readonly version: string
  readonly supportsAbortSignal: true
  send(mail: Mail, callback: (error: Error | null, info: SentInfo) => void): void
  /** Url and token are right, and the account is there. */
  verify(): Promise<true>
  verify(callback: (error: Error | null, success: true) => void): void
}

/** Rejections that say that the proxy has the message: a repeat is no failure. */
const ALREADY = new Set(['already_sent', 'in_progress'])

/** @throws TypeError for a URL or token that cannot be one. */
export function mailProxyTransport(options: TransportOptions): MailProxyTransport {
  const { account, priority, batchCode, disableFileAccess, disableUrlAccess, ...clientOptions } = options
  const client = createClient(clientOptions)
  const defaults: ProxyFields = withoutUndefined({
    tenant_id: options.tenantId,
    account_id: account,
    priority,
    batch_code: batchCode,
  })

  // What a transport is asked for no mail takes back.
  const access: Access = {
    ...(disableFileAccess && { disableFileAccess }),
    ...(disableUrlAccess && { disableUrlAccess }),
  }

  const send = async (mail: Mail): Promise<SentInfo> => {
    Object.assign(mail.data, access)
    const mapped = await mapMail(mail, defaults)
    const { signal } = mail.data as MailData
    const { rejected } = await client.addMessages([mapped.message], {
      signal,
      tenantId: mapped.message.tenant_id ?? undefined,
    })
    const [refusal] = rejected
    if (refusal !== undefined && !ALREADY.has(refusal.code)) throw rejection(refusal)
    return infoOf(mapped, refusal)
  }

  const check = async (): Promise<true> => {
    await client.status()
    if (account !== undefined) await client.getAccount(account)
    return true
  }

  return {
    name: 'MailProxy',
    version: '1.0.0',
    supportsAbortSignal: true,
    send: (mail, callback) => tell(send(mail), callback),
    verify: ((callback?: (error: Error | null, success: true) => void) => {
      if (callback === undefined) return check()
      tell(check(), callback)
    }) as MailProxyTransport['verify'],
  }
}

/** Nodemailer's callbacks get the error alone. What a callback throws is its own, and not a second failure of ours. */
function tell<T>(work: Promise<T>, callback: (error: Error | null, result: T) => void): void {
  work.then(
    result => setImmediate(callback, null, result),
    error => setImmediate(callback as (error: Error) => void, error),
  )
}

function rejection({ code, reason, field }: Rejected): MailProxyError {
  return new MailProxyError(code, `The mail proxy refused the message: ${reason}`, { details: { field } })
}

function infoOf({ message, envelope, messageId }: MappedMail, repeated: Rejected | undefined): SentInfo {
  return {
    envelope,
    messageId,
    accepted: envelope.to,
    rejected: [],
    pending: [],
    response:
      repeated === undefined ? `queued as ${message.id}` : `${repeated.reason} (${repeated.code}): ${message.id}`,
    proxyId: message.id,
  }
}

function withoutUndefined<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T
}
