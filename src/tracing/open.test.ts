import { describe, expect, it } from 'vitest'
import { silentLog } from '../../test/support/silent-log.js'
import { openTracer, wantedBy } from './open.js'
import { NO_TRACING, traceIdOf } from './tracer.js'

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }

describe('whether there are traces', () => {
  it.each([
    ['nothing set', {}],
    ['variables that are empty', { OTEL_EXPORTER_OTLP_ENDPOINT: ' ', OTEL_TRACES_EXPORTER: '' }],
    ['only a name', { OTEL_SERVICE_NAME: 'mail', OTEL_RESOURCE_ATTRIBUTES: 'a=b' }],
    ['OTEL_TRACES_EXPORTER=none', { ...ENDPOINT, OTEL_TRACES_EXPORTER: 'none' }],
    ['OTEL_SDK_DISABLED', { ...ENDPOINT, OTEL_SDK_DISABLED: 'TRUE' }],
    ['the endpoint of metrics alone', { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://127.0.0.1:4318' }],
  ])('%s: none, without a word', (_, env) => {
    expect(wantedBy(env)).toEqual({ on: false })
  })

  it.each([
    ['an endpoint', ENDPOINT, 'http/protobuf'],
    [
      'the endpoint of traces',
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' },
      'http/protobuf',
    ],
    ['the exporter alone, at its own default', { OTEL_TRACES_EXPORTER: 'otlp' }, 'http/protobuf'],
    ['OTEL_SDK_DISABLED=false', { ...ENDPOINT, OTEL_SDK_DISABLED: 'false' }, 'http/protobuf'],
    ['JSON', { ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, 'http/json'],
    [
      'the protocol of traces before the general one',
      { ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json' },
      'http/json',
    ],
  ])('%s: there are', (_, env, protocol) => {
    expect(wantedBy(env)).toEqual({ on: true, protocol })
  })

  it.each([
    ['OTEL_TRACES_EXPORTER=zipkin', { ...ENDPOINT, OTEL_TRACES_EXPORTER: 'zipkin' }],
    ['the protocol grpc', { ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }],
  ])('%s: none, with a warning that names it, and the service starts', async (what, env) => {
    const warnings: string[] = []
    const tracer = await openTracer(env, { ...silentLog, warning: message => void warnings.push(message) })
    expect(tracer).toBe(NO_TRACING)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain(what)
  })
})

describe('without traces', () => {
  it('no span has a context, and none is asked for', async () => {
    expect(NO_TRACING.isOn).toBe(false)
    const spans = [
      NO_TRACING.request({ method: 'GET', route: '/', parent: 'x' }),
      NO_TRACING.report({ tenantId: 't', host: null, port: null, entries: 0 }, []),
    ]
    expect(spans.map(({ context }) => context)).toEqual([null, null])
    await expect(NO_TRACING.close()).resolves.toBeUndefined()
  })

  it('a message without context has no trace id', () => {
    expect(traceIdOf(null)).toBeUndefined()
    expect(traceIdOf(`00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`)).toBe('a'.repeat(32))
  })
})
