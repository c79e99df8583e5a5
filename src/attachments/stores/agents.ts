/** node's agents for the clients that are built on node:http: judged for a tenant's store, plain for an admin's. */
import http from 'node:http'
import https from 'node:https'
import { type Agents, guardedAgents } from '../../lib/guarded-http.js'
import type { StoreAccess } from './store.js'

/** The clients parse such an answer at once, S3's at 0.8 µs an octet: 1 MB of hostile XML held the event loop for 0.7 s. */
const MAX_WORDS_BYTES = 128 * 1024

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
 * Breaks a connection that sends more than that of anything but a file: the clients read errors and the answers to a PUT
 * into memory, without a bound. Counted where the parser hands the octets over: listening for them would take them from
 * the client, and a look at the socket now and then lets through what a fast server sends in between.
 */
function boundWords(agent: http.Agent): void {
  const bounded = agent as unknown as { addRequest: Adding }
  const add = bounded.addRequest.bind(agent)
  bounded.addRequest = (request, ...rest) => {
    request.once('response', (response: http.IncomingMessage) => {
      if (request.method === 'GET' && (response.statusCode ?? 0) < 300) return
      const push = response.push.bind(response)
      let octets = 0
      response.push = (piece: Buffer | null, encoding) => {
        octets += piece?.length ?? 0
        if (octets <= MAX_WORDS_BYTES) return push(piece, encoding)
        response.socket.destroy()
        return false
      }
    })
    return add(request, ...rest)
  }
}
