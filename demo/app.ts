/**
 * The example application: an outbox, an HTTP client of the mail service, and the endpoint its reports come to. This
 * is the whole pattern a real client needs: write the row, submit, mark it, and let the report close it.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Mail } from './messages.js'
import { type Outbox, openOutbox, type ReportEntry } from './outbox.js'

export interface ExampleApp {
  /** What the tenant's client_base_url is set to. */
  readonly url: string
  /** What the tenant's client_auth is set to, so that nobody else can report. */
  readonly reportToken: string
  readonly outbox: Outbox
  /** From here on it knows its mail service. */
  connect(service: { readonly url: string; readonly apiKey: string }): void
  /** Writes the mails into the outbox and submits them; answers how many the service took and why it refused any. */
  send(mails: readonly Mail[], signal: AbortSignal): Promise<Submission>
  close(): Promise<void>
}

export interface Submission {
  readonly queued: number
  readonly rejected: readonly { readonly id: string; readonly reason: string }[]
}

const SYNC_PATH = '/mail-proxy/sync'
const ATTACHMENT_PATH = '/mail-proxy/attachments'
/** Messages a request. */
const BATCH = 100
const TRIES = 5
const MAX_REPORT_BYTES = 10 * 1024 * 1024

/** `files`: what it hands out, by name, at `/files/<name>` and at the endpoint for attachments. */
export async function startApp(databasePath: string, files: ReadonlyMap<string, Buffer>): Promise<ExampleApp> {
  const outbox = await openOutbox(databasePath)
  const reportToken = randomBytes(24).toString('base64url')
  let service = { url: '', apiKey: '' }

  const server = createServer((request, response) => {
    if (request.url === ATTACHMENT_PATH || request.url?.startsWith('/files/') === true) {
      void handOut(request, response, files, reportToken)
      return
    }
    takeReport(request, outbox, reportToken).then(
      ({ status, body }) => answer(response, status, body),
      // Not acknowledged: the service keeps the report and comes again.
      () => answer(response, 500, { ok: false }),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    reportToken,
    outbox,
    connect(to) {
      service = to
    },
    async send(mails, signal) {
      outbox.write(mails)
      const submission = await submitWaiting(signal)
      await post('/commands/run-now', {}, signal)
      return submission
    },
    async close() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
      outbox.close()
    },
  }

  async function submitWaiting(signal: AbortSignal): Promise<Submission> {
    const rejected: { id: string; reason: string }[] = []
    let queued = 0
    for (;;) {
      const mails = outbox.unsubmitted(BATCH)
      if (mails.length === 0) return { queued, rejected }
      const taken = (await post('/commands/add-messages', { messages: mails }, signal)) as SubmissionAnswer
      queued += taken.queued
      const refused = taken.rejected.filter(each => each.code !== 'already_sent')
      for (const { id, reason } of refused) outbox.markRejected(id, reason)
      rejected.push(...refused)
      const refusedIds = new Set(refused.map(each => each.id))
      outbox.markProxied(mails.map(mail => mail.id).filter(id => !refusedIds.has(id)))
    }
  }

  /** Tries again when the service is away or busy: ids make a repeated submission harmless. */
  async function post(path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    for (let tries = 1; ; tries++) {
      let trouble: string
      try {
        const response = await fetch(`${service.url}${path}`, {
          method: 'POST',
          headers: { 'X-API-Token': service.apiKey, 'Content-Type': 'application/json' },
          body: JSON.stringify(body),
          signal,
        })
        const told = (await response.json()) as { ok?: boolean; error?: string; rejected?: unknown }
        // A submission of which nothing was taken is a 400 that says why, message by message.
        if (response.ok || Array.isArray(told.rejected)) return told
        trouble = `${response.status} ${told.error ?? ''}`
        if (response.status !== 429 && response.status < 500) tries = TRIES
      } catch (error) {
        if (signal.aborted) throw signal.reason
        trouble = (error as Error).message
      }
      if (tries >= TRIES) throw new Error(`POST ${path}: ${trouble}`)
      await sleep(100 * 2 ** tries, undefined, { signal })
    }
  }
}

interface SubmissionAnswer {
  readonly queued: number
  readonly rejected: readonly { readonly id: string; readonly reason: string; readonly code: string }[]
}

async function takeReport(request: IncomingMessage, outbox: Outbox, token: string) {
  if (request.method !== 'POST' || request.url !== SYNC_PATH) return { status: 404, body: { ok: false } }
  if (!isSame(request.headers.authorization ?? '', `Bearer ${token}`)) return { status: 401, body: { ok: false } }
  const { delivery_report: entries = [] } = JSON.parse(await read(request)) as { delivery_report?: ReportEntry[] }
  // Recorded first, acknowledged after: this order is what makes the report safe.
  const unknown = outbox.record(entries)
  return { status: 200, body: { ok: true, not_found: unknown } }
}

/** A file by its URL, or by POST with the storage_path that the message named; only to who has the token. */
async function handOut(
  request: IncomingMessage,
  response: ServerResponse,
  files: ReadonlyMap<string, Buffer>,
  token: string,
): Promise<void> {
  if (!isSame(request.headers.authorization ?? '', `Bearer ${token}`)) return answer(response, 401, { ok: false })
  const named = request.method === 'POST' ? (JSON.parse(await read(request)) as { storage_path: string }) : null
  const file = files.get(named?.storage_path ?? (request.url ?? '').slice('/files/'.length))
  if (file === undefined) return answer(response, 404, { ok: false })
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': file.length }).end(file)
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_REPORT_BYTES) throw new Error('too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
}

function isSame(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
