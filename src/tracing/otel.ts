/**
 * The Tracer over OpenTelemetry's SDK, exported by OTLP over HTTP. Loaded by open.ts alone, and only when somebody wants
 * traces. Names and attributes follow the semantic conventions where there are such, else they begin with `gmp.`.
 */
import { hostname } from 'node:os'
import {
  type Attributes,
  type Context,
  DiagLogLevel,
  diag,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import type { Log } from '../lib/log.js'
import { VERSION } from '../lib/version.js'
import type { Outcome } from '../queue/outcome.js'
import type { TraceContext, Tracer } from './tracer.js'

const SYSTEM = 'genro-mail-proxy'
/** How long a stop waits for the collector, ms. */
const CLOSE_MS = 2_000
/** A collector that is away for hours is worth a line now and then. */
const COMPLAIN_EVERY_MS = 600_000

export async function createOtelTracer(protocol: 'http/protobuf' | 'http/json', log: Log): Promise<Tracer> {
  const { OTLPTraceExporter } =
    protocol === 'http/json'
      ? await import('@opentelemetry/exporter-trace-otlp-http')
      : await import('@opentelemetry/exporter-trace-otlp-proto')
  complainTo(log)
  const own = resourceFromAttributes({
    'service.name': SYSTEM,
    'service.version': VERSION,
    'service.instance.id': `${hostname()}:${process.pid}`,
  })
  const provider = new BasicTracerProvider({
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word.
    resource: defaultResource()
      .merge(own)
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  })
  const tracer = provider.getTracer(SYSTEM, VERSION)

  return {
    isOn: true,

    request({ method, route, parent }) {
      const span = tracer.startSpan(
        `${method} ${route}`,
        { kind: SpanKind.SERVER, attributes: { 'http.request.method': method, 'http.route': route } },
        under(parent ?? null),
      )
      return {
        context: contextOf(span),
        end(status) {
          if (status !== null) span.setAttribute('http.response.status_code', status)
          else span.setAttribute('error.type', 'client_closed')
          // By the conventions a refusal is the client's error and no error of the server's span.
          if (status !== null && status >= 500) fail(span, String(status))
          span.end()
        },
      }
    },

    attempt(claimed, account, parent) {
      const { tenantId, accountId, id, priority, attempts, dueAt } = claimed
      const about: Attributes = {
        'messaging.system': SYSTEM,
        'messaging.message.id': id,
        'gmp.tenant_id': tenantId,
        'gmp.account_id': accountId,
      }
      const now = Date.now()
      const queued = tracer.startSpan(
        'queue',
        {
          kind: SpanKind.CONSUMER,
          // A Date: a number before the start of the process would count from there.
          startTime: new Date(Math.min(dueAt, now)),
          attributes: { ...about, 'messaging.operation.type': 'receive', 'gmp.priority': priority },
        },
        under(parent),
      )
      queued.end(new Date(now))
      const span = tracer.startSpan(
        'smtp',
        {
          kind: SpanKind.CLIENT,
          startTime: new Date(now),
          attributes: {
            ...about,
            'messaging.operation.type': 'send',
            'network.protocol.name': 'smtp',
            'server.address': account.host,
            'server.port': account.port,
            'gmp.attempt': attempts + 1,
          },
        },
        trace.setSpan(ROOT_CONTEXT, queued),
      )
      return {
        context: contextOf(span),
        end(outcome) {
          span.setAttributes(attributesOf(outcome))
          const { failure } = outcome
          const refusal = outcome.verdicts.find(({ verdict }) => verdict === 'refused' || verdict === 'transient')
          if (failure !== null) fail(span, failure.code ?? failure.scope)
          else if (refusal !== undefined) fail(span, refusal.code ?? refusal.verdict)
          span.end()
        },
      }
    },

    report({ tenantId, host, port, entries }, parents) {
      const about: Attributes = { 'gmp.tenant_id': tenantId, 'messaging.batch.message_count': entries }
      const known = [...new Set(parents)].flatMap(parent => read(parent) ?? [])
      const [first, ...others] = onePerTrace(known)
      // The call stands in the trace of its first entry. The others' traces get a span of their own that leads to it.
      const span = tracer.startSpan(
        'POST report',
        {
          kind: SpanKind.CLIENT,
          links: others.map((context): Link => ({ context })),
          attributes: {
            ...about,
            'http.request.method': 'POST',
            ...(host === null ? {} : { 'server.address': host }),
            ...(port === null ? {} : { 'server.port': port }),
          },
        },
        first === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, first),
      )
      const beside = others.map(context =>
        tracer.startSpan(
          'report',
          { kind: SpanKind.PRODUCER, links: [{ context: span.spanContext() }], attributes: about },
          trace.setSpanContext(ROOT_CONTEXT, context),
        ),
      )
      return {
        context: contextOf(span),
        end(status, failed) {
          if (status !== null) span.setAttribute('http.response.status_code', status)
          for (const each of [span, ...beside]) {
            if (failed) fail(each, status === null ? 'no_answer' : status > 299 ? String(status) : 'not_acknowledged')
            each.end()
          }
        },
      }
    },

    async close() {
      const timer = new AbortController()
      const late = new Promise<void>(done => {
        const timeout = setTimeout(done, CLOSE_MS)
        timer.signal.addEventListener('abort', () => clearTimeout(timeout))
      })
      await Promise.race([provider.shutdown().catch(() => {}), late])
      timer.abort()
    },
  }
}

function attributesOf({ verdicts, failure, attempt, inDoubt, interrupted, reachedData }: Outcome): Attributes {
  const count = (wanted: string) => verdicts.filter(({ verdict }) => verdict === wanted).length
  const codes = [attempt?.final?.code, failure?.code, ...verdicts.map(each => each.code)]
  // Codes of our own, as of an attachment that could not be had, are the error's type and no reply.
  const code = codes.find(each => each != null && /^\d{3}$/.test(each))
  const enhanced = attempt?.final?.enhanced
  return {
    'gmp.recipients.accepted': count('accepted'),
    'gmp.recipients.refused': count('refused'),
    'gmp.recipients.open': count('transient') + count('open'),
    'gmp.smtp.reached_data': reachedData,
    // Codes alone: a server's words may quote addresses.
    ...(code == null ? {} : { 'gmp.smtp.reply_code': code }),
    ...(enhanced == null ? {} : { 'gmp.smtp.enhanced_code': enhanced }),
    ...(inDoubt ? { 'gmp.in_doubt': true } : {}),
    ...(interrupted ? { 'gmp.interrupted': true } : {}),
  }
}

function fail(span: Span, type: string): void {
  span.setAttribute('error.type', type)
  span.setStatus({ code: SpanStatusCode.ERROR })
}

/** Of entries that share a trace the first. */
function onePerTrace(contexts: readonly SpanContext[]): SpanContext[] {
  return [...new Map([...contexts].reverse().map(each => [each.traceId, each])).values()].reverse()
}

function under(parent: TraceContext | null): Context {
  const known = read(parent)
  return known === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, known)
}

/** W3C Trace Context, section 3.2. Versions after 00 may append to what is read here. */
const TRACEPARENT = /^(?!ff|00-.{52}-)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/

/** null: it is none. tracestate is not carried along: nothing here reads it, and it may be dropped. */
function read(parent: TraceContext | null): SpanContext | null {
  const found = parent === null ? null : TRACEPARENT.exec(parent)
  if (found === null) return null
  const [, traceId = '', spanId = '', flags = ''] = found
  const context = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true }
  return isSpanContextValid(context) ? context : null
}

/** Also of a span that is not sampled, so that what follows is not sampled either. */
function contextOf(span: Span): TraceContext {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return `00-${traceId}-${spanId}-0${traceFlags & 1}`
}

/** What the SDK says of itself: that the collector cannot be reached, or that a variable makes no sense. */
function complainTo(log: Log): void {
  let quietUntil = 0
  const complain = (text: string) => {
    const now = Date.now()
    if (now < quietUntil) return
    quietUntil = now + COMPLAIN_EVERY_MS
    log.warning(`Traces: ${saying(text)}`)
  }
  const silent = () => {}
  diag.setLogger(
    { error: complain, warn: complain, info: silent, debug: silent, verbose: silent },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  )
}

/** The SDK turns an error into JSON with a stack; its message is enough. */
function saying(text: string): string {
  try {
    const { message, name, code } = JSON.parse(text) as { message?: string; name?: string; code?: string | number }
    return `${message || name || 'export failed'}${code === undefined ? '' : ` (${code})`}`.slice(0, 200)
  } catch {
    return text.slice(0, 200)
  }
}
