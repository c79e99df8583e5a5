/** A tenant's endpoint that hangs, trickles, floods, redirects or resets: its own reports wait, and no one else's. */
import { expect, it, onTestFinished } from 'vitest'
import { accept, type SinkAnswer } from '../support/http-sink.js'
import { type Link, type Script, startProxy, type TcpProxy } from '../support/proxy.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { opened } from '../support/scene.js'
import { startTestService } from '../support/service.js'
import { startSink } from '../support/smtp-sink.js'
import { tenant } from '../support/story.js'

interface Fault {
  /** What the log says of the call. */
  readonly cause: RegExp
  readonly answer?: SinkAnswer
  /** What is done in place of the answer; what it gives is passed on. */
  readonly meddle?: (link: Link, answer: Buffer) => string | Buffer | undefined
}

const TIMED_OUT = /no answer within 2 s/
const TEN_MB = 'x'.repeat(10 * 1024 * 1024)

const FAULTS: Readonly<Record<string, Fault>> = {
  'hang-before-the-head': { cause: TIMED_OUT, answer: { hang: 'headers' } },
  'hang-in-the-body': { cause: TIMED_OUT, answer: { hang: 'body' } },
  'half-open': { cause: TIMED_OUT, meddle: link => void link.freeze() },
  'an-octet-at-a-time': {
    cause: TIMED_OUT,
    meddle(link, answer) {
      link.slow(100, 1)
      return answer
    },
  },
  reset: { cause: /ECONNRESET/, meddle: link => void link.reset() },
  garbage: { cause: /HTTPParserError/, meddle: () => '\x16\x03\x01 this is no HTTP\r\n\r\n' },
  'endless-head': { cause: /HEADERS_OVERFLOW/, meddle: () => `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(500_000)}` },
  redirect: { cause: /HTTP 302/, answer: { status: 302, headers: { location: 'http://127.0.0.1:9/' } } },
  'status-500': { cause: /HTTP 500/, answer: { status: 500, body: { ok: true } } },
  '500-with-10-MB': { cause: /HTTP 500/, answer: { status: 500, body: TEN_MB } },
  '200-with-10-MB': { cause: /over 1000000 bytes/, answer: { body: `{"ok":true,"x":"${TEN_MB}"}` } },
  'no-JSON': { cause: /without a JSON object/, answer: { body: 'OK, got it' } },
}

it('a report endpoint that fails is left in time, acknowledges nothing, and is told all once it works', async () => {
  const warnings: string[] = []
  const hear = (warning: Error) => void warnings.push(warning.name)
  process.on('warning', hear)
  onTestFinished(() => void process.off('warning', hear))
  const service = await opened(startTestService({ env: { GMP_SYNC_TIMEOUT: '2' } }), it => it.stop())
  const sink = await opened(startSink(), it => it.close())
  const good = await opened(startReportClient(), it => it.close())
  await tenant(service, 'good', good)
  await service.account(sink, { id: 'good', tenant_id: 'good' })
  let isMended = false
  const clients = new Map<string, ReportClient>()
  const proxies = new Map<string, TcpProxy>()
  for (const [id, { answer = accept, meddle }] of Object.entries(FAULTS)) {
    const given = () => (isMended ? accept : answer)
    const client = await opened(startReportClient(given), it => it.close())
    const script = (): Script =>
      isMended || meddle === undefined
        ? {}
        : { fromServer: (chunk, link) => Buffer.from((meddle(link, chunk) ?? '') as string, 'latin1') }
    const proxy = await opened(startProxy(client, script), it => it.close())
    clients.set(id, client)
    proxies.set(id, proxy)
    await tenant(service, id, { url: `http://127.0.0.1:${proxy.port}` })
    await service.account(sink, { id, tenant_id: id })
  }
  const ids = Object.keys(FAULTS)
  await service.send(...[...ids, 'good'].map(id => ({ id: 'm', tenant_id: id, account_id: id })))
  await service.until('the good one', () => good.finals().length === 1)
  const causeOf = (id: string) =>
    service.logs.find(line => line.includes(`report to tenant ${id} failed: `))?.split('failed: ')[1]
  await service.until('each fault', () => ids.every(id => causeOf(id) !== undefined))
  for (const [id, { cause }] of Object.entries(FAULTS))
    expect([id, causeOf(id)]).toEqual([id, expect.stringMatching(cause)])
  const [row] = await service.service.db!.read({
    sql: "select count(*) as n from messages where reported_at is not null and tenant_id <> 'good'",
    params: [],
  })
  expect(row!.n).toBe(0)

  isMended = true
  await service.until('all to be told', async () => {
    for (const id of ids) await service.call('POST', '/commands/run-now', { tenant_id: id })
    return ids.every(id => clients.get(id)!.requests.length > 0 && clients.get(id)!.finals().length > 0)
  })
  // One that is kept, at most; of those that are half-open nothing can be seen from here.
  for (const [id, { links }] of proxies) if (id !== 'half-open') expect([id, links.length <= 1]).toEqual([id, true])
  expect(warnings).not.toContain('MaxListenersExceededWarning')
})
