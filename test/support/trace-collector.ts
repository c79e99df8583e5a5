/** An OpenTelemetry collector on a free port of 127.0.0.1 that keeps what it is told by OTLP over HTTP. */
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface CollectedSpan {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
  readonly kind: number
  readonly startMs: number
  readonly endMs: number
  readonly attributes: Readonly<Record<string, unknown>>
  /** Trace ids that it links to. */
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
  readonly isError: boolean
  readonly resource: Readonly<Record<string, unknown>>
}

export interface Export {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface TraceCollector {
  readonly url: string
  readonly exports: readonly Export[]
  /** All spans that came as JSON. */
  spans(): CollectedSpan[]
  /** Answers with this status from now on. */
  answer(status: number): void
  close(): Promise<void>
}

export async function startTraceCollector(): Promise<TraceCollector> {
  const exports: Export[] = []
  let status = 200
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    exports.push({ path: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks) })
    response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    exports,
    spans: () => exports.filter(each => each.headers['content-type'] === 'application/json').flatMap(spansOf),
    answer(with_) {
      status = with_
    },
    async close() {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    },
  }
}

function spansOf({ body }: Export): CollectedSpan[] {
  const { resourceSpans } = JSON.parse(body.toString()) as { resourceSpans: any[] }
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope: any) =>
      scope.spans.map((span: any) => ({
        name: span.name,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? '',
        kind: span.kind,
        startMs: Number(BigInt(span.startTimeUnixNano) / 1_000_000n),
        endMs: Number(BigInt(span.endTimeUnixNano) / 1_000_000n),
        attributes: attributesOf(span.attributes),
        links: (span.links ?? []).map(({ traceId, spanId }: any) => ({ traceId, spanId })),
        isError: span.status?.code === 2,
        resource: attributesOf(resource.attributes),
      })),
    ),
  )
}

function attributesOf(list: readonly { key: string; value: Record<string, any> }[] = []): Record<string, unknown> {
  return Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]]))
}
