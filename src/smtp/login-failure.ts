/**
 * Failures on the way to a logged-in connection, sorted by who is at fault (spec section 4.3). Account: the server
 * refused the greeting, EHLO, STARTTLS or AUTH, or TLS does not fit: every message would fail alike. Session: time-outs,
 * broken connections, and what is no SMTP.
 */
import { BearerRefused } from './bearer-auth.js'
import { phaseWords } from './failures.js'
import { parseReply, replyLine } from './reply.js'
import { type Reply, SmtpFailure, type SmtpPhase } from './transport.js'

/** This side ended the login, or the server did without a word. */
export class LoginStopped extends Error {
  override name = 'LoginStopped'
  constructor(readonly why: 'timeout' | 'aborted' | 'closed' | 'garbled') {
    super(why)
  }
}

/** The login would give a secret away or cannot work: refused before anything was sent. */
export class LoginRefusedHere extends Error {
  override name = 'LoginRefusedHere'
  constructor(
    message: string,
    readonly phase: 'tls' | 'auth',
  ) {
    super(message)
  }
}

interface NodemailerError extends Error {
  readonly code?: string
  readonly originalCode?: string
  readonly response?: string
  readonly timeoutType?: string
}

/** What a broken network says of itself, as against TLS that does not fit. */
const networkCodes = new Set([
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EHOSTDOWN',
])

export function loginFailure(
  error: unknown,
  phase: SmtpPhase,
  remote: string,
  timeoutMs: number,
  mask: (text: string) => string,
): SmtpFailure {
  const make = (scope: 'session' | 'account', message: string, reply: Reply | null = null, at: SmtpPhase = phase) =>
    new SmtpFailure(message, { scope, phase: at, reply, reachedData: false, afterDot: false, remote })

  if (error instanceof LoginRefusedHere)
    return make('account', `Login to ${remote} is not possible: ${error.message}`, null, error.phase)
  if (error instanceof LoginStopped) {
    if (error.why === 'timeout') return make('session', `Timed out ${phaseWords(phase)} of ${remote} (${timeoutMs} ms)`)
    return make('session', `While ${phaseWords(phase)} of ${remote}: ${stopWords[error.why]}`)
  }
  if (error instanceof BearerRefused) {
    // What nodemailer has written into the error since is not masked.
    const refusal = new BearerRefused(maskReply(error.reply, mask), error.challenge && mask(error.challenge))
    const reply = withChallenge(refusal)
    if (reply === null || reply.code < 400)
      return make('session', `While ${phaseWords(phase)} of ${remote}: the server is out of step`, reply)
    const { info, message } = make('account', `Login refused by ${remote}: ${replyLine(reply)}`, reply)
    return new SmtpFailure(message, { ...info, cause: refusal })
  }
  if (!(error instanceof Error) || error instanceof TypeError) {
    return new SmtpFailure(`While ${phaseWords(phase)} of ${remote}: internal error`, {
      ...make('session', '').info,
      cause: error,
    })
  }

  const { code, originalCode, response, timeoutType } = error as NodemailerError
  const reply = maskReply(response === undefined ? null : parseReply(response), mask)
  if (reply !== null && reply.code >= 400)
    return make('account', `${refusedWords[phase] ?? 'Connection'} refused by ${remote}: ${replyLine(reply)}`, reply)
  if (response !== undefined)
    return make('session', `While ${phaseWords(phase)} of ${remote}: the server is out of step`, reply)
  if (timeoutType !== undefined) return make('session', `Timed out ${phaseWords(phase)} of ${remote}`)

  const words = mask(error.message)
  if (code === 'EAUTH') return make('account', `Login to ${remote} failed: ${words}`)
  const network = networkCodes.has(originalCode ?? '') || /closed unexpectedly/.test(error.message)
  // In clear, before TLS began: a reply that never ends.
  if (phase === 'tls' && !network && code !== 'EPROTOCOL') {
    return make('account', `TLS to ${remote} failed: ${words}${originalCode === undefined ? '' : ` (${originalCode})`}`)
  }
  return make('session', `While ${phaseWords(phase)} of ${remote}: ${words}`)
}

const stopWords = {
  aborted: 'the login was stopped',
  closed: 'the server closed the connection',
  garbled: 'the server said more than it was asked',
}

const refusedWords: Partial<Record<SmtpPhase, string>> = {
  greeting: 'Connection',
  ehlo: 'EHLO',
  tls: 'STARTTLS',
  auth: 'Login',
}

/** What the server said why, behind its reply: the reply alone may be no more than «not accepted». */
function withChallenge({ reply, challenge }: BearerRefused): Reply | null {
  return reply === null || !challenge ? reply : { ...reply, text: `${reply.text} (${challenge})`.trim() }
}

function maskReply(reply: Reply | null, mask: (text: string) => string): Reply | null {
  return reply === null ? null : { ...reply, text: mask(reply.text) }
}
