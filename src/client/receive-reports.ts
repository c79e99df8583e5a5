/**
 * The application's side of delivery reports, for any framework: who calls is checked, then the entries are handed to
 * `record`, and only when that has returned are they acknowledged. Entries may come again: record must bear that.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { ReportAnswer, ReportEntry } from './reports.js'
import { type HeadersGiven, headerOf, verifyReport } from './verify-report.js'

export interface ReceiverOptions {
  /** What the tenant's client_auth says. */
  readonly auth?:
    | { readonly method: 'bearer'; readonly token: string }
    | { readonly method: 'basic'; readonly user: string; readonly password: string }
  /** The tenant's signing_secrets. */
  readonly secrets?: readonly string[]
  /** Stores the entries, in their order; what it answers goes to the service. Called with none by an idle call. */
  record(entries: readonly ReportEntry[]): ReportAnswer | undefined | Promise<ReportAnswer | undefined>
}

export interface ReceivedRequest {
  readonly headers: HeadersGiven
  /** The body as it came, before it is parsed. */
  readonly body: string | Uint8Array
}

export interface ReceiverAnswer {
  readonly status: 200 | 400 | 401
  /** To be sent as JSON. */
  readonly body: { readonly ok: boolean; readonly error?: unknown } & ReportAnswer
}

/** Rejects with what `record` threw: answer 500 then, and the service comes again. */
export type ReceiveReports = (request: ReceivedRequest) => Promise<ReceiverAnswer>

/** @throws TypeError without `auth` and `secrets`: anybody could tell that mails were sent. */
export function createReportReceiver({ auth, secrets = [], record }: ReceiverOptions): ReceiveReports {
  if (auth === undefined && secrets.length === 0) {
    throw new TypeError('createReportReceiver: give auth or secrets, or anybody could report')
  }
  // At once, and not when the first report comes.
  verifyReport({}, '', secrets)
  const authorization = auth === undefined ? null : authorizationOf(auth)

  return async ({ headers, body }) => {
    if (authorization !== null && !isSame(headerOf(headers, 'authorization') ?? '', authorization)) return UNAUTHORIZED
    if (secrets.length > 0 && !verifyReport(headers, body, secrets)) return UNAUTHORIZED
    const entries = entriesIn(typeof body === 'string' ? body : Buffer.from(body).toString('utf8'))
    if (entries === null) return { status: 400, body: { ok: false } }
    return { status: 200, body: { ok: true, ...(await record(entries)) } }
  }
}

const UNAUTHORIZED: ReceiverAnswer = { status: 401, body: { ok: false } }

function entriesIn(text: string): ReportEntry[] | null {
  try {
    const given = JSON.parse(text) as { delivery_report?: unknown } | null
    const entries = given?.delivery_report ?? []
    return Array.isArray(entries) ? (entries as ReportEntry[]) : null
  } catch {
    return null
  }
}

function authorizationOf(auth: NonNullable<ReceiverOptions['auth']>): string {
  if (auth.method === 'bearer' && auth.token !== '') return `Bearer ${auth.token}`
  if (auth.method === 'basic' && auth.password !== '') {
    return `Basic ${Buffer.from(`${auth.user}:${auth.password}`).toString('base64')}`
  }
  throw new TypeError('createReportReceiver: the secret of auth is empty')
}

/** By digests: neither content nor length of what is expected shows in the time it takes. */
function isSame(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
