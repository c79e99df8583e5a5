/**
 * A scriptable HTTP server on a free port of 127.0.0.1: records every request and answers as a function says. Real
 * sockets, so that hangs, resets and endless bodies are what the service would meet.
 */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface SinkRequest {
  readonly method: string
  /** Path and query. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** The parsed body; undefined when it is no JSON. */
  readonly json: unknown
}

export interface SinkAnswer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** A string or bytes as they are, anything else as JSON; undefined: no body. */
  readonly body?: unknown
  /** Waits for this before answering. */
  readonly after?: Promise<unknown>
  readonly delayMs?: number
  /** Never answers (`headers`), or sends the head and never ends the body (`body`). */
  readonly hang?: 'headers' | 'body'
  /** Resets the connection without an answer. */
  readonly close?: boolean
}

export interface HttpSink {
  readonly url: string
  readonly port: number
  readonly requests: readonly SinkRequest[]
  /** Connections accepted so far, also those that sent nothing. */
  connections(): number
  /** Replaces how requests are answered. */
  answer(with_: (request: SinkRequest, index: number) => SinkAnswer | Promise<SinkAnswer>): void
  /** Resolves with the requests once there are `count`; rejects after 30 s. */
  waitFor(count: number): Promise<readonly SinkRequest[]>
  close(): Promise<void>
}

const WAIT_MS = 30_000

export const accept: SinkAnswer = { body: { ok: true } }

export async function startHttpSink(
  answer: (request: SinkRequest, index: number) => SinkAnswer | Promise<SinkAnswer> = () => accept,
): Promise<HttpSink> {
  const requests: SinkRequest[] = []
  const waiting = new Set<() => void>()
  let connections = 0
  const server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = []
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer)
    } catch {
      return
    }
    const body = Buffer.concat(chunks).toString('utf8')
    const request: SinkRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: incoming.headers,
      body,
      json: parse(body),
    }
    const index = requests.push(request) - 1
    for (const look of waiting) look()
    await send(await answer(request, index), outgoing)
  })
  server.on('connection', () => {
    connections += 1
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo

  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    connections: () => connections,
    answer(with_) {
      answer = with_
    },
    waitFor(count) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look)
          reject(new Error(`${requests.length} of ${count} requests arrived within ${WAIT_MS} ms`))
        }, WAIT_MS)
        const look = () => {
          if (requests.length < count) return
          clearTimeout(timer)
          waiting.delete(look)
          resolve(requests)
        }
        waiting.add(look)
        look()
      })
    },
    close() {
      server.closeAllConnections()
      return new Promise(done => server.close(() => done()))
    },
  }
}

async function send(answer: SinkAnswer, outgoing: ServerResponse): Promise<void> {
  await answer.after
  if (answer.delayMs !== undefined) await new Promise(done => setTimeout(done, answer.delayMs))
  if (answer.close === true) return void outgoing.destroy()
  if (answer.hang === 'headers') return
  const { body } = answer
  const text = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
  outgoing.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers })
  outgoing.on('error', () => {})
  if (answer.hang === 'body') outgoing.write(text ?? '{')
  else outgoing.end(text)
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
