/**
 * TCP to an account's host: one resolution, judged by the guard unless an admin set the host, then the addresses in
 * the system's order, the next one starting when the one before fails or takes long (RFC 8305 in small). One time
 * limit covers it all.
 */
import type { Socket } from 'node:net'
import type { Account } from '../accounts/account.js'
import { GuardError, type HostAddress, type NetworkGuard, resolveHost } from '../lib/network-guard.js'
import { watchAbort } from './abort-watch.js'
import { connectForDirectReads } from './direct-reads.js'
import { SmtpFailure, type SmtpPhase } from './transport.js'

/** How long an address may stay silent before the next one is tried beside it (RFC 8305 §5). */
const nextAttemptAfterMs = 250

/** This side ended it. */
class DialEnded extends Error {
  override name = 'DialEnded'
  constructor(readonly why: 'stopped' | 'timeout') {
    super(why)
  }
}

/** A connected socket, or SmtpFailure: account scope for DNS, refusals and the guard, session scope for the network. */
export function dial(
  account: Account,
  { guard, timeoutMs }: { guard: NetworkGuard; timeoutMs: number },
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let phase: SmtpPhase = 'dns'
    let stopRace: (() => void) | null = null
    let isOver = false
    const end = () => {
      isOver = true
      clearTimeout(timer)
      unwatch()
    }
    const succeed = (socket: Socket) => {
      end()
      resolve(socket)
    }
    const fail = (error: unknown) => {
      if (isOver) return
      end()
      stopRace?.()
      reject(failure(account, phase, error, timeoutMs))
    }
    const connect = (addresses: readonly HostAddress[]) => {
      // A lookup cannot be broken off.
      if (isOver) return
      phase = 'connect'
      stopRace = race(addresses, account.port, succeed, fail)
    }
    const timer = setTimeout(() => fail(new DialEnded('timeout')), Math.min(timeoutMs, 2 ** 31 - 1))
    const unwatch = watchAbort(signal, () => fail(new DialEnded('stopped')))
    if (signal.aborted) return fail(new DialEnded('stopped'))
    const resolving = account.hostTrusted ? resolveHost(account.host) : guard.lookup(account.host)
    resolving.then(connect).catch(fail)
  })
}

/**
 * Gives the first socket that connects, or the most telling error when none does. Answers the function that destroys them
 * all; nothing is given after that.
 */
function race(
  addresses: readonly HostAddress[],
  port: number,
  succeed: (socket: Socket) => void,
  fail: (error: Error) => void,
): () => void {
  const attempts = new Set<Socket>()
  const errors: Error[] = []
  let next = 0
  let timer: NodeJS.Timeout | undefined

  const stop = () => {
    clearTimeout(timer)
    for (const socket of attempts) socket.destroy()
    attempts.clear()
  }
  const tryNext = () => {
    clearTimeout(timer)
    const target = addresses[next++]
    if (target === undefined) {
      if (attempts.size === 0) fail(mostTelling(errors))
      return
    }
    const { address: host, family } = target
    const socket = connectForDirectReads({ host, family, port, noDelay: true, keepAlive: true })
    attempts.add(socket)
    // For the socket's whole life: an error without a listener would end the process. The other holds on to all of the dial.
    socket.on('error', ignore)
    const onError = (error: Error) => {
      if (!attempts.delete(socket)) return
      errors.push(error)
      tryNext()
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      socket.removeListener('error', onError)
      attempts.delete(socket)
      stop()
      succeed(socket)
    })
    if (next < addresses.length) timer = setTimeout(tryNext, nextAttemptAfterMs)
  }

  tryNext()
  return stop
}

function ignore(): void {}

function mostTelling(errors: readonly Error[]): Error {
  return errors.find(error => codeOf(error) === 'ECONNREFUSED') ?? errors[0] ?? new Error('the host has no address')
}

function failure(account: Account, phase: SmtpPhase, error: unknown, timeoutMs: number): SmtpFailure {
  const remote = `${account.host}:${account.port}`
  const base = { phase, reply: null, reachedData: false, afterDot: false, remote, cause: error }
  if (error instanceof GuardError) return new SmtpFailure(error.message, { ...base, scope: 'account' })
  if (error instanceof DialEnded) {
    const what = phase === 'dns' ? `Resolving ${account.host}` : `Connecting to ${remote}`
    const words =
      error.why === 'stopped' ? `Connecting to ${remote} was stopped` : `${what} timed out after ${timeoutMs} ms`
    return new SmtpFailure(words, { ...base, scope: 'session' })
  }
  const code = codeOf(error)
  if (phase === 'dns') {
    return new SmtpFailure(`Host ${account.host} cannot be resolved (${code ?? 'unknown error'})`, {
      ...base,
      scope: 'account',
    })
  }
  const scope = code === 'ECONNREFUSED' ? 'account' : 'session'
  const words =
    code === 'ECONNREFUSED' ? 'connection refused' : (code ?? (error instanceof Error ? error.message : String(error)))
  return new SmtpFailure(`Cannot connect to ${remote}: ${words}`, { ...base, scope })
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}
