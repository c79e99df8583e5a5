/**
 * The example application: an outbox, an HTTP client of the mail service, and the endpoint its reports come to. This
 * is the whole pattern a real client needs: write the row, submit, mark it, and let the report close it.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createClient, createReportReceiver, type MailProxyClient } from 'genro-mail-proxy/client'
import type { Mail } from './messages.js'
import { type Outbox, openOutbox } from './outbox.js'

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
const MAX_REPORT_BYTES = 10 * 1024 * 1024

/** `files`: what it hands out, by name, at `/files/<name>` and at the endpoint for attachments. */
export async function startApp(databasePath: string, files: ReadonlyMap<string, Buffer>): Promise<ExampleApp> {
  const outbox = await openOutbox(databasePath)
  const reportToken = randomBytes(24).toString('base64url')
  let client: MailProxyClient | null = null
  const receive = createReportReceiver({
    auth: { method: 'bearer', token: reportToken },
    // Recorded first, acknowledged after: this order is what makes the report safe.
    record: entries => ({ not_found: outbox.record(entries) }),
  })

  const server = createServer((request, response) => {
    if (request.url === ATTACHMENT_PATH || request.url?.startsWith('/files/') === true) {
      void handOut(request, response, files, reportToken)
      return
    }
    if (request.method !== 'POST' || request.url !== SYNC_PATH) return answer(response, 404, { ok: false })
    read(request)
      .then(body => receive({ headers: request.headers, body }))
      .then(
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
    connect({ url, apiKey }) {
      client = createClient({ url, token: apiKey })
    },
    async send(mails, signal) {
      if (client === null) throw new Error('it knows no service yet')
      outbox.write(mails)
      const submission = await submitWaiting(client, signal)
      await client.runNow({ signal })
      return submission
    },
    async close() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
      outbox.close()
    },
  }

  async function submitWaiting(service: MailProxyClient, signal: AbortSignal): Promise<Submission> {
    const rejected: { id: string; reason: string }[] = []
    let queued = 0
    for (;;) {
      const mails = outbox.unsubmitted(BATCH)
      if (mails.length === 0) return { queued, rejected }
      const taken = await service.addMessages(mails, { signal })
      queued += taken.queued
      const refused = new Map<string, string>()
      for (const { index, code, reason } of taken.rejected) {
        if (code !== 'already_sent') refused.set(mails[index]!.id, reason)
      }
      for (const [id, reason] of refused) {
        outbox.markRejected(id, reason)
        rejected.push({ id, reason })
      }
      outbox.markProxied(mails.map(mail => mail.id).filter(id => !refused.has(id)))
    }
  }
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
