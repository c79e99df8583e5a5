/**
 * HTTP connections that go to addresses the network guard has judged, never to names: a connector for undici and agents
 * for clients built on node:http. Neither a DNS answer that changes in between nor an IP literal in the URL (for which
 * Node asks no lookup function) gets past them. TLS certificates are verified against the name, not the address.
 */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { buildConnector, errors } from 'undici'
import type { HostAddress, NetworkGuard } from './network-guard.js'
import { orAborted } from './or-aborted.js'

/** For `new Agent({ connect })` of undici; `timeout` ms bound the lookup and connecting to all addresses of a host together. */
export function guardedConnector(guard: NetworkGuard, timeout: number): buildConnector.connector {
  // Its own limit, 0, is none: undici's would leave the socket to a timer that is up to a second late.
  const connect = buildConnector({ timeout: 0 })
  return (options, callback) => {
    const readyEvent = options.protocol === 'https:' ? 'secureConnect' : 'connect'
    // It gives the socket at once, which its types do not tell.
    const open = ({ address }: HostAddress) =>
      connect({ ...options, hostname: address }, () => {}) as unknown as net.Socket
    connectJudged(guard, timeout, options.hostname, readyEvent, open).then(
      socket => callback(null, socket),
      (error: Error) => callback(error, null),
    )
  }
}

export interface Agents {
  readonly http: http.Agent
  readonly https: https.Agent
}

/** Agents for clients that take node's; `timeout` ms bound the lookup and connecting to all addresses of a host together. */
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
    const open = ({ address, family }: HostAddress) => net.connect({ ...options, host: address, family })
    connectJudged(this.guard, this.connectTimeout, options.host, 'connect', open).then(
      socket => callback(null, socket),
      callback,
    )
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
    const open = ({ address, family }: HostAddress) => {
      const target: Target = { ...options, host: address, family, rejectUnauthorized: true }
      return tls.connect(target)
    }
    connectJudged(this.guard, this.connectTimeout, options.host, 'secureConnect', open).then(
      socket => callback(null, socket),
      callback,
    )
  }
}

/** An address that does not answer has at least this, as long as so much is left: with many addresses equal parts are too short. */
const LEAST_SHARE_MS = 2_000

/** A socket to the first address of the host that gets ready; those that were given up are destroyed. */
async function connectJudged(
  guard: NetworkGuard,
  timeout: number,
  host: string | undefined,
  readyEvent: 'connect' | 'secureConnect',
  open: (address: HostAddress) => net.Socket,
): Promise<net.Socket> {
  const deadline = performance.now() + timeout
  const addresses = await within(guard.lookup(host ?? 'localhost'), timeout)
  for (let index = 0; ; index += 1) {
    const left = deadline - performance.now()
    const share = Math.min(left, Math.max(left / (addresses.length - index), LEAST_SHARE_MS))
    // An error that comes before the socket is in its client's hands must not end the process.
    const socket = open(addresses[index]!).on('error', () => {})
    try {
      await within(once(socket, readyEvent), share)
      return socket
    } catch (error) {
      socket.destroy()
      const isTimeOver = share === left && error instanceof errors.ConnectTimeoutError
      if (isTimeOver || index + 1 === addresses.length) throw error
    }
  }
}

async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(new errors.ConnectTimeoutError('connecting took too long')), ms)
  try {
    return await orAborted(work, limit.signal)
  } finally {
    clearTimeout(timer)
  }
}
