/** What a client may answer, and what the service makes of it, over real sockets and by the settings of a tenant. */
import { createHmac } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { accept } from '../support/http-sink.js'
import { readDatabase } from '../support/ledger.js'
import { createMovingClock } from '../support/moving-clock.js'
import { entriesOf, type ReportClient, startReportClient } from '../support/report-client.js'
import { startTestService, type TestService, type TestServiceOptions } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { deadPort, expectBalanced, many, tenant } from '../support/story.js'

describe.each(['sqlite', 'postgres'] as const)('the report protocol on %s', dialect => {
  let service: TestService
  let sink: SmtpSink
  const clients: ReportClient[] = []

  afterEach(async () => {
    await service.stop()
    await Promise.all(clients.splice(0).map(client => client.close()))
    await sink.close()
  })

  async function start(options: TestServiceOptions = {}): Promise<void> {
    sink = await startSink()
    service = await startTestService({ dialect, ...options })
  }
  async function client(...options: Parameters<typeof startReportClient>): Promise<ReportClient> {
    const started = await startReportClient(...options)
    clients.push(started)
    return started
  }

  it('carries the credentials and the fields of each outcome', async () => {
    await start({ env: { GMP_MAX_RETRIES: '1' } })
    const reports = await client()
    await tenant(service, 'acme', reports, {
      client_sync_path: '/hooks/mail?source=proxy',
      client_auth: { method: 'bearer', token: 'open-sesame' },
    })
    sink.behave({
      rcpt: ({ address, n }) =>
        address.startsWith('never')
          ? '550 5.1.1 No such user'
          : address.startsWith('later') && n === 1
            ? '451 4.7.1 Later'
            : null,
    })
    await service.account(sink, { tenant_id: 'acme' })
    await service.send(
      { tenant_id: 'acme', id: 'good', priority: 1 },
      { tenant_id: 'acme', id: 'bad', to: 'never@example.net' },
      { tenant_id: 'acme', id: 'late', to: 'later@example.net' },
      { tenant_id: 'acme', id: 'half', to: 'one@example.net, never@example.net' },
      {
        tenant_id: 'acme',
        id: 'old',
        deferred_ts: Math.floor(Date.now() / 1000) + 30,
        expires_ts: Math.floor(Date.now() / 1000) + 1,
      },
    )
    await expectBalanced(service, reports, ['good', 'bad', 'late', 'half', 'old'], 'acme')
    for (const request of reports.requests) {
      expect(request).toMatchObject({ method: 'POST', path: '/hooks/mail?source=proxy' })
      expect(request.headers).toMatchObject({ authorization: 'Bearer open-sesame' })
      expect(request.headers['content-type']).toMatch(/^application\/json/)
    }
    const of = (id: string) => reports.acknowledged.filter(each => each.id === id)
    const common = { tenant_id: 'acme', account_id: 'main' }
    expect(of('good')).toEqual([{ id: 'good', sent_ts: expect.any(Number), ...common, priority: 1, attempts: 1 }])
    expect(of('bad')).toEqual([
      expect.objectContaining({
        ...common,
        error_ts: expect.any(Number),
        error: expect.stringContaining('5.1.1'),
        code: '550',
      }),
    ])
    expect(of('late')).toEqual([
      expect.objectContaining({
        deferred_ts: expect.any(Number),
        deferred_reason: expect.stringContaining('451'),
        attempts: 1,
      }),
      expect.objectContaining({ sent_ts: expect.any(Number), attempts: 2 }),
    ])
    expect(of('half')).toEqual([
      expect.objectContaining({
        sent_ts: expect.any(Number),
        recipients: [
          expect.objectContaining({ address: 'one@example.net', status: 'accepted' }),
          expect.objectContaining({ address: 'never@example.net', status: 'refused', code: '550' }),
        ],
      }),
    ])
    expect(of('old')).toEqual([expect.objectContaining({ error_ts: expect.any(Number), code: 'expired', attempts: 0 })])
    expect(service.logs.join('\n')).not.toContain('open-sesame')
  })

  it('ids in error come again, ids in not_found do not, and no other entry is told twice', async () => {
    const clock = createMovingClock()
    await start({ env: { GMP_LEASE_SECONDS: '3600' }, overrides: { clock } })
    let refused = 1
    const reports = await client(request => {
      const ids = entriesOf(request).map(({ id }) => id)
      return ids.includes('m2') && refused-- > 0 ? { body: { ok: true, error: ['m2'], not_found: ['m3'] } } : accept
    })
    await tenant(service, 'default', reports)
    await service.account(sink, { max_connections: 1 })
    await service.send(...many(4, 'm'))
    await service.until('the others are told', () => reports.acknowledged.length >= 3)
    await clock.move(5_500)
    await service.until('the refused one comes again', () => reports.acknowledged.length >= 4)
    await expectBalanced(service, reports, ['m1', 'm2', 'm3', 'm4'])
    const posted = reports.requests.flatMap(entriesOf).map(({ id }) => id)
    expect(posted.filter(id => id === 'm2')).toHaveLength(2)
    expect(posted.filter(id => id !== 'm2').sort()).toEqual(['m1', 'm3', 'm4'])
  })

  it('queued asks for the next call at once, no more than one a second', async () => {
    await start()
    let left = 2
    const at: number[] = []
    const reports = await client(() => {
      at.push(Date.now())
      return { body: { ok: true, queued: left-- > 0 ? 5 : 0 } }
    })
    await tenant(service, 'default', reports)
    await service.call('POST', '/commands/run-now', { tenant_id: 'default' })
    await reports.waitFor(3)
    const [first, second, third] = at.slice(-3) as [number, number, number]
    for (const gap of [second - first, third - second]) expect(gap).toBeGreaterThan(950)
    for (const request of reports.requests) expect(entriesOf(request)).toEqual([])
  })

  it("do-not-disturb keeps idle calls away and not reports; run-now with the tenant's own key ends it", async () => {
    await start({ env: { GMP_SYNC_INTERVAL: '1' } })
    const reports = await client(() => ({ body: { ok: true, next_sync_after: Math.floor(Date.now() / 1000) + 3600 } }))
    const key = await tenant(service, 'acme', reports)
    await service.account(sink, { tenant_id: 'acme' })
    await reports.waitFor(1)
    const inDnd = async () => {
      const { body } = await service.call('GET', '/tenants/sync-status')
      return body.tenants.find((each: { id: string }) => each.id === 'acme').in_dnd
    }
    await service.until('do-not-disturb is on', inDnd)
    const calls = reports.requests.length
    await service.send({ tenant_id: 'acme', id: 'm1' })
    await service.until('the report comes all the same', () => reports.acknowledged.length === 1)
    expect(reports.requests).toHaveLength(calls + 1)

    reports.answer(() => accept)
    expect((await service.call('POST', '/commands/run-now', undefined, key)).status).toBe(200)
    await reports.waitFor(calls + 2)
    await service.until('do-not-disturb is over', async () => !(await inDnd()))
    await reports.waitFor(calls + 3)
  })

  it('signed requests verify, by both secrets during a rotation', async () => {
    await start()
    const [before, after] = [Buffer.alloc(24, 1), Buffer.alloc(24, 2)].map(
      each => `whsec_${each.toString('base64')}`,
    ) as [string, string]
    const reports = await client()
    const key = await tenant(service, 'acme', reports, { signing_secrets: [before] })
    await service.account(sink, { tenant_id: 'acme' })
    await service.send({ tenant_id: 'acme', id: 'm1' })
    await service.until('told', () => reports.acknowledged.length === 1)
    await service.call('PUT', '/tenant/acme', { signing_secrets: [before, after] }, key)
    await service.send({ tenant_id: 'acme', id: 'm2' })
    await service.until('told', () => reports.acknowledged.length === 2)

    const requestOf = (id: string) => reports.requests.find(each => entriesOf(each).some(entry => entry.id === id))!
    const expected = (id: string, secret: string) => {
      const { headers, body } = requestOf(id)
      const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
      return `v1,${createHmac('sha256', Buffer.from(secret.slice(6), 'base64'))
        .update(signed)
        .digest('base64')}`
    }
    expect(requestOf('m1').headers['webhook-signature']).toBe(expected('m1', before))
    expect(requestOf('m2').headers['webhook-signature']).toBe(`${expected('m2', before)} ${expected('m2', after)}`)
    expect(Math.abs(Number(requestOf('m1').headers['webhook-timestamp']) - Date.now() / 1000)).toBeLessThan(30)
    // Write-only: neither the answer nor the log has them.
    expect(JSON.stringify((await service.call('GET', '/tenant/acme', undefined, key)).body)).not.toContain('whsec_')
    expect(service.logs.join('\n')).not.toContain('whsec_')
  })

  it("one tenant's dead or hanging endpoint delays nobody else's reports", async () => {
    await start({ env: { GMP_SYNC_MAX_CONCURRENT: '4' } })
    const hanging = await client(() => ({ hang: 'headers' }))
    const good = await client()
    await tenant(service, 'dead', { url: `http://127.0.0.1:${await deadPort()}` })
    for (let i = 0; i < 3; i += 1) await tenant(service, `hang${i}`, hanging)
    await tenant(service, 'good', good)
    for (const id of ['dead', 'hang0', 'hang1', 'hang2', 'good']) await service.account(sink, { tenant_id: id })
    await service.send(...['dead', 'hang0', 'hang1', 'hang2'].map(id => ({ tenant_id: id, id: `of-${id}` })))
    await service.until('the hanging ones are asked', () => hanging.requests.length >= 3)
    await service.send({ tenant_id: 'good', id: 'm1' })
    // The hanging ones have 30 s.
    await service.until('told', () => good.acknowledged.length === 1, 20_000)
    expect(hanging.acknowledged).toEqual([])
  })

  it('a redirect is not followed and acknowledges nothing', async () => {
    await start()
    const elsewhere = await client()
    const reports = await client(() => ({ status: 307, headers: { location: elsewhere.url }, body: { ok: true } }))
    await tenant(service, 'default', reports, { client_auth: { method: 'bearer', token: 'open-sesame' } })
    await service.account(sink)
    await service.send({ id: 'm1' })
    await service.until('the failure is told', () => service.logs.some(line => line.includes('failed: HTTP 307')))
    expect(elsewhere.connections()).toBe(0)
    reports.answer(() => accept)
    await service.call('POST', '/commands/run-now', { tenant_id: 'default' })
    await expectBalanced(service, reports, ['m1'])
  })

  it('a tenant without an endpoint has its messages counted as reported with their end', async () => {
    await start()
    await service.account(sink)
    await service.send({ id: 'm1' })
    await service.until('reported', async () => (await service.message('m1')).reported_ts)
    const [end] = await readDatabase(
      service.databaseUrl,
      `select at, reported_at, pending from events where type = 'sent'`,
    )
    expect(end).toEqual({ at: expect.any(Number), reported_at: end!.at, pending: 0 })
  })
})

it('two instances never post for one tenant at once, and nothing is told twice', async () => {
  const reports = await startReportClient(() => ({ ...accept, delayMs: 60 }))
  const sink = await startSink()
  const first = await startTestService({ dialect: 'postgres' })
  const second = await startTestService({ databaseUrl: first.databaseUrl })
  try {
    await tenant(first, 'default', reports)
    await first.account(sink)
    for (let round = 0; round < 8; round += 1) {
      await Promise.all([first.send(...many(10, `a${round}-`)), second.send(...many(10, `b${round}-`))])
      await Promise.all([first, second].map(each => each.call('POST', '/commands/run-now', { tenant_id: 'default' })))
    }
    const ids = Array.from({ length: 8 }, (_, round) => [...many(10, `a${round}-`), ...many(10, `b${round}-`)]).flat()
    await expectBalanced(
      first,
      reports,
      ids.map(each => each.id as string),
    )
    expect(reports.concurrency.most).toBe(1)
    expect(reports.requests.flatMap(entriesOf)).toHaveLength(160)
  } finally {
    await Promise.all([first.stop(), second.stop()])
    await Promise.all([reports.close(), sink.close()])
  }
})
