/** node's agents for the clients that are built on node:http: judged for a tenant's store, plain for an admin's. */
import http from 'node:http'
import https from 'node:https'
import { type Agents, guardedAgents } from '../../lib/guarded-http.js'
import type { StoreAccess } from './store.js'

const MAX_WORDS_BYTES = 1_000_000
const LOOK_MS = 50

export function openAgents({ guard, timeoutMs }: StoreAccess): Agents {
  const agents =
    guard !== null
      ? guardedAgents(guard, timeoutMs)
      : {
          http: new http.Agent({ keepAlive: true }),
          https: new https.Agent({ keepAlive: true, rejectUnauthorized: true }),
        }
  boundWords(agents.http)
  boundWords(agents.https)
  return agents
}

export function closeAgents(agents: Agents): void {
  agents.http.destroy()
  agents.https.destroy()
}

type Adding = (request: http.ClientRequest, ...rest: unknown[]) => unknown

/**
 * Breaks a connection that sends more than a megabyte of anything but a file: the clients read errors and the answers to
 * a PUT into memory, without a bound. Listening for the octets would take them from the client, so the socket's count is looked at.
 */
function boundWords(agent: http.Agent): void {
  const bounded = agent as unknown as { addRequest: Adding }
  const add = bounded.addRequest.bind(agent)
  bounded.addRequest = (request, ...rest) => {
    request.once('response', (response: http.IncomingMessage) => {
      if (request.method === 'GET' && (response.statusCode ?? 0) < 300) return
      const { socket } = response
      const before = socket.bytesRead
      const timer = setInterval(() => socket.bytesRead - before > MAX_WORDS_BYTES && socket.destroy(), LOOK_MS)
      response.once('close', () => clearInterval(timer))
    })
    return add(request, ...rest)
  }
}
