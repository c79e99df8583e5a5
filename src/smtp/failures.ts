/** The SmtpFailures of a running transaction, in words that tell where it broke. */
import { replyLine } from './reply.js'
import { type Reply, SmtpFailure, type SmtpPhase } from './transport.js'
import type { WireBroken } from './wire.js'

/** How far a transaction has come: what its failure has to say. Changed in place. */
export interface Progress {
  phase: SmtpPhase
  reachedData: boolean
  afterDot: boolean
}

const where: Record<SmtpPhase, string> = {
  dns: 'resolving the host',
  connect: 'connecting',
  tls: 'starting TLS',
  greeting: 'waiting for the greeting',
  ehlo: 'waiting for the reply to EHLO',
  auth: 'logging in',
  mail: 'waiting for the reply to MAIL FROM',
  rcpt: 'waiting for the reply to RCPT TO',
  data: 'waiting for the reply to DATA',
  body: 'sending the content',
  final: 'waiting for the reply to the content',
  rset: 'waiting for the reply to RSET',
}

/** What was going on when a phase ended badly: «waiting for the reply to MAIL FROM». */
export function phaseWords(phase: SmtpPhase): string {
  return where[phase]
}

/** The connection broke under a transaction: session scope; the next attempt uses another connection. */
export function toFailure(broken: WireBroken, progress: Progress, remote: string): SmtpFailure {
  const message =
    broken.kind === 'timeout'
      ? `Timed out ${where[progress.phase]}`
      : `While ${where[progress.phase]}: ${broken.message}`
  return new SmtpFailure(message, { ...progress, scope: 'session', reply: null, remote, cause: broken })
}

/** A 421: the server ends its service for now, and would to every message behind this one (spec section 4.3). */
export function serverCloses(reply: Reply, progress: Progress, remote: string): SmtpFailure {
  // It was read, so the outcome of a sent message is known: it was not taken.
  return new SmtpFailure(replyLine(reply), { ...progress, afterDot: false, scope: 'account', reply, remote })
}

/** A reply that cannot be the answer to what was asked. After the dot the outcome stays in doubt. */
export function outOfStep(reply: Reply, progress: Progress, remote: string): SmtpFailure {
  const message = `The server is out of step, ${where[progress.phase]}: ${replyLine(reply)}`
  return new SmtpFailure(message, { ...progress, scope: 'session', reply: null, remote })
}

/** The content could not be read to its end: nothing was handed over, the connection is dropped. */
export function contentBroke(message: string, progress: Progress, remote: string, cause?: unknown): SmtpFailure {
  return new SmtpFailure(message, { ...progress, afterDot: false, scope: 'session', reply: null, remote, cause })
}
