/**
 * The MailTransport port: hands one mail to one account's server in one SMTP transaction and tells what was answered.
 * A server's "no" is a value (Replies); only what breaks a session or an account is thrown, as SmtpFailure.
 */
import type { Readable } from 'node:stream'
import type { Account } from '../accounts/account.js'
import type { Envelope } from '../messages/message.js'

/** An SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463) where the server gave one. */
export interface Reply {
  readonly code: number
  readonly enhanced: string | null
  /** All lines joined by a space, control characters removed, at most 1,000 characters. */
  readonly text: string
}

export interface Mail {
  /** The octets of the content before dot-stuffing; CRLF line endings. */
  readonly sizeBytes: number
  /** True when a header or address needs SMTPUTF8 (RFC 6531) / the body is 8bit (RFC 6152). */
  readonly needsSmtpUtf8: boolean
  readonly is8bit: boolean
  /**
   * What is at hand comes as texts, a character an octet, to be written without a Buffer on the way. Apart, for to look into
   * a text that was put together copies it. May be called once for each attempt at a transaction.
   */
  open(): readonly string[] | Readable
}

export interface RecipientReply {
  readonly address: string
  /** The reply to RCPT TO; null when it was never asked (sender refused, transaction stopped before). */
  readonly reply: Reply | null
}

/** What one transaction ended with. `data` null: DATA was never begun, every recipient was refused or MAIL was. */
export interface Replies {
  /** Reply to MAIL FROM when it was a refusal; null when accepted. */
  readonly mail: Reply | null
  readonly recipients: readonly RecipientReply[]
  /** Reply to the final dot, or to DATA itself when that was refused. */
  readonly data: Reply | null
  /** True when DATA was sent (354 or not): the transaction counts against the account's limits. */
  readonly reachedData: boolean
  /** host:port as connected, for the attempt's record. */
  readonly remote: string
  /** Milliseconds from MAIL FROM to the last reply. */
  readonly durationMs: number
}

export type SmtpPhase =
  | 'dns'
  | 'connect'
  | 'tls'
  | 'greeting'
  | 'ehlo'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'body'
  | 'final'
  | 'rset'

/**
 * The transaction or the connection broke. `scope` account: the account cannot work now (AUTH, TLS mismatch, DNS,
 * refused connection, 421): every message behind it would fail alike. session: this connection only.
 * `afterDot` true: the final dot was sent and no reply read, so the server may have taken the message (doubt window).
 */
export class SmtpFailure extends Error {
  override name = 'SmtpFailure'
  constructor(
    message: string,
    readonly info: {
      readonly scope: 'session' | 'account'
      readonly phase: SmtpPhase
      readonly reply: Reply | null
      readonly reachedData: boolean
      readonly afterDot: boolean
      readonly remote: string
      readonly cause?: unknown
    },
  ) {
    super(message, info.cause === undefined ? undefined : { cause: info.cause })
  }
}

/** A mail and who is to get it. */
export interface Letter {
  readonly envelope: Envelope
  readonly mail: Mail
}

export interface SendOptions {
  readonly signal: AbortSignal
  /**
   * Called when the content is at hand, for a long one when its last octet is out, and always before the final dot.
   * Journals the attempt and checks the lease. When it rejects, the dot is not sent and the connection is dropped; the
   * rejection is what `send` throws.
   */
  readonly beforeFinalDot: () => void | Promise<void>
  /** Called when the content is about to go out. */
  readonly onContent?: () => void
  /**
   * Asked when `beforeFinalDot` has agreed and the connection may carry another message: which one comes next. Its
   * envelope leaves together with the dot (RFC 2920 §3.1). Who names one hands it to `send` once this one has ended, or
   * to `forgo`.
   */
  readonly next?: () => Letter | null
  /** Receives what both sides say, a line each, secrets masked and without the content. */
  readonly conversation?: string[]
}

export interface MailTransport {
  /**
   * One SMTP transaction: MAIL, RCPT for each of envelope.to, DATA, final dot. Never more than one DATA.
   * Stops asking recipients at 452 4.5.3 / "too many recipients": the remaining have reply null or that reply.
   */
  send(account: Account, envelope: Envelope, mail: Mail, options: SendOptions): Promise<Replies>
  /** A mail that was named as the next one is not sent: the connection that carries its envelope ends. */
  forgo(mail: Mail): void
  /**
   * Connects, says EHLO, starts TLS and logs in as a delivery would, then QUIT. Throws SmtpFailure. Answers the
   * conversation, secrets masked; `lines`, when given, receives it also as far as a failed one went.
   */
  probe(account: Account, signal: AbortSignal, lines?: string[]): Promise<ProbeResult>
  /** Connections by state, and how many were ever opened; for metrics. */
  stats(): { readonly open: number; readonly idle: number; readonly opened: number }
  /** QUITs what is idle; running transactions end by their signals. */
  close(): Promise<void>
}

export interface ProbeResult {
  readonly conversation: readonly string[]
  readonly durationMs: number
}
