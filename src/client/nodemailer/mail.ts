/**
 * What this transport needs of Nodemailer's mail, as far as it is public: so that it fits the types of Nodemailer 6 to 10
 * and those of @types/nodemailer, and installs neither.
 */
import type { MessageInput } from '../messages.js'
import type { Access } from './access.js'

/** Fields of the proxy for one mail, by the names of docs/api.md#message-fields. */
export type ProxyFields = Pick<
  MessageInput,
  'tenant_id' | 'account_id' | 'priority' | 'deferred_ts' | 'expires_ts' | 'batch_code'
> & {
  /** The idempotency key. Left out: a new one each time, and sending twice is two mails. */
  id?: string
}

/** What `sendMail` takes beside Nodemailer's own fields. */
export interface MailProxyOptions {
  mailProxy?: ProxyFields
}

/** Nodemailer's MailMessage. */
export interface Mail {
  readonly data: object
  readonly message: {
    /** The header of the mail as Nodemailer's SMTP transport would send it. */
    buildHeaders(): string
  }
  /** Reads every content and parses every address, in place. */
  normalize(callback: (error?: Error | null, data?: object) => void): void
}

export interface Address {
  readonly name?: string
  readonly address?: string
  /** Members of an RFC 5322 group. */
  readonly group?: readonly Address[]
}

/** A content after `normalize`: text, or base64 where `encoding` says so. */
export interface Content {
  readonly content?: string
  readonly encoding?: string
}

export interface Attachment extends Content {
  readonly filename?: string | false
  readonly contentType?: string
  readonly cid?: string
  readonly headers?: unknown
  readonly raw?: unknown
}

/** The mail's fields, those that `normalize` has put in order among them. */
export interface MailData extends MailProxyOptions, Access {
  readonly from?: Address | null
  readonly to?: readonly Address[] | null
  readonly cc?: readonly Address[] | null
  readonly bcc?: readonly Address[] | null
  readonly replyTo?: readonly Address[] | null
  readonly subject?: string
  readonly text?: string | Content
  readonly html?: string | Content
  readonly watchHtml?: unknown
  readonly amp?: unknown
  readonly icalEvent?: Content & { readonly method?: string; readonly filename?: string | false }
  readonly alternatives?: readonly unknown[]
  readonly attachments?: readonly Attachment[]
  readonly envelope?: { readonly from?: string | false; readonly to?: readonly string[]; readonly dsn?: unknown }
  readonly messageId?: string
  readonly priority?: string
  readonly raw?: unknown
  readonly dkim?: unknown
  readonly dsn?: unknown
  readonly signal?: AbortSignal
}
