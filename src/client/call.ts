/**
 * One request to the service: token, time limit, failures as MailProxyError, and repeats. What does no more when done
 * twice is repeated after 429, 502, 503, 504 and failures of the network; anything else only after a 429, which
 * says that nothing was done.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MailProxyError } from './error.js'

export interface ClientOptions {
  /** Where the service listens, as in `https://mail.example.com` or `http://127.0.0.1:8000`; a path before the routes may follow. */
  readonly url: string
  /** The admin token, or a tenant's API key. */
  readonly token: string
  /** For the admin: the tenant that is meant where a call does not name one. */
  readonly tenantId?: string
  /** In place of the global one. */
  readonly fetch?: typeof globalThis.fetch
  /** Milliseconds for one request, answer included; a repeat has its own. 60,000. */
  readonly timeoutMs?: number
  /** false: a failure is thrown at once. */
  readonly retry?: RetryOptions | false
}

export interface RetryOptions {
  /** Requests in all. 4. */
  readonly attempts?: number
  /** Milliseconds before the second; doubled each time, and each wait up to half shorter by chance. 250. */
  readonly firstDelayMs?: number
  /** The longest wait; where the service asks for a longer one the failure is thrown instead. 30,000. */
  readonly maxDelayMs?: number
}

export interface CallOptions {
  /** For the admin: whose records are meant. */
  readonly tenantId?: string
  readonly signal?: AbortSignal
}

export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | boolean | null | undefined>>
  /** As JSON; a string is JSON already. */
  readonly body?: unknown
  /** Doing it twice does and answers what doing it once does. */
  readonly repeatable: boolean
  /** It is about one tenant: `tenant_id` goes into the query where there is one. */
  readonly scoped?: boolean
  /** Statuses beside 2xx whose answer the caller reads, when it has the field named. */
  readonly alsoAnswer?: { readonly statuses: readonly number[]; readonly withField: string }
  /** Its answer is a text and no JSON. */
  readonly isText?: boolean
  /** Milliseconds at least, for what is known to take long. */
  readonly atLeastMs?: number
}

/** @throws MailProxyError; the signal's reason when that aborts. */
export type Call = <T>(request: Request, options?: CallOptions) => Promise<T>

const TIMEOUT_MS = 60_000
/** Of an answer. The longest honest one is a message of 100 MB, told by GET /messages/{id} without its attachments. */
const MOST_BYTES = 128 * 1024 * 1024

class TooLong extends Error {}

export function createCall(client: ClientOptions): Call {
  const base = baseOf(client.url)
  // Judged here, without repeating it: fetch would, in its complaint about the header.
  if (!/^[\x21-\x7e]+$/.test(client.token ?? '')) {
    throw new TypeError('createClient: token is missing, or has a space, a line end or another character no token has')
  }
  const send = client.fetch ?? globalThis.fetch
  const retry: RetryOptions = client.retry === false ? { attempts: 1 } : (client.retry ?? {})
  const { attempts = 4, firstDelayMs = 250, maxDelayMs = 30_000 } = retry

  return async <T>(request: Request, options: CallOptions = {}): Promise<T> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await once(request, options)) as T
      } catch (error) {
        if (!(error instanceof MailProxyError) || attempt >= attempts || !mayRepeat(request, error)) throw error
        const backoff = firstDelayMs * 2 ** (attempt - 1) * (0.5 + Math.random() / 2)
        const wait = Math.max(Math.min(backoff, maxDelayMs), (error.retryAfter ?? 0) * 1000)
        if (wait > maxDelayMs) throw error
        await pause(wait, options.signal)
      }
    }
  }

  async function once(request: Request, { tenantId = client.tenantId, signal }: CallOptions): Promise<unknown> {
    signal?.throwIfAborted()
    const what = `${request.method} ${request.path}`
    const timeout = AbortSignal.timeout(Math.max(client.timeoutMs ?? TIMEOUT_MS, request.atLeastMs ?? 0))
    const query = { ...request.query, ...(request.scoped === true ? { tenant_id: tenantId } : {}) }
    let response: Response | undefined
    let text: string
    try {
      response = await send(`${base}${request.path}${queryOf(query)}`, {
        method: request.method,
        headers: {
          'X-API-Token': client.token,
          Accept: 'application/json',
          ...(request.body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        body: typeof request.body === 'object' ? JSON.stringify(request.body) : (request.body as string | undefined),
        // The token must not follow to another server.
        redirect: 'manual',
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      })
      text = await textOf(response)
    } catch (error) {
      if (error instanceof TooLong) {
        const { status } = response!
        const sentence = `${what}: ${status} with more than ${MOST_BYTES} bytes; is this the service's address?`
        throw new MailProxyError('unexpected_answer', sentence, { status })
      }
      if (signal?.aborted === true) throw signal.reason
      if (timeout.aborted) throw new MailProxyError('timeout', `${what}: no answer in time`, { cause: error })
      throw new MailProxyError('unreachable', `${what}: ${base} cannot be reached: ${reasonOf(error)}`, {
        cause: error,
      })
    }
    return answerOf(request, what, response, text)
  }
}

function answerOf(request: Request, what: string, response: Response, text: string): unknown {
  const { status } = response
  if (response.ok && !/^application\/json\b/.test(response.headers.get('content-type') ?? '')) {
    if (request.isText === true) return text
    throw new MailProxyError('unexpected_answer', `${what}: ${status} without JSON; is this the service's address?`, {
      status,
    })
  }
  const body = parsed(text)
  if (body === null) {
    const where = response.headers.get('location')
    const said =
      where === null ? 'an answer that is not the service’s' : `redirected to ${where}, which is not followed`
    throw new MailProxyError('unexpected_answer', `${what}: ${status}, ${said}`, {
      status,
      retryAfter: waitOf(response),
    })
  }
  if (response.ok) return body
  const { alsoAnswer } = request
  if (alsoAnswer?.statuses.includes(status) === true && Object.hasOwn(body, alsoAnswer.withField)) return body
  const { error, code, detail, details } = body as Record<string, unknown>
  const facts = { status, detail, details, retryAfter: waitOf(response) }
  const sentence = `${what}: ${status} ${typeof error === 'string' ? error : ''}`
  throw new MailProxyError(typeof code === 'string' && code !== '' ? code : 'unexpected_answer', sentence, facts)
}

function mayRepeat(request: Request, { code, status }: MailProxyError): boolean {
  // A full quota empties when mail has gone, not while a caller waits.
  if (status === 429) return code !== 'quota_exceeded'
  const isPassing = status === null ? code === 'unreachable' || code === 'timeout' : [502, 503, 504].includes(status)
  return isPassing && request.repeatable
}

/** Leaving the loop ends the connection: an answer without an end does not fill the memory until the timeout. */
async function textOf({ body }: Response): Promise<string> {
  if (body === null) return ''
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    sizeBytes += chunk.length
    if (sizeBytes > MOST_BYTES) throw new TooLong()
    chunks.push(chunk)
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}

function waitOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined
}

function parsed(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && !Array.isArray(value) ? value : null
  } catch {
    return null
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(error => {
    throw signal?.aborted === true ? signal.reason : error
  })
}

/** fetch says only "fetch failed"; what failed stands in its cause, for several addresses in a list. */
function reasonOf(error: unknown): string {
  const cause = (error as { cause?: unknown }).cause ?? error
  const first = cause instanceof AggregateError ? cause.errors[0] : cause
  return first instanceof Error ? first.message : String(first)
}

function queryOf(query: NonNullable<Request['query']>): string {
  const given = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) given.set(name, String(value))
  }
  return given.size === 0 ? '' : `?${given}`
}

/** null: it is none. Not by `URL.canParse`, which on Node 20 and 22 comes to refuse letters beyond ASCII. */
function urlOf(text: string): URL | null {
  try {
    return new URL(text)
  } catch {
    return null
  }
}

function baseOf(url: string): string {
  const parsedUrl = urlOf(url)
  if (
    parsedUrl === null ||
    !/^https?:$/.test(parsedUrl.protocol) ||
    parsedUrl.username !== '' ||
    parsedUrl.search !== ''
  ) {
    throw new TypeError('createClient: url must be an http:// or https:// URL without a user and a query')
  }
  return `${parsedUrl.origin}${parsedUrl.pathname.replace(/\/+$/, '')}`
}
