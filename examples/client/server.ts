/**
 * The application's own HTTP: POST /send-test-email?count=&subject= places orders, GET /stats and GET /messages show the
 * outbox, POST /mail-proxy/sync takes the reports. On 127.0.0.1 only: but for the reports nobody has to log in.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ReceiveReports } from 'genro-mail-proxy/client'
import type { Posting } from './posting.js'
import type { Store } from './store.js'

export interface ServerDeps {
  readonly store: Store
  readonly posting: Posting
  readonly receive: ReceiveReports
  readonly mail: { readonly from: string; readonly to: string }
}

type Answer = { readonly status: number; readonly body: unknown }

const MOST_AT_ONCE = 1000
const MOST_BYTES = 10_000_000

export async function startServer(deps: ServerDeps, port: number): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    answerTo(request, deps).then(
      answer => send(response, answer),
      error => {
        process.stderr.write(`${request.method} ${request.url}: ${error.message}\n`)
        // For a report: not acknowledged, the proxy comes again.
        send(response, { status: 500, body: { ok: false } })
      },
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

async function answerTo(request: IncomingMessage, deps: ServerDeps): Promise<Answer> {
  const url = new URL(request.url ?? '/', 'http://localhost')
  switch (`${request.method} ${url.pathname}`) {
    case 'POST /mail-proxy/sync':
      return deps.receive({ headers: request.headers, body: await bodyOf(request) })
    case 'POST /send-test-email':
      return sendTestMail(url.searchParams, deps)
    case 'GET /stats':
      return { status: 200, body: { ok: true, ...deps.store.counts() } }
    case 'GET /messages':
      return { status: 200, body: { ok: true, messages: deps.store.newest(100) } }
    default:
      return {
        status: 404,
        body: { ok: false, error: 'There are POST /send-test-email, GET /stats and GET /messages' },
      }
  }
}

async function sendTestMail(query: URLSearchParams, { store, posting, mail }: ServerDeps): Promise<Answer> {
  const count = Number(query.get('count') ?? 1)
  if (!Number.isInteger(count) || count < 1 || count > MOST_AT_ONCE) {
    return { status: 400, body: { ok: false, error: `count should be 1 to ${MOST_AT_ONCE}` } }
  }
  const subject = query.get('subject') || 'Your order'
  const ids = store.placeOrders(count, { ...mail, subject, body: 'Thank you for your order.' })
  // From here on the mails are safe. That the proxy may be away is no reason to refuse an order.
  await posting.submit()
  return { status: 202, body: { ok: true, ids } }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MOST_BYTES) throw new Error('the body is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function send(response: ServerResponse, { status, body }: Answer): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
}
