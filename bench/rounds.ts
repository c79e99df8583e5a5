/** The rounds of a bench on one database. Each names what it does while it does it. */

import { measureAttachments } from './attachments.js'
import { type Running, startService, startSink, usage } from './child.js'
import { measureClaims } from './claims.js'
import { type Client, createClient, messages, quantile } from './client.js'
import type { Latency, Measured } from './report.js'

const BATCH = 100
const ACCOUNT = { id: 'main', tenant_id: 'default', host: '127.0.0.1', use_tls: false, max_connections: 20 }

export async function measure(
  dialect: 'sqlite' | 'postgres',
  /** Empty databases for the service, for the claims alone and for the attachments; null: SQLite. */
  { databaseUrl, claimsUrl, filesUrl }: Readonly<Record<'databaseUrl' | 'claimsUrl' | 'filesUrl', string | null>>,
  scale: number,
  say: (line: string) => void,
): Promise<Measured> {
  const attachments = await measureAttachments(filesUrl, scale, line => say(`${dialect}: ${line}`))
  const sink = await startSink()
  say(`${dialect}: claims`)
  const claims = await measureClaims(claimsUrl, [1_000, 100_000 * scale])
  const service = await startService(databaseUrl)
  const client = createClient(service.url, 20)
  const told = (line: string) => say(`${dialect}: ${line}`)
  try {
    await client.post('/account', { ...ACCOUNT, port: sink.port })
    told('idle')
    const idleCpu = await idle(service)
    told('run-now')
    const runNow = await latencies(200, 20, () => client.post('/commands/run-now', {}))
    await client.post('/commands/suspend', {})
    told('single POSTs, 200 a second, nothing being sent')
    const single = await latencies(Math.max(400, 2_000 * scale), 200, () =>
      client.post('/commands/add-messages', { messages: messages(1) }),
    )
    told('batches of 100')
    const accept = await acceptBatches(client, 20_000 * scale)
    const shortQueueMb = usage(service.pid).rssMb
    await acceptBatches(client, 80_000 * scale)
    const longQueueMb = usage(service.pid).rssMb
    told(`end to end of what is queued`)
    const drained = await drain(client, service)
    told('end to end, submitting while sending')
    const endToEnd = await throughput(client, service, 20_000 * scale)
    told('single POSTs, 200 a second, while sending')
    const busy = await whileSending(client, () =>
      latencies(Math.max(400, 2_000 * scale), 200, () =>
        client.post('/commands/add-messages', { messages: messages(1) }),
      ),
    )
    told('the same again, after all that was sent')
    const later = await throughput(client, service, 20_000 * scale)
    return {
      dialect,
      sink: sink.name,
      claims,
      idleCpu,
      runNow,
      single,
      busy,
      accept,
      shortQueueMb,
      longQueueMb,
      drained,
      endToEnd,
      later,
      attachments,
    }
  } finally {
    await client.close()
    await service.stop()
    await sink.stop()
  }
}

async function idle(service: Running): Promise<number> {
  // V8 tidies up for a while after the start.
  await pause(40_000)
  const before = usage(service.pid)
  await pause(20_000)
  return ((usage(service.pid).cpuSeconds - before.cpuSeconds) / 20) * 100
}

/** Open loop: one call every 1/rate seconds whatever the answers take, so that waiting is not hidden. */
async function latencies(count: number, rate: number, call: () => Promise<number>): Promise<Latency> {
  const times: Promise<number>[] = []
  const start = performance.now()
  for (let i = 0; i < count; i += 1) {
    const due = start + (i * 1000) / rate
    const wait = due - performance.now()
    if (wait > 0) await pause(wait)
    times.push(call())
  }
  const values = await Promise.all(times)
  return { p50: quantile(values, 0.5), p95: quantile(values, 0.95), p99: quantile(values, 0.99), count: values.length }
}

async function acceptBatches(client: Client, count: number) {
  const bodies = Array.from({ length: Math.ceil(count / BATCH) }, () => ({ messages: messages(BATCH) }))
  const times: number[] = []
  const start = performance.now()
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let body = bodies.pop(); body !== undefined; body = bodies.pop())
        times.push(await client.post('/commands/add-messages', body))
    }),
  )
  const perSecond = count / ((performance.now() - start) / 1000)
  const latency = {
    p50: quantile(times, 0.5),
    p95: quantile(times, 0.95),
    p99: quantile(times, 0.99),
    count: times.length,
  }
  return { perSecond, latency }
}

async function drain(client: Client, service: Running) {
  const pending = await waiting(client)
  const start = performance.now()
  await client.post('/commands/activate', {})
  const rssMb = await untilEmpty(client, service)
  return { perSecond: pending / ((performance.now() - start) / 1000), count: pending, rssMb }
}

async function throughput(client: Client, service: Running, count: number) {
  const start = performance.now()
  await acceptBatches(client, count)
  const rssMb = await untilEmpty(client, service)
  return { perSecond: count / ((performance.now() - start) / 1000), count, rssMb }
}

async function whileSending<T>(client: Client, work: () => Promise<T>): Promise<T> {
  const bodies = Array.from({ length: 150 }, () => ({ messages: messages(BATCH, { priority: 3 }) }))
  for (const body of bodies) await client.post('/commands/add-messages', body)
  const result = await work()
  while ((await waiting(client)) > 0) await pause(50)
  return result
}

async function untilEmpty(client: Client, service: Running): Promise<number> {
  let most = 0
  for (;;) {
    most = Math.max(most, usage(service.pid).rssMb)
    if ((await waiting(client)) === 0) return most
    await pause(50)
  }
}

async function waiting(client: Client): Promise<number> {
  // The counter behind /status is cached for a second; one account's probe of the queue is not.
  const { messages: open } = (await client.get('/messages?tenant_id=default&active_only=true&limit=1')) as {
    messages: unknown[]
  }
  if (open.length === 0) return 0
  return Number((await client.get('/status')).pending_messages)
}

function pause(ms: number): Promise<void> {
  return new Promise(done => setTimeout(done, ms))
}
