/**
 * The whole failure policy: what a server's replies and a broken connection mean for a message (spec section 4.3).
 * Pure. recipient and message: 5xx final, 4xx tried again. session: tried again. account: the account pauses and the
 * messages behind it keep their attempts; the one that was being offered spends one.
 */
import type { AttemptRecord, Outcome, RecipientVerdict } from '../queue/outcome.js'
import { isTooManyRecipients } from '../smtp/reply.js'
import { type Replies, type Reply, SmtpFailure, type SmtpPhase } from '../smtp/transport.js'

/** Replies to MAIL that speak of the login and not of the message (RFC 4954 §6). */
const ACCOUNT_CODES = new Set([530, 534, 535, 538])

/** Phases in which the server has heard of the message. */
const IN_TRANSACTION: ReadonlySet<SmtpPhase> = new Set<SmtpPhase>(['mail', 'rcpt', 'data', 'body', 'final'])

/** What the attempt's record needs besides the replies. */
export interface AttemptFacts {
  /** This attempt's number, from 1. */
  readonly n: number
  /** Epoch ms. */
  readonly startedAt: number
  readonly durationMs: number
  readonly conversation?: readonly string[]
}

/** `open`: all recipients not yet decided; the transaction asked the first of them, or all. */
export function classifyReplies(replies: Replies, open: readonly string[], facts: AttemptFacts): Outcome {
  const { mail, reachedData } = replies
  const isAccounts = mail !== null && ACCOUNT_CODES.has(mail.code)
  return {
    verdicts: isAccounts ? open.map(untouched) : verdictsOf(replies, open),
    failure: isAccounts ? { scope: 'account', offered: true, code: String(mail.code), text: words(mail) } : null,
    inDoubt: false,
    reachedData,
    interrupted: false,
    attempt: recordOf(replies, facts),
  }
}

function verdictsOf({ mail, data, recipients }: Replies, open: readonly string[]): RecipientVerdict[] {
  // The sender was refused: the same for every recipient.
  if (mail !== null) return open.map(address => refusedBy(address, mail))
  const someAccepted = recipients.some(({ reply }) => reply !== null && isPositive(reply))
  return open.map((address, i): RecipientVerdict => {
    // They were asked in this order.
    const reply = recipients[i]?.reply ?? null
    if (reply === null) return untouched(address)
    if (!isPositive(reply)) {
      // Too many for one transaction: the rest go in the next, which is no failure as long as some went in this one.
      return isTooManyRecipients(reply) && someAccepted ? untouched(address) : refusedBy(address, reply)
    }
    if (data === null) return untouched(address)
    if (isPositive(data)) return { address, verdict: 'accepted', code: String(data.code), text: words(data) }
    return refusedBy(address, data)
  })
}

/** Whatever was thrown on the way: a broken connection, an attachment that cannot be had, a bug. */
export function classifyError(error: unknown, open: readonly string[], facts: AttemptFacts): Outcome {
  if (error instanceof SmtpFailure) {
    const { scope, phase, reply, reachedData, afterDot, remote } = error.info
    const text = failureWords(error)
    return {
      verdicts: open.map(untouched),
      failure: { scope, offered: IN_TRANSACTION.has(phase), code: reply === null ? null : String(reply.code), text },
      inDoubt: afterDot,
      reachedData,
      interrupted: false,
      attempt: brokenRecord(facts, remote, text),
    }
  }
  if (error instanceof Interrupted) {
    return {
      verdicts: open.map(untouched),
      failure: null,
      inDoubt: false,
      reachedData: error.reachedData,
      interrupted: true,
      attempt: null,
    }
  }
  if (error instanceof Undeliverable) {
    const { code, message, permanent } = error
    const verdict = permanent ? 'refused' : 'transient'
    return {
      verdicts: open.map(address => ({ address, verdict, code, text: message })),
      failure: null,
      inDoubt: false,
      reachedData: false,
      interrupted: false,
      attempt: brokenRecord(facts, null, message),
    }
  }
  throw error
}

/** Stopped by us before the final dot: shutdown, a lease without margin. The message is as if never claimed. */
export class Interrupted extends Error {
  override name = 'Interrupted'
  constructor(
    message: string,
    readonly reachedData: boolean,
  ) {
    super(message)
  }
}

/** The message cannot be made into a mail, now (`permanent` false) or ever. */
export class Undeliverable extends Error {
  override name = 'Undeliverable'
  constructor(
    message: string,
    readonly code: string,
    readonly permanent: boolean,
  ) {
    super(message)
  }
}

/** As a person reads a reply: code, enhanced code, text. */
export function words({ code, enhanced, text }: Reply): string {
  return enhanced === null || text.startsWith(enhanced)
    ? `${code} ${text}`.trim()
    : `${code} ${enhanced} ${text}`.trim()
}

/** The server's words; a refused STARTTLS or EHLO in its context, since a bare 502 does not say what was refused. */
export function failureWords({ message, info: { reply, phase } }: SmtpFailure): string {
  return reply === null || phase === 'tls' || phase === 'ehlo' ? message : words(reply)
}

function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300
}

function untouched(address: string): RecipientVerdict {
  return { address, verdict: 'open', code: null, text: null }
}

function refusedBy(address: string, reply: Reply): RecipientVerdict {
  return { address, verdict: isFinal(reply) ? 'refused' : 'transient', code: String(reply.code), text: words(reply) }
}

function isFinal(reply: Reply): boolean {
  // 552 for too many recipients is an old server's 452 (RFC 5321 §4.5.3.1.10). A login asked for at RCPT or DATA is
  // not the message's fault; but no pause, since the server may take other recipients without one, and a probe, which
  // only logs in, would end the pause each time.
  return reply.code >= 500 && !isTooManyRecipients(reply) && !ACCOUNT_CODES.has(reply.code)
}

function recordOf(replies: Replies, facts: AttemptFacts): AttemptRecord {
  const { mail, data, recipients, remote, durationMs } = replies
  const told: AttemptRecord['replies'][number][] = []
  for (const { address, reply } of recipients) {
    if (reply !== null) told.push({ address, code: String(reply.code), enhanced: reply.enhanced, text: reply.text })
  }
  const final = data === null ? null : { code: String(data.code), enhanced: data.enhanced, text: data.text }
  return record(facts, durationMs, remote, final, mail === null ? null : words(mail), told)
}

function brokenRecord(facts: AttemptFacts, remote: string | null, error: string): AttemptRecord {
  return record(facts, facts.durationMs, remote, null, error, [])
}

/** Written out: every sent message has one, and spreading an empty record with its parts costs 1 to 2 µs more. */
function record(
  { n, startedAt, conversation }: AttemptFacts,
  durationMs: number,
  remote: string | null,
  final: AttemptRecord['final'],
  error: string | null,
  replies: AttemptRecord['replies'],
): AttemptRecord {
  const made = {
    n,
    started_ts: Math.floor(startedAt / 1000),
    duration_ms: Math.round(durationMs),
    remote,
    final,
    error,
    replies,
  }
  return conversation === undefined ? made : { ...made, conversation }
}
