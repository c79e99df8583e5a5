/** A message as submitted, checked and normalised: what is stored, claimed and rendered. Plain data. */

export type Priority = 0 | 1 | 2 | 3
export type Status = 'pending' | 'deferred' | 'sending' | 'sent' | 'error' | 'cancelled' | 'in_doubt'

export type FetchMode = 'base64' | 'http_url' | 'endpoint' | 'filesystem' | 'volume'

export interface AttachmentRef {
  /** Name shown to the recipient; MD5 marker already cut out. */
  readonly filename: string
  readonly fetchMode: FetchMode
  /** For base64 the content itself (without the `base64:` prefix), else where to fetch it from. */
  readonly storagePath: string
  readonly mimeType?: string
  readonly contentMd5?: string
  /** Present: an inline part, referred to as `cid:` from html. */
  readonly contentId?: string
  /** Credentials of the attachment's own source; sealed while stored. */
  readonly auth?: unknown
  /** Submitted with a tenant's key: a file is read below the tenant's own directory only. */
  readonly isTenants?: true
  /** A large base64 content stands apart, in pieces; storagePath is empty then. */
  readonly upload?: { readonly id: number; readonly sizeBytes: number }
}

/** The content of an attachment that came inside a large request, as octets in pieces. */
export interface InlineUpload {
  /** Of at most 512 KB each, alone in their memory. */
  readonly parts: readonly Uint8Array[]
  readonly sizeBytes: number
  /** Hexadecimal, of the octets. */
  readonly md5: string
  /** It began with `base64:`. */
  readonly isPrefixed: boolean
}

/** What becomes the mail: header addresses as given (display names, UTF-8), bodies, attachments by reference. */
export interface Content {
  readonly from: string
  readonly to: readonly string[]
  readonly cc?: readonly string[]
  readonly bcc?: readonly string[]
  readonly replyTo?: string
  readonly returnPath?: string
  readonly subject: string
  readonly contentType: 'plain' | 'html'
  /** The single body of `contentType`; absent when bodyText/bodyHtml are given. */
  readonly body?: string
  readonly bodyText?: string
  readonly bodyHtml?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Without angle brackets or with: as the client gave it; the renderer brings it into form. */
  readonly messageId?: string
  readonly attachments?: readonly AttachmentRef[]
  /** The SMTP conversation of each attempt is kept with it, without the content. */
  readonly keepConversation?: boolean
}

/** RFC 5321 envelope: bare addresses, domains in A-labels unless the local part needs SMTPUTF8 anyway. */
export interface Envelope {
  /** '' is the null reverse-path. */
  readonly from: string
  /** to + cc + bcc, each address once. */
  readonly to: readonly string[]
}

/** One accepted submission on its way into the queue. */
export interface Message {
  readonly tenantId: string
  readonly id: string
  readonly accountKey: number
  readonly accountId: string
  readonly priority: Priority
  readonly batchCode: string | null
  /** Not before, epoch ms; null: now. */
  readonly notBefore: number | null
  /** Not after, epoch ms; null: never expires. */
  readonly expiresAt: number | null
  readonly envelope: Envelope
  readonly content: Content
  /** Check value of the key that something in the content was sealed with; absent: nothing was. */
  readonly sealedWith?: string
  /** traceparent of the request that brought it; absent or null: there are no traces. */
  readonly trace?: string | null
}

/** The state of one address of the envelope between and after attempts. */
export interface RecipientState {
  readonly address: string
  readonly status: 'open' | 'accepted' | 'refused'
  /** SMTP reply code, e.g. "550"; null before any reply. */
  readonly code: string | null
  /** The server's words (RFC 5321 reply text), one line. */
  readonly reply: string | null
}
