/**
 * HTTP connections that go to addresses the network guard has judged, never to names: a connector for undici and agents
 * for clients built on node:http. Neither a DNS answer that changes in between nor an IP literal in the URL (for which
 * Node asks no lookup function) gets past them. TLS certificates are verified against the name, not the address.
 */
import http from 'node:http'
import https from 'node:https'
import net, { type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { buildConnector, errors } from 'undici'
import type { HostAddress, NetworkGuard } from './network-guard.js'

/**
 * For `new Agent({ connect })` of undici. `timeout` ms bound the lookup and connecting to all addresses of a host together:
 * before there is a connection undici hears of no signal that ends a request.
 */
export function guardedConnector(guard: NetworkGuard, timeout: number): buildConnector.connector {
  const connect = buildConnector({ timeout })
  return (options, callback) => {
    const deadline = performance.now() + timeout
    const tryNext = (addresses: readonly HostAddress[], index: number) => {
      const { address } = addresses[index]!
      const attempt = new Promise<Socket>((resolve, reject) => {
        connect({ ...options, hostname: address }, (error, socket) =>
          error === null ? resolve(socket) : reject(error),
        )
      })
      const share = (deadline - performance.now()) / (addresses.length - index)
      within(attempt, share, late => late.destroy()).then(
        socket => callback(null, socket),
        (error: Error) => {
          if (index + 1 < addresses.length) tryNext(addresses, index + 1)
          else callback(error, null)
        },
      )
    }
    within(guard.lookup(options.hostname), timeout).then(
      addresses => tryNext(addresses, 0),
      (error: Error) => callback(error, null),
    )
  }
}

/** What comes of the work in so many ms; what comes later is given to `discard`. */
function within<T extends object>(work: Promise<T>, ms: number, discard: (late: T) => void = () => {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new errors.ConnectTimeoutError('connecting took too long'))
      work.then(discard, () => {})
    }, ms)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

export interface Agents {
  readonly http: http.Agent
  readonly https: https.Agent
}

/** Agents for clients that take node's; `timeout` ms bound the lookup, and then connecting to all addresses of a host together. */
export function guardedAgents(guard: NetworkGuard, timeout: number): Agents {
  return { http: new GuardedHttpAgent(guard, timeout), https: new GuardedHttpsAgent(guard, timeout) }
}

type Connected = (error: Error | null, socket?: Duplex) => void
type Target = net.TcpNetConnectOpts & tls.ConnectionOptions

class GuardedHttpAgent extends http.Agent {
  constructor(
    private readonly guard: NetworkGuard,
    private readonly connectTimeout: number,
  ) {
    super({ keepAlive: true })
  }

  override createConnection(options: Target, callback: Connected): undefined {
    connectJudged(this.guard, this.connectTimeout, options, 'connect', target => net.connect(target), callback)
  }
}

class GuardedHttpsAgent extends https.Agent {
  constructor(
    private readonly guard: NetworkGuard,
    private readonly connectTimeout: number,
  ) {
    super({ keepAlive: true })
  }

  override createConnection(options: Target, callback: Connected): undefined {
    const open = (target: Target) => tls.connect({ ...target, rejectUnauthorized: true })
    connectJudged(this.guard, this.connectTimeout, options, 'secureConnect', open, callback)
  }
}

function connectJudged(
  guard: NetworkGuard,
  timeout: number,
  options: Target,
  readyEvent: 'connect' | 'secureConnect',
  open: (target: Target) => net.Socket,
  callback: Connected,
): void {
  const tryNext = (addresses: readonly HostAddress[], index: number) => {
    const { address, family } = addresses[index]!
    const socket = open({ ...options, host: address, family })
    const failed = (error: Error) => {
      socket.destroy()
      if (index + 1 < addresses.length) tryNext(addresses, index + 1)
      else callback(error)
    }
    const timer = setTimeout(() => {
      socket.off('error', failed).on('error', () => {})
      failed(Object.assign(new Error('connecting took too long'), { code: 'ETIMEDOUT' }))
    }, timeout / addresses.length)
    socket.once('error', failed)
    socket.once('error', () => clearTimeout(timer))
    socket.once(readyEvent, () => {
      clearTimeout(timer)
      socket.off('error', failed)
      callback(null, socket)
    })
  }
  within(guard.lookup(options.host ?? 'localhost'), timeout).then(addresses => tryNext(addresses, 0), callback)
}
