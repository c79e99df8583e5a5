/** OpenTelemetry, for real: the service as a process, and a collector on a socket. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { opened } from '../support/scene.js'
import { deadPort } from '../support/story.js'
import { startTraceCollector, type TraceCollector } from '../support/trace-collector.js'
import { openWorld, TOKEN, until, type World } from '../support/world.js'

// Each test starts a process or two, which a busy machine takes its time for.
vi.setConfig({ testTimeout: 120_000 })

const SECRETS = /example\.|Subject of|Body of|admin-token|secret-of/
const CLIENT_TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const CLIENT_SPAN = '00f067aa0ba902b7'

const tracing = (collector: Pick<TraceCollector, 'url'>) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
  OTEL_BSP_SCHEDULE_DELAY: '100',
})

async function setUp(dialect: 'sqlite' | 'postgres', env: Record<string, string> = {}) {
  const collector = await opened(startTraceCollector(), each => each.close())
  const world = await opened(
    openWorld(dialect, {
      // Processes start slowly on a busy machine; a lease lost meanwhile would break an attempt off and begin another.
      env: { GMP_LEASE_SECONDS: '30', ...env },
      sink: {
        behave: {
          rcpt: ({ address }) => (address.startsWith('nobody') ? '550 5.1.1 <nobody@example.net> unknown' : null),
        },
      },
    }),
    each => each.close(),
  )
  return { collector, world }
}

/** Submits as a client that takes part in a trace. */
async function submit(world: World, traceparent: string | null, ...messages: Record<string, unknown>[]): Promise<any> {
  const response = await fetch(`${world.process.url}/commands/add-messages`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${TOKEN}`,
      ...(traceparent === null ? {} : { traceparent }),
    },
    body: JSON.stringify({
      messages: messages.map(message => ({
        tenant_id: 'default',
        account_id: 'main',
        from: 'sender@example.com',
        to: 'one@example.net',
        subject: 'Subject of it',
        body: 'Body of it',
        ...message,
      })),
    }),
  })
  return response.json()
}

async function stop(world: World): Promise<void> {
  world.process.kill('SIGTERM')
  expect(await world.process.exited).toBe(0)
}

describe.each(['sqlite', 'postgres'] as const)('traces on %s', dialect => {
  it('request, queue, SMTP and report stand in the client’s trace, through a restart in between', async () => {
    const { collector, world } = await setUp(dialect, { GMP_SCHEDULER_ACTIVE: 'false' })
    await world.start(tracing(collector))
    await world.account()
    const answer = await submit(world, `00-${CLIENT_TRACE}-${CLIENT_SPAN}-01`, { id: 'm1' })
    expect(answer).toMatchObject({ ok: true, queued: 1 })
    await stop(world)
    const before = collector.spans().filter(({ traceId }) => traceId === CLIENT_TRACE)
    expect(before.map(({ name }) => name)).toEqual(['POST /commands/add-messages'])

    await world.start(tracing(collector))
    await world.call('POST', '/commands/activate', {})
    const called = await until('the report', () =>
      world.ledger.reports.requests.find(({ body }) => body.includes('sent_ts')),
    )
    await stop(world)

    const spans = collector.spans().filter(({ traceId }) => traceId === CLIENT_TRACE)
    const names = ['POST /commands/add-messages', 'queue', 'smtp', 'POST report']
    expect(spans.map(({ name }) => name).sort()).toEqual([...names].sort())
    const [request, queue, smtp, report] = names.map(name => spans.find(each => each.name === name)!)
    expect([request, queue, smtp, report].map(each => each!.parentSpanId)).toEqual([
      CLIENT_SPAN,
      request!.spanId,
      queue!.spanId,
      smtp!.spanId,
    ])
    expect(called.headers.traceparent).toBe(`00-${CLIENT_TRACE}-${report!.spanId}-01`)
    // Server, consumer, client, client, as OTLP numbers them.
    expect([request, queue, smtp, report].map(each => each!.kind)).toEqual([2, 5, 3, 3])
    expect(spans.filter(({ isError }) => isError)).toEqual([])

    expect(request!.attributes).toEqual({
      'http.request.method': 'POST',
      'http.route': '/commands/add-messages',
      'http.response.status_code': 200,
    })
    expect(queue!.attributes).toMatchObject({ 'messaging.message.id': 'm1', 'gmp.account_id': 'main' })
    // The wait through the restart is what the span of the queue tells.
    expect(queue!.startMs).toBeLessThan(request!.endMs + 1)
    expect(Math.abs(queue!.endMs - smtp!.startMs)).toBeLessThanOrEqual(1)
    expect(smtp!.attributes).toMatchObject({
      'gmp.tenant_id': 'default',
      'gmp.account_id': 'main',
      'server.address': '127.0.0.1',
      'server.port': world.sink.port,
      'network.protocol.name': 'smtp',
      'gmp.attempt': 1,
      'gmp.smtp.reply_code': '250',
      'gmp.recipients.accepted': 1,
    })
    expect(report!.attributes).toMatchObject({
      'gmp.tenant_id': 'default',
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      'messaging.batch.message_count': 1,
    })
    expect(spans[0]!.resource).toMatchObject({ 'service.name': 'genro-mail-proxy', 'service.version': '1.0.0' })
    for (const { body } of collector.exports) expect(body.toString()).not.toMatch(SECRETS)
  })

  it('a report about several traces stands in the first, and each other one has a span that leads to it', async () => {
    const { collector, world } = await setUp(dialect)
    world.ledger.reports.answer(() => ({ status: 503 }))
    await world.start(tracing(collector))
    await world.account()
    const traces = ['a', 'b', 'c'].map(letter => letter.repeat(32))
    for (const [i, trace] of traces.entries()) {
      await submit(world, `00-${trace}-${CLIENT_SPAN}-01`, {
        id: `m${i}`,
        to: i === 1 ? 'nobody@example.net' : 'one@example.net',
      })
    }
    // All three are owed before anybody listens.
    await until('all ended', async () => {
      const { body } = await world.call('GET', '/messages?tenant_id=default')
      return body.messages.filter((each: any) => ['sent', 'error'].includes(each.status)).length === 3
    })
    world.ledger.reports.answer(() => ({ body: { ok: true } }))
    await world.call('POST', '/commands/run-now', {})
    await until('acknowledged', async () => {
      const { body } = await world.call('GET', '/messages?tenant_id=default')
      return body.messages.every((each: any) => each.reported_ts !== undefined && each.reported_ts !== null)
    })
    await stop(world)

    const spans = collector.spans()
    for (const trace of traces) {
      const mine = spans.filter(({ traceId }) => traceId === trace)
      const told = mine.filter(({ name, isError }) => /report$/.test(name) && !isError)
      expect(told).toHaveLength(1)
      expect(told[0]!.parentSpanId).toBe(mine.find(({ name }) => name === 'smtp')!.spanId)
      if (told[0]!.name === 'report') {
        expect(spans.find(({ spanId }) => spanId === told[0]!.links[0]!.spanId)?.name).toBe('POST report')
      }
    }
    // A refusal shows, by its code and without the words, in which the address stands.
    const refused = spans.find(({ name, traceId }) => name === 'smtp' && traceId === traces[1])!
    expect(refused).toMatchObject({ isError: true, attributes: { 'error.type': '550', 'gmp.recipients.refused': 1 } })
    for (const { body } of collector.exports) expect(body.toString()).not.toMatch(SECRETS)
  })

  it('what ends without an attempt is reported in the trace that brought it', async () => {
    const { collector, world } = await setUp(dialect, { GMP_SCHEDULER_ACTIVE: 'false' })
    await world.start(tracing(collector))
    await world.account()
    await submit(world, `00-${CLIENT_TRACE}-${CLIENT_SPAN}-01`, { id: 'm1' })
    await world.call('POST', '/messages/m1/cancel?tenant_id=default', {})
    await until('the report', () => world.ledger.reports.requests.find(({ body }) => body.includes('cancelled')))
    await stop(world)
    const spans = collector.spans().filter(({ traceId }) => traceId === CLIENT_TRACE)
    const request = spans.find(({ name }) => name === 'POST /commands/add-messages')!
    expect(spans.find(({ name }) => name === 'POST report')?.parentSpanId).toBe(request.spanId)
  })
})

describe('traces', () => {
  it('by default go as protobuf, under the name and with the sampler that OTEL_* give', async () => {
    const { collector, world } = await setUp('sqlite')
    const { OTEL_EXPORTER_OTLP_PROTOCOL, ...rest } = tracing(collector)
    expect(OTEL_EXPORTER_OTLP_PROTOCOL).toBe('http/json')
    await world.start({
      ...rest,
      OTEL_SERVICE_NAME: 'our-mail',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-key=secret-of-the-collector',
      OTEL_TRACES_SAMPLER: 'parentbased_always_off',
    })
    await world.account()
    await submit(world, `00-${CLIENT_TRACE}-${CLIENT_SPAN}-01`, { id: 'sampled' })
    await submit(world, null, { id: 'unsampled' })
    await until(
      'both reports',
      () => world.ledger.reports.requests.filter(({ body }) => body.includes('sent_ts')).length > 0,
    )
    await world.drained()
    await stop(world)
    const bodies = Buffer.concat(collector.exports.map(({ body }) => body))
    expect(collector.exports.map(({ path }) => path)).toContain('/v1/traces')
    expect(collector.exports[0]!.headers).toMatchObject({
      'content-type': 'application/x-protobuf',
      'x-key': 'secret-of-the-collector',
    })
    expect(bodies.includes(Buffer.from(CLIENT_TRACE, 'hex'))).toBe(true)
    for (const text of ['our-mail', 'smtp', 'POST report', 'sampled']) expect(bodies.includes(text)).toBe(true)
    expect(bodies.includes('unsampled')).toBe(false)
    expect(world.process.output()).not.toContain('secret-of')
  })

  it('a header that is no traceparent begins a trace of its own, and a refused request has a span', async () => {
    const { collector, world } = await setUp('sqlite')
    await world.start(tracing(collector))
    await world.account()
    const bad = ['x'.repeat(5_000), `00-${'0'.repeat(32)}-${CLIENT_SPAN}-01`, `ff-${CLIENT_TRACE}-${CLIENT_SPAN}-01`]
    for (const [i, header] of [...bad, `00-${CLIENT_TRACE}-${CLIENT_SPAN}-01-x`].entries()) {
      expect(await submit(world, header, { id: `m${i}` })).toMatchObject({ queued: 1 })
    }
    await fetch(`${world.process.url}/messages`, { headers: { authorization: 'Bearer wrong' } })
    await fetch(`${world.process.url}/health`)
    await stop(world)
    const requests = collector.spans().filter(({ kind }) => kind === 2)
    const submitted = requests.filter(({ name }) => name === 'POST /commands/add-messages')
    expect(submitted).toHaveLength(4)
    expect(submitted.filter(({ parentSpanId }) => parentSpanId !== '')).toEqual([])
    expect(new Set(submitted.map(({ traceId }) => traceId)).size).toBe(4)
    const refused = requests.find(({ name }) => name === 'GET /messages')
    expect(refused).toMatchObject({ isError: false, attributes: { 'http.response.status_code': 401 } })
    expect(requests.filter(({ name }) => name.includes('health'))).toEqual([])
  })

  it('a collector that is away holds up neither mail nor stop, and one line tells of it', async () => {
    const { world } = await setUp('sqlite')
    await world.start({
      ...tracing({ url: `http://127.0.0.1:${await deadPort()}` }),
      OTEL_EXPORTER_OTLP_TIMEOUT: '500',
    })
    await world.account()
    await world.submit(['m1', 'm2'])
    await world.drained()
    await until('the line', () => world.process.output().includes('Traces: '))
    const from = performance.now()
    await stop(world)
    expect(performance.now() - from).toBeLessThan(15_000)
    expect(world.process.output().match(/WARNING +Traces: /g)).toHaveLength(1)
  })

  it.each([
    ['off', {}, false],
    ['disabled', { OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }, false],
    ['on', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_EXPORTER_OTLP_TIMEOUT: '100' }, true],
  ] as const)('%s: OpenTelemetry is loaded only when it is wanted', async (_, env, isLoaded) => {
    const { world } = await setUp('sqlite')
    const coverage = mkdtempSync(join(tmpdir(), 'gmp-loaded-'))
    onTestFinished(() => rmSync(coverage, { recursive: true, force: true }))
    // V8 lists in it every script that the process has loaded.
    await world.start({ ...env, NODE_V8_COVERAGE: coverage })
    await world.account()
    await world.submit(['m1'])
    await world.drained()
    await stop(world)
    const scripts = readdirSync(coverage).flatMap(file =>
      (JSON.parse(readFileSync(join(coverage, file), 'utf8')).result as { url: string }[]).map(({ url }) => url),
    )
    expect(scripts.some(url => url.includes('/prom-client/'))).toBe(true)
    const loaded = scripts.flatMap(url => /@opentelemetry\/([\w-]+)\//.exec(url)?.[1] ?? [])
    // prom-client itself loads the bare API, for its own exemplars.
    const beyond = [...new Set(loaded)].filter(name => name !== 'api')
    expect(beyond.length > 0).toBe(isLoaded)
    expect(scripts.some(url => url.endsWith('/tracing/otel.js'))).toBe(isLoaded)
    if (isLoaded) expect(beyond).toContain('exporter-trace-otlp-proto')
  })
})
