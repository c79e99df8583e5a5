/** node's agents for the clients that are built on node:http: judged for a tenant's store, plain for an admin's. */
import http from 'node:http'
import https from 'node:https'
import { type Agents, guardedAgents } from '../../lib/guarded-http.js'
import type { StoreAccess } from './store.js'

export function openAgents({ guard, timeoutMs }: StoreAccess): Agents {
  if (guard !== null) return guardedAgents(guard, timeoutMs)
  return {
    http: new http.Agent({ keepAlive: true }),
    https: new https.Agent({ keepAlive: true, rejectUnauthorized: true }),
  }
}

export function closeAgents(agents: Agents): void {
  agents.http.destroy()
  agents.https.destroy()
}
