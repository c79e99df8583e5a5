/**
 * Files of a WebDAV server, with a user and password (Basic, or Digest when the server asks for it) or a bearer token.
 * Redirects are followed on the same origin only: the client's fetch would take the credentials to another port.
 */
import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { AuthType, createClient, type WebDAVClient } from 'webdav'
import type { Agents } from '../../lib/guarded-http.js'
import { withoutEnd } from '../../lib/without-end.js'
import { closeAgents, openAgents } from './agents.js'
import { answered } from './failure-of.js'
import { encodedKeyOf } from './path.js'
import type { Settings } from './settings.js'
import type { NewFile, Store, StoreAccess } from './store.js'
import { call, discard, receive, send } from './transfer.js'

export function openWebdav(settings: Settings, access: StoreAccess): Store {
  const url = withoutEnd(settings.required('url'), '/')
  const prefix = settings.text('prefix')
  const agents = keptToOrigin(new URL(url), openAgents(access))
  const client = createClient(url, {
    ...login(settings),
    httpAgent: agents.http,
    httpsAgent: agents.https,
    headers: { 'User-Agent': 'genro-mail-proxy', 'Accept-Encoding': 'identity' },
  })
  const user = settings.text('user')
  if (user !== undefined) {
    // The client's own Basic is Latin-1 and fails on other letters; UTF-8 is what RFC 7617 hopes for.
    const basic = Buffer.from(`${user}:${settings.text('password')}`).toString('base64')
    client.setHeaders({ ...client.getHeaders(), Authorization: `Basic ${basic}` })
  }
  const dav: Dav = { client, url, access, made: new Set(), asksFirst: user !== undefined }

  return {
    get: (path, signal) =>
      receive(access, signal, async watched => {
        const { status, headers, body } = await ask(dav, 'GET', encodedKeyOf(prefix, path), watched)
        if (status !== 200) {
          discard(body)
          throw answered(status)
        }
        // The client decodes what a server compresses unasked; then the announced size is not that of the file.
        const announced = headers.get('content-encoding') === null ? headers.get('content-length') : null
        return { sizeBytes: announced === null ? null : Number(announced), body }
      }),
    put: (file, signal) =>
      send(access, signal, file, (body, watched) => write(dav, encodedKeyOf(prefix, file.path), file, body, watched)),
    remove: (path, signal) =>
      call(access, signal, async watched => {
        await askAndDump(dav, 'DELETE', encodedKeyOf(prefix, path), watched, { but: [404] })
      }),
    link: async () => null,
    close: () => closeAgents(agents),
  }
}

interface Dav {
  readonly client: WebDAVClient
  readonly url: string
  readonly access: StoreAccess
  /** Directories known to be there. */
  readonly made: Set<string>
  /** The login may turn out to be Digest, whose challenge must come before a body that cannot be sent twice. */
  readonly asksFirst: boolean
}

interface Ask {
  readonly headers?: Record<string, string>
  readonly data?: Readable
  /** Statuses that are no failure either. */
  readonly but?: readonly number[]
}

/** Written beside its place and moved, so that nobody finds half a file. */
async function write(dav: Dav, key: string, file: NewFile, body: () => Readable, signal: AbortSignal): Promise<void> {
  const directories = key.split('/').slice(0, -1)
  if (dav.asksFirst) await askAndDump(dav, 'PROPFIND', '', signal, { headers: { Depth: '0' }, but: [404, 405] })
  for (let depth = 1; depth <= directories.length; depth += 1) {
    const directory = directories.slice(0, depth).join('/')
    if (dav.made.has(directory)) continue
    // 405: it is there already (RFC 4918 section 9.3.1). Where making is forbidden it may be, too; the PUT will tell.
    await askAndDump(dav, 'MKCOL', directory, signal, { but: [405, 403] })
    dav.made.add(directory)
  }
  const part = [...directories, `.${randomBytes(8).toString('hex')}.part`].join('/')
  try {
    const headers = { 'Content-Type': file.mimeType, 'Content-Length': String(file.sizeBytes) }
    await askAndDump(dav, 'PUT', part, signal, { headers, data: body() })
    await askAndDump(dav, 'MOVE', part, signal, { headers: { Destination: `${dav.url}/${key}`, Overwrite: 'T' } })
  } catch (error) {
    // Somebody may have removed one; the next try makes them again.
    dav.made.clear()
    await askAndDump(dav, 'DELETE', part, AbortSignal.timeout(dav.access.timeoutMs)).catch(() => {})
    throw error
  }
}

async function askAndDump(dav: Dav, method: string, key: string, signal: AbortSignal, more: Ask = {}): Promise<void> {
  const { status, body } = await ask(dav, method, key, signal, more)
  discard(body)
  if (status >= 300 && !more.but?.includes(status)) throw answered(status)
}

interface Answer {
  readonly status: number
  readonly headers: { get(name: string): string | null }
  readonly body: Readable
}

/** The client's own encoding of paths is passed by: it takes some names for separators. */
async function ask(
  { client, url }: Dav,
  method: string,
  key: string,
  signal: AbortSignal,
  { headers, data, but }: Ask = {},
): Promise<Answer> {
  try {
    // The client's types know only a browser's answer.
    const answer: unknown = await client.customRequest('/', { url: `${url}/${key}`, method, signal, headers, data })
    return answer as Answer
  } catch (error) {
    const { response } = error as { response?: Answer }
    if (response === undefined) throw error
    if (but?.includes(response.status)) return response
    discard(response.body)
    throw answered(response.status, undefined, error)
  }
}

function login(settings: Settings) {
  const token = settings.text('token')
  if (token !== undefined) return { authType: AuthType.Token, token: { access_token: token, token_type: 'Bearer' } }
  const username = settings.text('user')
  if (username === undefined) return { authType: AuthType.None }
  return { authType: AuthType.Auto, username, password: settings.required('password') }
}

type Connecting = (options: { host?: string; port?: number | string }, connected: (error: Error) => void) => unknown

/** Agents that connect to one origin and to nothing else. */
function keptToOrigin({ protocol, hostname, port }: URL, agents: Agents): Agents {
  const ownHost = hostname.replace(/^\[|\]$/g, '')
  for (const [of, agent] of [
    ['http:', agents.http],
    ['https:', agents.https],
  ] as const) {
    const ownPort = of !== protocol ? null : port !== '' ? Number(port) : of === 'https:' ? 443 : 80
    const kept = agent as unknown as { createConnection: Connecting }
    const connect = kept.createConnection.bind(agent)
    kept.createConnection = (options, connected) => {
      const host = options.host?.replace(/^\[|\]$/g, '')
      if (host === ownHost && Number(options.port) === ownPort) return connect(options, connected)
      connected(Object.assign(new Error('another origin'), { code: 'ERR_OTHER_ORIGIN' }))
    }
  }
  return agents
}
