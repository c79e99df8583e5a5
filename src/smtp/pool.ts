/**
 * The MailTransport over real sockets: connections kept by account and by everything that shapes them, so that none is
 * ever used without the TLS or the login its account asks for.
 */
import { createSecureContext } from 'node:tls'
import type { Account } from '../accounts/account.js'
import type { Config } from '../config.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import type { Envelope } from '../messages/message.js'
import type { AccessTokens } from './access-tokens.js'
import { openConnection } from './connection.js'
import { createIdleConnections } from './idle-connections.js'
import { replyLine } from './reply.js'
import { type Behind, Session } from './session.js'
import { type Pooled, Station } from './station.js'
import {
  type Mail,
  type MailTransport,
  type ProbeResult,
  type Replies,
  type SendOptions,
  SmtpFailure,
} from './transport.js'

export interface TransportDeps {
  readonly clock: Clock
  readonly guard: NetworkGuard
  readonly log: Log
  readonly tokens: AccessTokens
  /** Certificate authorities (PEM) in place of the system's. */
  readonly ca?: string
  /** How often idle connections are looked over, milliseconds. */
  readonly sweepEveryMs?: number
  /** How many idle connections are kept, of all accounts together. */
  readonly mostIdle?: number
}

/** How long a server may take to answer QUIT before it is hung up on. */
const quitWithinMs = 1000

export function createTransport(config: Config['smtp'], deps: TransportDeps): MailTransport {
  const { clock, guard, log, tokens } = deps
  const connecting = {
    config,
    clock,
    guard,
    tokens,
    secureContext: createSecureContext({ minVersion: 'TLSv1.2', ca: deps.ca }),
  }
  const stations = new Map<number, Station>()
  const idle = createIdleConnections(deps.mostIdle)
  /**
   * By a mail that was named as the next one, the connection that expects it. It keeps its turn meanwhile. Weak, for
   * the old tables of a Map would hold on to the mails (docs/decisions/0053).
   */
  const expectants = new WeakMap<
    Mail,
    { readonly pooled: Pooled; readonly station: Station; readonly accountKey: number }
  >()
  let sweeper: NodeJS.Timeout | null = null
  let open = 0
  let opened = 0
  let closed = false

  async function send(account: Account, envelope: Envelope, mail: Mail, options: SendOptions): Promise<Replies> {
    if (closed || options.signal.aborted) {
      forgo(mail)
      throw notStarted(account, closed ? 'the service is stopping' : 'it was stopped')
    }
    const station = stationOf(account)
    const expectant = takeExpectant(mail)
    if (expectant === null && !station.enterNow(Math.max(1, account.maxConnections))) {
      await station.enter(options.signal).catch(() => {
        throw notStarted(account, 'it was stopped while waiting for a connection')
      })
    }
    let current: Pooled | null = null
    const transact = (pooled: Pooled) => {
      current = pooled
      return pooled.session.transact(envelope, mail, options, () => nextOver(pooled, station, account, options))
    }
    try {
      const kept = expectant ?? station.take(shapeOf(account), clock.monotonic(), retire)
      if (kept !== null) {
        idle.take(kept)
        try {
          const replies = await transact(kept)
          keep(kept, station, account)
          return replies
        } catch (error) {
          if (!isStale(error) || options.signal.aborted) throw error
          log.debug('A kept connection was stale', { tenant_id: account.tenantId, account_id: account.id })
        }
      }
      idle.miss(account.key)
      const opened = await connect(station, account, options)
      const replies = await transact(opened)
      keep(opened, station, account)
      return replies
    } finally {
      // Its turn passes to the message it expects.
      if ((current as Pooled | null)?.session.expects == null) leave(station, account.key)
    }
  }

  /** What goes out over the connection behind the mail that is at its final dot. */
  function nextOver(pooled: Pooled, station: Station, account: Account, options: SendOptions): Behind {
    if (!isToBeKept(pooled, account)) return 'QUIT'
    const letter = options.next?.() ?? null
    if (letter !== null) expectants.set(letter.mail, { pooled, station, accountKey: account.key })
    else if (idle.turnsAway(account.key)) return 'QUIT'
    return letter
  }

  function isToBeKept({ session }: Pooled, account: Account): boolean {
    return !closed && session.transactions < account.maxMessagesPerConnection && account.ttlSeconds > 0
  }

  /** After its transaction, for the next that comes. */
  function keep(pooled: Pooled, station: Station, account: Account): void {
    const { session } = pooled
    if (!session.isReusable && !session.isLeaving) return
    if (session.isLeaving || !isToBeKept(pooled, account)) {
      retire(pooled)
      return
    }
    pooled.idleUntil = clock.monotonic() + account.ttlSeconds * 1000
    station.put(pooled)
    for (const [longest, itsStation] of idle.add(pooled, station)) {
      itsStation.remove(longest)
      retire(longest)
    }
    sweeper ??= setInterval(sweep, deps.sweepEveryMs ?? 1000).unref()
  }

  /** The connection that the envelope of this mail went out on. */
  function takeExpectant(mail: Mail): Pooled | null {
    const expectant = expectants.get(mail)
    if (expectant === undefined) return null
    expectants.delete(mail)
    return expectant.pooled.session.expects === mail ? expectant.pooled : null
  }

  function forgo(mail: Mail): void {
    const expectant = expectants.get(mail)
    if (expectant === undefined) return
    expectants.delete(mail)
    const { pooled, station, accountKey } = expectant
    if (pooled.session.expects !== mail) return
    // The transaction under way gives its turn back itself.
    if (!pooled.session.isTransacting) leave(station, accountKey)
    pooled.session.forgo()
  }

  function leave(station: Station, accountKey: number): void {
    station.leave()
    if (station.isEmpty) stations.delete(accountKey)
  }

  async function connect(station: Station, account: Account, { signal, conversation }: SendOptions): Promise<Pooled> {
    const link = await openConnection(account, connecting, signal, conversation)
    const fields = { tenant_id: account.tenantId, account_id: account.id, remote: link.remote }
    log.debug('Connection opened', fields)
    const session = new Session(link, config, clock)
    const pooled: Pooled = { session, accountKey: account.key, shape: shapeOf(account), idleUntil: 0 }
    open++
    opened++
    session.onGone(why => {
      open--
      idle.delete(pooled)
      log.debug('Connection ended', { ...fields, reason: why, transactions: session.transactions })
      if (station.remove(pooled) && station.isEmpty) stations.delete(account.key)
    })
    return pooled
  }

  async function probe(account: Account, signal: AbortSignal, conversation: string[] = []): Promise<ProbeResult> {
    const startedAt = clock.monotonic()
    const link = await openConnection(account, connecting, signal, conversation)
    const goodbye = await new Session(link, config, clock).quit(quitWithinMs)
    conversation.push('C: QUIT')
    if (goodbye !== null) conversation.push(`S: ${replyLine(goodbye)}`)
    return { conversation, durationMs: clock.monotonic() - startedAt }
  }

  function stats(): { open: number; idle: number; opened: number } {
    return { open, idle: idle.size, opened }
  }

  async function close(): Promise<void> {
    closed = true
    if (sweeper !== null) clearInterval(sweeper)
    sweeper = null
    await Promise.all([...idle.all()].map(({ session }) => session.quit(quitWithinMs)))
  }

  function sweep(): void {
    const now = clock.monotonic()
    for (const [key, station] of stations) {
      for (const pooled of station.takeExpired(now)) retire(pooled)
      if (station.isEmpty) stations.delete(key)
    }
    if (idle.size > 0 || sweeper === null) return
    clearInterval(sweeper)
    sweeper = null
  }

  /** Ends a connection politely and without waiting for it. */
  function retire(pooled: Pooled): void {
    idle.delete(pooled)
    void pooled.session.quit(quitWithinMs)
  }

  function stationOf(account: Account): Station {
    let station = stations.get(account.key)
    if (station === undefined) {
      station = new Station()
      stations.set(account.key, station)
    }
    return station
  }

  return { send, forgo, probe, stats, close }
}

/** Everything of an account that a connection depends on. */
function shapeOf(account: Account): string {
  const { host, port, user, password, useTls, tlsVerify, hostTrusted } = account
  const grant = account.authMethod === 'password' ? '' : grantShape(account)
  return `${host}\0${port}\0${useTls}\0${tlsVerify}\0${hostTrusted}\0${user === null ? '' : `u${user}`}\0${password === null ? '' : `p${password}`}${grant}`
}

/** What was set, not the tokens that come and go: a connection that is logged in does not end with its token. */
function grantShape({ authMethod, oauth2 }: Account): string {
  return `\0${authMethod}\0${JSON.stringify(oauth2)}`
}

/** Broken before any reply to MAIL: nothing was handed over, and an idle time-out at the server's side is no failure. */
function isStale(error: unknown): boolean {
  return (
    error instanceof SmtpFailure && (error.info.phase === 'mail' || error.info.phase === 'rset') && !error.info.afterDot
  )
}

function notStarted(account: Account, why: string): SmtpFailure {
  const remote = `${account.host}:${account.port}`
  const info = { scope: 'session', phase: 'connect', reply: null, reachedData: false, afterDot: false, remote } as const
  return new SmtpFailure(`The transaction with ${remote} was not begun: ${why}`, info)
}
