/**
 * TCP to an account's host: one resolution, judged by the guard unless an admin set the host, then the addresses in
 * the system's order, the next one starting when the one before fails or takes long (RFC 8305 in small). One time
 * limit covers it all.
 */
import type { Socket } from 'node:net'
import type { Account } from '../accounts/account.js'
import { GuardError, type HostAddress, type NetworkGuard, resolveHost } from '../lib/network-guard.js'
import { orAborted } from '../lib/or-aborted.js'
import { watchAbort } from './abort-watch.js'
import { connectForDirectReads } from './direct-reads.js'
import { SmtpFailure, type SmtpPhase } from './transport.js'

/** How long an address may stay silent before the next one is tried beside it (RFC 8305 §5). */
const nextAttemptAfterMs = 250

/** A connected socket, or SmtpFailure: account scope for DNS, refusals and the guard, session scope for the network. */
export async function dial(
  account: Account,
  deps: { guard: NetworkGuard; timeoutMs: number },
  signal: AbortSignal,
): Promise<Socket> {
  const ending = new AbortController()
  const limit = ending.signal
  const timer = setTimeout(() => ending.abort(), Math.min(deps.timeoutMs, 2 ** 31 - 1))
  if (signal.aborted) ending.abort()
  const unwatch = watchAbort(signal, () => ending.abort())
  let phase: SmtpPhase = 'dns'
  try {
    const resolving = account.hostTrusted ? resolveHost(account.host) : deps.guard.lookup(account.host)
    const addresses = await orAborted(resolving, limit)
    phase = 'connect'
    return await race(addresses, account.port, limit)
  } catch (error) {
    throw failure(account, phase, error, signal, limit, deps.timeoutMs)
  } finally {
    clearTimeout(timer)
    unwatch()
  }
}

/** The first socket that connects; the others are destroyed. Rejects with the most telling error when none does. */
function race(addresses: readonly HostAddress[], port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const attempts = new Set<Socket>()
    const errors: Error[] = []
    let next = 0
    let timer: NodeJS.Timeout | undefined

    const settle = (winner: Socket | null) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      for (const socket of attempts) {
        if (socket === winner) continue
        socket.destroy()
      }
    }
    const onAbort = () => {
      settle(null)
      reject(signal.reason)
    }
    const tryNext = () => {
      clearTimeout(timer)
      const target = addresses[next++]
      if (target === undefined) {
        if (attempts.size === 0) {
          settle(null)
          reject(mostTelling(errors))
        }
        return
      }
      const { address: host, family } = target
      const socket = connectForDirectReads({ host, family, port, noDelay: true, keepAlive: true })
      attempts.add(socket)
      // Stays attached for the socket's whole life: an error without a listener would end the process.
      socket.on('error', error => {
        if (!attempts.delete(socket)) return
        errors.push(error)
        tryNext()
      })
      socket.once('connect', () => {
        settle(socket)
        attempts.clear()
        resolve(socket)
      })
      if (next < addresses.length) timer = setTimeout(tryNext, nextAttemptAfterMs)
    }

    if (signal.aborted) return reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    tryNext()
  })
}

function mostTelling(errors: readonly Error[]): Error {
  return errors.find(error => codeOf(error) === 'ECONNREFUSED') ?? errors[0] ?? new Error('the host has no address')
}

function failure(
  account: Account,
  phase: SmtpPhase,
  error: unknown,
  signal: AbortSignal,
  limit: AbortSignal,
  timeoutMs: number,
): SmtpFailure {
  const remote = `${account.host}:${account.port}`
  const base = { phase, reply: null, reachedData: false, afterDot: false, remote, cause: error }
  if (error instanceof GuardError) return new SmtpFailure(error.message, { ...base, scope: 'account' })
  if (signal.aborted) return new SmtpFailure(`Connecting to ${remote} was stopped`, { ...base, scope: 'session' })
  if (limit.aborted) {
    const what = phase === 'dns' ? `Resolving ${account.host}` : `Connecting to ${remote}`
    return new SmtpFailure(`${what} timed out after ${timeoutMs} ms`, { ...base, scope: 'session' })
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
