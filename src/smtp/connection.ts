/**
 * Opens a connection and logs in: TCP through the guard, then nodemailer's SMTPConnection for greeting, EHLO,
 * STARTTLS, implicit TLS and AUTH, then the socket is taken over from it for our own transactions (its send() costs
 * 100 µs a message, ours 30, measured). Every failure is an SmtpFailure that says whether the account is at fault.
 */

import { isIP, type Socket } from 'node:net'
import { hostname } from 'node:os'
import type { SecureContext } from 'node:tls'
import SMTPConnection from 'nodemailer/lib/smtp-connection'
import type { Account } from '../accounts/account.js'
import type { Config } from '../config.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import { watchAbort } from './abort-watch.js'
import type { AccessTokens } from './access-tokens.js'
import { type Bearer, bearerHandlers, bearerSecrets } from './bearer-auth.js'
import { chooseBearerMechanism, chooseMechanism } from './choose-mechanism.js'
import { type Conversation, createConversation, passwordSecrets } from './conversation.js'
import { dial } from './dial.js'
import { parseAuthMechanisms, parseExtensions } from './extensions.js'
import { LoginStopped, loginFailure } from './login-failure.js'
import type { Link } from './session.js'
import { withToken } from './token-login.js'
import type { SmtpPhase } from './transport.js'

export interface ConnectionDeps {
  readonly config: Config['smtp']
  readonly guard: NetworkGuard
  /** Shared by all connections: building one costs milliseconds. TLSv1.2 at least. */
  readonly secureContext: SecureContext
  readonly tokens: AccessTokens
}

/** A logged-in connection. `lines`, when given, receives the conversation, secrets masked. Throws SmtpFailure. */
export async function openConnection(
  account: Account,
  deps: ConnectionDeps,
  signal: AbortSignal,
  lines?: string[],
): Promise<Link> {
  const open = (bearer: Bearer | null) => openWith(bearer, account, deps, signal, lines)
  return account.authMethod === 'password' ? open(null) : withToken(account, deps.tokens, signal, lines, open)
}

/** `bearer` null: the account logs in with its password, or not at all. */
async function openWith(
  bearer: Bearer | null,
  account: Account,
  deps: ConnectionDeps,
  signal: AbortSignal,
  lines: string[] | undefined,
): Promise<Link> {
  const socket = await dial(account, { guard: deps.guard, timeoutMs: deps.config.connectTimeoutMs }, signal)
  const remote = `${account.host}:${account.port}`
  const secrets = bearer === null ? passwordSecrets(account) : bearerSecrets(bearer)
  const conversation = createConversation(secrets, isImplicitTls(account), lines)
  const connection = new SMTPConnection({
    ...connectionOptions(account, deps, socket, conversation.logger),
    ...(bearer === null ? {} : { customAuth: bearerHandlers(bearer) }),
  })
  try {
    const taken = await withinLimits(connection, deps.config.commandTimeoutMs, signal, () =>
      logIn(connection, conversation, account, bearer),
    )
    return { socket: taken.socket, extensions: parseExtensions(taken.ehloLines), remote, mask: conversation.mask }
  } catch (error) {
    connection.close()
    socket.destroy()
    const phase: SmtpPhase = conversation.phase()
    throw loginFailure(error, phase, remote, deps.config.commandTimeoutMs, conversation.mask)
  }
}

function isImplicitTls(account: Account): boolean {
  return account.useTls !== false && account.port === 465
}

function connectionOptions(account: Account, deps: ConnectionDeps, socket: Socket, logger: object) {
  const host = account.host.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
  const implicit = isImplicitTls(account)
  const waitMs = deps.config.commandTimeoutMs
  return {
    connection: socket,
    host,
    port: account.port,
    name: deps.config.heloName ?? ownName(socket),
    secure: implicit,
    ignoreTLS: account.useTls === false,
    requireTLS: account.useTls === true && !implicit,
    tls: {
      secureContext: deps.secureContext,
      rejectUnauthorized: account.tlsVerify,
      // SNI takes names only (RFC 6066 §3); an address is checked against the certificate's IP entries.
      ...(isIP(host) === 0 ? { servername: host } : {}),
    },
    // One limit covers the login as a whole (withinLimits), so that a server that trickles gains nothing.
    connectionTimeout: waitMs * 2,
    greetingTimeout: waitMs * 2,
    socketTimeout: waitMs * 2,
    socketCloseTimeout: 0,
    maxResponseSize: 64 * 1024,
    transactionLog: true,
    logger,
  }
}

/** RFC 5321 §4.1.3: a host without a full name says its address. */
function ownName(socket: Socket): string {
  const name = hostname()
  if (/^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$/.test(name) && isIP(name) === 0) return name
  const address = socket.localAddress ?? '127.0.0.1'
  return address.includes(':') ? `[IPv6:${address}]` : `[${address}]`
}

/** Greeting to AUTH. Resolves with the socket, already out of nodemailer's hands. */
function logIn(
  connection: SMTPConnection,
  conversation: Conversation,
  account: Account,
  bearer: Bearer | null,
): Promise<Taken> {
  return new Promise((resolve, reject) => {
    const finish = (error?: Error | null) => {
      if (error) return reject(error)
      try {
        resolve(takeOver(connection))
      } catch (problem) {
        reject(problem)
      }
    }
    connection.connect(error => {
      if (error) return reject(error)
      const reply = conversation.ehloReply() ?? ''
      if (!isAnswerToEhlo(reply)) return reject(Object.assign(new Error('EHLO was not answered'), { response: reply }))
      try {
        const offer = { secure: connection.secure, mechanisms: parseAuthMechanisms(ehloLinesOf(connection)) }
        const method = bearer === null ? chooseMechanism(account, offer) : chooseBearerMechanism(account, offer)
        if (method === null) finish()
        // Without `oauth2` it would put another method in the place of XOAUTH2.
        else if (bearer !== null) connection.login({ oauth2: {}, user: bearer.user, method } as never, finish)
        else connection.login({ user: account.user!, pass: account.password!, method }, finish)
      } catch (refusal) {
        reject(refusal)
      }
    })
  })
}

/**
 * nodemailer takes any 2xx for a list of extensions, an empty one, and goes on with HELO after whatever else: out of step
 * or refused for now, a server would then seem to offer neither TLS nor AUTH. HELO is for those that know no EHLO.
 */
function isAnswerToEhlo(reply: string): boolean {
  return /^(250|5\d\d)(?!\d)/.test(reply)
}

/** Ends the login on a time-out, an abort, or an error that nodemailer reports beside its callbacks. */
function withinLimits<T>(
  connection: SMTPConnection,
  timeoutMs: number,
  signal: AbortSignal,
  run: () => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(new LoginStopped('timeout')), Math.min(timeoutMs, 2 ** 31 - 1))
    const unwatch = watchAbort(signal, () => fail(new LoginStopped('aborted')))
    // Whichever ends it first: of a login that was cut off nodemailer never tells the end, and the signal outlives it.
    const release = () => {
      clearTimeout(timer)
      unwatch()
    }
    const fail = (error: unknown) => {
      release()
      reject(error)
    }
    // Never removed: an emitter's error without a listener would end the process.
    connection.on('error', fail)
    // After a 421 this comes before the callback that has the server's words.
    connection.once('end', () => setImmediate(fail, new LoginStopped('closed')))
    if (signal.aborted) return fail(new LoginStopped('aborted'))
    run().then(taken => {
      release()
      resolve(taken)
    }, fail)
  })
}

interface Taken {
  readonly socket: Socket
  readonly ehloLines: readonly string[]
}

/** What is private in nodemailer's SMTPConnection and used here: 10.6.0 is pinned for it, a test watches it. */
interface Internals {
  readonly _socket: unknown
  readonly _ehloLines?: unknown
  readonly _remainder: unknown
  readonly _responseQueue: unknown
  readonly _onSocketData: unknown
  readonly _onSocketTimeout: unknown
  readonly _onSocketClose: unknown
  readonly _onSocketEnd: unknown
  readonly _onSocketError: unknown
}

/**
 * Takes the socket over after login: removes each of nodemailer's listeners and its time limit, and makes sure that
 * the server has said nothing beyond its last answer. The socket is paused until somebody listens. Throws a plain
 * Error when nodemailer is not as expected, so that no socket is ever read by two.
 */
export function takeOver(connection: SMTPConnection): Taken {
  const inner = connection as unknown as Internals
  const socket = connection._socket
  if (!socket || typeof inner._remainder !== 'string' || !Array.isArray(inner._responseQueue)) {
    throw new TypeError('nodemailer changed: its connection state is not where it was')
  }
  const listeners: [string, unknown][] = [
    ['data', inner._onSocketData],
    ['timeout', inner._onSocketTimeout],
    ['close', inner._onSocketClose],
    ['end', inner._onSocketEnd],
    ['error', inner._onSocketError],
  ]
  for (const [event, listener] of listeners) {
    if (typeof listener !== 'function' || !socket.listeners(event).includes(listener)) {
      throw new TypeError(`nodemailer changed: it does not listen to '${event}' as it did`)
    }
  }
  socket.pause()
  for (const [event, listener] of listeners) socket.removeListener(event, listener as () => void)
  socket.setTimeout(0)
  if (inner._remainder !== '' || inner._responseQueue.length > 0) throw new LoginStopped('garbled')
  return { socket, ehloLines: ehloLinesOf(connection) }
}

/** Lines of the last EHLO answer after the first; none after a fall-back to HELO. */
function ehloLinesOf(connection: SMTPConnection): readonly string[] {
  const lines = (connection as unknown as Internals)._ehloLines
  if (lines === undefined) return []
  if (!Array.isArray(lines)) throw new TypeError('nodemailer changed: its EHLO lines are not where they were')
  return lines
}
