/** A span for each request of the API, from its head to the end of its answer; what it submits carries the span's place. */
import type { FastifyRequest } from 'fastify'
import type { RequestSpan, TraceContext, Tracer } from '../tracing/tracer.js'
import type { App } from './app.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** null: there are no traces, or none of this request. */
    span: RequestSpan | null
  }
}

/** Before authentication, so that refusals show. Probes, scrapes and downloads (public routes) have no spans. */
export function traceRequests(app: App, tracer: Tracer): void {
  app.decorateRequest('span', null)
  if (!tracer.isOn) return
  app.addHook('onRequest', (request, { raw }, done) => {
    const { url: route, config } = request.routeOptions
    if (route !== undefined && config.access !== 'public' && !request.is404) {
      const span = tracer.request({ method: request.method, route, parent: oneHeader(request) })
      request.span = span
      // Also of an answer that its client did not wait for, of which onResponse is not told.
      raw.once('close', () => span.end(raw.writableFinished ? raw.statusCode : null))
    }
    done()
  })
}

export function contextOf({ span }: FastifyRequest): TraceContext | null {
  return span?.context ?? null
}

/** Sent twice it means nothing. */
function oneHeader({ headers: { traceparent } }: FastifyRequest): string | undefined {
  return typeof traceparent === 'string' ? traceparent : undefined
}
