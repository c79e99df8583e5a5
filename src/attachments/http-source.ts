/**
 * Attachments over HTTP: a URL in a message, or the client's own endpoint, asked by POST. A URL in a message is never
 * trusted, whoever wrote it: every address is judged by the guard, on each hop, but for one origin an admin has set.
 */

import { Agent, type buildConnector, buildConnector as connectorOf, request } from 'undici'
import { guardedConnector } from '../lib/guarded-http.js'
import { createKept } from '../lib/kept.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import { originOf } from '../lib/url.js'
import { fileOf, getFollowing } from './http-get.js'
import type { StoredFile } from './stores/store.js'

export interface HttpSource {
  get(
    url: URL,
    trustedOrigins: readonly string[],
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<StoredFile>
  /** The client's endpoint tells by its answer; a redirect is none. */
  ask(endpoint: HttpEndpoint, storagePath: string, signal: AbortSignal): Promise<StoredFile>
  close(): Promise<void>
}

export interface HttpEndpoint {
  readonly url: URL
  readonly authorization: string | null
  /** False: set with a tenant's key, so only addresses the guard allows may be connected to. */
  readonly trusted: boolean
}

/** Agents of so many trusted origins are kept, each with its connections. */
const MOST_AGENTS = 200

export function createHttpSource(guard: NetworkGuard, timeoutMs: number): HttpSource {
  const plain = connectorOf({ timeout: timeoutMs, rejectUnauthorized: true })
  const guarded = guardedConnector(guard, timeoutMs)

  const agents = createKept<Agent>(MOST_AGENTS, agent => agent.destroy())

  /** The agent stays open through all redirects and to the end of the body. */
  const through = (origins: readonly string[], ask: (agent: Agent) => Promise<StoredFile>): Promise<StoredFile> => {
    const open = () => {
      const trusted = new Set(origins)
      const connect: buildConnector.connector = (options, callback) =>
        (trusted.has(originOfTarget(options)) ? plain : guarded)(options, callback)
      return new Agent({ headersTimeout: 0, bodyTimeout: 0, connect })
    }
    return agents.reading([...origins].sort().join(' '), open, ask)
  }

  return {
    get: (url, trustedOrigins, headers, signal) =>
      through(trustedOrigins, agent => getFollowing(agent, url, headers, signal)),
    ask: ({ url, authorization, trusted }, storagePath, signal) =>
      through(trusted ? [url.origin] : [], async agent => {
        const answer = await request(url, {
          method: 'POST',
          dispatcher: agent,
          signal,
          body: JSON.stringify({ storage_path: storagePath }),
          headers: {
            'content-type': 'application/json',
            'accept-encoding': 'identity',
            'user-agent': 'genro-mail-proxy',
            ...(authorization === null ? {} : { authorization }),
          },
        })
        return fileOf(answer)
      }),
    close: () => agents.close(),
  }
}

function originOfTarget({ protocol, hostname, port }: buildConnector.Options): string {
  const host = hostname.includes(':') && !hostname.startsWith('[') ? `[${hostname}]` : hostname
  const url = `${protocol}//${host}${port ? `:${port}` : ''}`
  return originOf(url) ?? ''
}
