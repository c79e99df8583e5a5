/**
 * Opens a connection and logs in: TCP through the guard, then greeting, TLS, EHLO and AUTH. Every failure is an SmtpFailure
 * that says whether the account is at fault.
 */
import { isIP, type Socket } from 'node:net'
import { hostname } from 'node:os'
import type { ConnectionOptions, SecureContext } from 'node:tls'
import type { Account } from '../accounts/account.js'
import type { Config } from '../config.js'
import type { Clock } from '../lib/clock.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import { watchAbort } from './abort-watch.js'
import type { AccessTokens } from './access-tokens.js'
import { type Bearer, bearerSecrets } from './bearer-auth.js'
import { createConversation, passwordSecrets } from './conversation.js'
import { dial } from './dial.js'
import { Dialogue } from './dialogue.js'
import { logIn } from './login.js'
import { loginFailure } from './login-failure.js'
import type { Link } from './session.js'
import { withToken } from './token-login.js'

export interface ConnectionDeps {
  readonly config: Config['smtp']
  readonly clock: Clock
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
  { config, clock, guard, secureContext }: ConnectionDeps,
  signal: AbortSignal,
  lines: string[] | undefined,
): Promise<Link> {
  const socket = await dial(account, { guard, timeoutMs: config.connectTimeoutMs }, signal)
  const remote = `${account.host}:${account.port}`
  const conversation = createConversation(secretsOf(account, bearer), lines)
  const dialogue = new Dialogue(socket, clock, config.commandTimeoutMs, conversation)
  const stop = () => dialogue.wire.drop('the login was stopped')
  if (signal.aborted) stop()
  const unwatch = watchAbort(signal, stop)
  try {
    const name = config.heloName ?? ownName(socket)
    const extensions = await logIn(dialogue, account, { name, tls: tlsOptions(account, secureContext), bearer })
    return { wire: dialogue.end(), extensions, remote, mask: conversation.mask }
  } catch (error) {
    dialogue.wire.drop()
    throw loginFailure(error, dialogue.phase, remote, config.commandTimeoutMs, conversation.mask)
  } finally {
    unwatch()
  }
}

/** Made apart, for the connection keeps it: made during the login it would hold on to all of that. */
function secretsOf(account: Account, bearer: Bearer | null): () => readonly string[] {
  return () => (bearer === null ? passwordSecrets(account) : bearerSecrets(bearer))
}

function tlsOptions(account: Account, secureContext: SecureContext): ConnectionOptions {
  const host = account.host.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
  return {
    host,
    secureContext,
    rejectUnauthorized: account.tlsVerify,
    // SNI takes names only (RFC 6066 §3); an address is checked against the certificate's IP entries.
    ...(isIP(host) === 0 ? { servername: host } : {}),
  }
}

/** null: it has none that says more than its address. */
const fullName = /^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$/.test(hostname()) && isIP(hostname()) === 0 ? hostname() : null

/** RFC 5321 §4.1.3: a host without a full name says its address. */
function ownName(socket: Socket): string {
  if (fullName !== null) return fullName
  const address = socket.localAddress ?? '127.0.0.1'
  return address.includes(':') ? `[IPv6:${address}]` : `[${address}]`
}
