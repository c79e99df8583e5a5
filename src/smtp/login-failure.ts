/**
 * Failures on the way to a logged-in connection, sorted by who is at fault (spec section 4.3). Account: the server
 * refused the greeting, EHLO, STARTTLS or AUTH, or TLS does not fit: every message would fail alike. Session: time-outs,
 * broken connections, and what is no SMTP.
 */
import { BearerRefused } from './bearer-auth.js'
import { LoginRefused } from './dialogue.js'
import { phaseWords } from './failures.js'
import { isRefusal, replyLine } from './reply.js'
import { type Reply, SmtpFailure, type SmtpPhase } from './transport.js'
import { WireBroken } from './wire.js'

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

  const outOfStep = (reply: Reply) =>
    make('session', `While ${phaseWords(phase)} of ${remote}: the server is out of step`, reply)

  if (error instanceof LoginRefusedHere)
    return make('account', `Login to ${remote} is not possible: ${error.message}`, null, error.phase)
  if (error instanceof BearerRefused) {
    const refusal = new BearerRefused(maskReply(error.reply, mask), error.challenge && mask(error.challenge))
    const reply = withChallenge(refusal)
    if (!isRefusal(reply)) return outOfStep(reply)
    const { info, message } = make('account', `Login refused by ${remote}: ${replyLine(reply)}`, reply)
    return new SmtpFailure(message, { ...info, cause: refusal })
  }
  if (error instanceof LoginRefused) {
    const reply = maskReply(error.reply, mask)
    if (!isRefusal(reply)) return outOfStep(reply)
    return make('account', `${refusedWords[phase] ?? 'Connection'} refused by ${remote}: ${replyLine(reply)}`, reply)
  }
  if (!(error instanceof WireBroken)) {
    return new SmtpFailure(`While ${phaseWords(phase)} of ${remote}: internal error`, {
      ...make('session', '').info,
      cause: error,
    })
  }
  if (error.kind === 'timeout') return make('session', `Timed out ${phaseWords(phase)} of ${remote} (${timeoutMs} ms)`)
  const tls = phase === 'tls' ? tlsWords(error.cause) : null
  if (tls !== null) return make('account', `TLS to ${remote} failed: ${mask(tls)}`)
  return make('session', `While ${phaseWords(phase)} of ${remote}: ${error.message}`)
}

/** Why TLS does not fit; null: it was the network. */
function tlsWords(cause: unknown): string | null {
  if (!(cause instanceof Error)) return null
  const { code } = cause as NodeJS.ErrnoException
  if (code === undefined) return cause.message
  return networkCodes.has(code) ? null : `${cause.message} (${code})`
}

const refusedWords: Partial<Record<SmtpPhase, string>> = {
  greeting: 'Connection',
  ehlo: 'EHLO',
  tls: 'STARTTLS',
  auth: 'Login',
}

/** What the server said why, behind its reply: the reply alone may be no more than «not accepted». */
function withChallenge({ reply, challenge }: BearerRefused): Reply {
  return challenge ? { ...reply, text: `${reply.text} (${challenge})`.trim() } : reply
}

function maskReply(reply: Reply, mask: (text: string) => string): Reply {
  return { ...reply, text: mask(reply.text) }
}
