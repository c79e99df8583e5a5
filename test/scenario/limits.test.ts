/** Limits: the server never sees more than it allows in any window, who waits is told when and once, time lets more go. */
import { afterEach, describe, expect, it } from 'vitest'
import { createMovingClock } from '../support/moving-clock.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { expectBalanced, many, metric, tenant, untilReported } from '../support/story.js'

const MINUTE = 60_000
// The lease must outlive the jumps in time.
const LONG_LEASE = { GMP_LEASE_SECONDS: '3600' }

describe.each(['sqlite', 'postgres'] as const)('limits on %s', dialect => {
  const services: TestService[] = []
  const closers: { close(): Promise<void> }[] = []

  afterEach(async () => {
    await Promise.all(services.splice(0).map(each => each.stop()))
    await Promise.all(closers.splice(0).map(each => each.close()))
  })

  async function start(...options: Parameters<typeof startTestService>): Promise<TestService> {
    const service = await startTestService({ dialect, ...options[0] })
    services.push(service)
    return service
  }
  async function sink(...options: Parameters<typeof startSink>): Promise<SmtpSink> {
    const started = await startSink(...options)
    closers.push(started)
    return started
  }
  async function client(): Promise<ReportClient> {
    const started = await startReportClient()
    closers.push(started)
    return started
  }

  it('a slow server sees 20 a minute and not one more; each next minute lets the next 20 go', async () => {
    const clock = createMovingClock()
    const arrivals: number[] = []
    const server = await sink({
      behave: {
        final() {
          arrivals.push(clock.now())
          return { delayMs: 150 }
        },
      },
    })
    const reports = await client()
    const service = await start({ env: LONG_LEASE, overrides: { clock } })
    await tenant(service, 'default', reports)
    await service.account(server, { limit_per_minute: 20 })
    await service.send(...many(100, 'm'))
    const submitted = clock.now()
    await server.waitFor(20)

    // Each of the 80 has its turn told, once, in minutes to come.
    await service.until('80 deferrals', () => reports.deferrals().length >= 80)
    const turns = reports.deferrals().map(each => each.deferred_ts * 1000 - submitted)
    expect(Math.min(...turns)).toBeGreaterThan(MINUTE - 2_000)
    for (const minute of [1, 2, 3, 4]) {
      const inMinute = turns.filter(turn => turn >= minute * MINUTE - 2_000 && turn < (minute + 1) * MINUTE - 2_000)
      expect(inMinute).toHaveLength(20)
    }
    expect(new Set(reports.deferrals().map(each => each.deferred_reason))).toEqual(new Set(['rate_limit_exceeded']))
    expect(await metric(service, 'gmp_rate_limited_total{tenant_id="default",account_id="main"}')).toBe(80)
    expect(await service.message('m100')).toMatchObject({ status: 'deferred', waiting_for: 'limit', attempts: 0 })

    await service.until(
      'all settled',
      async () => (await metric(service, 'gmp_sent_total{tenant_id="default",account_id="main"}')) === 20,
    )
    for (let round = 1; round <= 4; round += 1) {
      await untilReported(service)
      const before = server.accepted
      await clock.move(MINUTE - 6_000, { breatheMs: 300 })
      expect(server.accepted).toBe(before)
      await clock.move(8_000)
      await server.waitFor(20 * (round + 1))
      // What is accepted and not yet settled would be settled at the moved time.
      await service.until(
        'all settled',
        async () =>
          (await metric(service, 'gmp_sent_total{tenant_id="default",account_id="main"}')) === server.accepted,
      )
    }
    await expectBalanced(
      service,
      reports,
      many(100, 'm').map(each => each.id as string),
    )
    expect(server.countOf('DATA')).toBe(100)
    expect(reports.deferrals()).toHaveLength(80)
    for (const [i, at] of arrivals.entries()) {
      expect(arrivals.slice(i).filter(each => each < at + MINUTE).length).toBeLessThanOrEqual(20)
    }
    // And the limit is used: 100 within four windows, the rounding of a few buckets and what the test itself takes.
    expect(arrivals.at(-1)! - submitted).toBeLessThan(5 * MINUTE)
  })

  it('of a long queue the next 1,000 are told their turn, the rest stay pending', async () => {
    const server = await sink({ record: 'messages' })
    const reports = await client()
    const service = await start()
    await tenant(service, 'default', reports)
    await service.account(server, { limit_per_minute: 10, limit_per_hour: 500 })
    await service.send(...many(1_150, 'm'))
    await server.waitFor(10)
    await service.until('the deferrals', () => reports.deferrals().length >= 1_000)
    const states = async () => (await service.call('GET', '/stats')).body.by_status
    await service.until('the figures follow', async () => (await states()).sent === 10)
    expect(await states()).toEqual({ sent: 10, deferred: 1_000, pending: 140 })
    expect(reports.deferrals()).toHaveLength(1_000)
    expect(new Set(reports.deferrals().map(each => each.id)).size).toBe(1_000)
    // Ten a minute, yet no more than 500 an hour: the last of the told waits for the third hour.
    const far = Math.max(...reports.deferrals().map(each => each.deferred_ts)) - Date.now() / 1000
    expect(far).toBeGreaterThan(2 * 3600)
    expect(await metric(service, 'gmp_rate_limited_total{tenant_id="default",account_id="main"}')).toBe(1_000)
    expect(await metric(service, 'gmp_deferred_total{tenant_id="default",account_id="main"}')).toBe(1_000)
    // One line for the window that filled, or a few, and never one a message.
    expect(service.logs.filter(line => line.startsWith('WARNING Rate limit reached')).length).toBeLessThan(10)
    expect(server.accepted).toBe(10)
  })

  it('limit_behavior error fails what is over the limit, at once and once', async () => {
    const server = await sink()
    const reports = await client()
    const service = await start()
    await tenant(service, 'default', reports)
    await service.account(server, { limit_per_minute: 5, limit_behavior: 'reject' })
    await service.send(...many(12, 'm'))
    await expectBalanced(
      service,
      reports,
      many(12, 'm').map(each => each.id as string),
    )
    const failed = reports.finals().filter(each => each.error_ts !== undefined)
    expect(failed).toHaveLength(7)
    for (const entry of failed)
      expect(entry).toMatchObject({ error: 'rate_limit_exceeded', code: 'rate_limit_exceeded' })
    expect(server.accepted).toBe(5)
    expect(server.countOf('MAIL')).toBe(5)
    expect(await metric(service, 'gmp_rate_limited_total{tenant_id="default",account_id="main"}')).toBe(7)
  })

  it("a tenant's rate_limits hold across its accounts and leave other tenants alone", async () => {
    const servers = [await sink(), await sink(), await sink()] as const
    const service = await start()
    await tenant(service, 'acme', null, { rate_limits: { hourly: 10 } })
    await service.account(servers[0], { tenant_id: 'acme', id: 'one' })
    await service.account(servers[1], { tenant_id: 'acme', id: 'two' })
    await service.account(servers[2], { id: 'other' })
    for (const id of ['one', 'two']) await service.send(...many(15, id, { tenant_id: 'acme', account_id: id }))
    await service.send(...many(30, 'other', { account_id: 'other' }))
    await servers[2].waitFor(30)
    const sent = () => servers[0].accepted + servers[1].accepted
    await service.until('ten of the tenant', () => sent() >= 10)
    await service.until('the rest waits and says why', async () => {
      const { body } = await service.call('GET', '/messages?tenant_id=acme&status=deferred')
      return body.messages.length === 20
    })
    expect(sent()).toBe(10)
    const { body } = await service.call('GET', '/messages?tenant_id=acme&status=deferred&limit=1')
    expect(await service.message(body.messages[0].id, 'acme')).toMatchObject({ waiting_for: 'limit' })
  })

  it('a refused transaction that reached DATA has used its slot, one that did not has not', async () => {
    const server = await sink({
      pipelining: false,
      behave: { rcpt: ({ address }) => (address.startsWith('no') ? '550 5.1.1 No such user' : null) },
    })
    const service = await start()
    await service.account(server, { limit_per_minute: 4, max_connections: 1 })
    await service.send(...many(6, 'no', { to: 'nobody@example.net', priority: 1 }), ...many(6, 'yes'))
    await server.waitFor(4)
    await service.until(
      'the rest waits',
      async () => (await service.call('GET', '/messages?tenant_id=default&status=deferred')).body.messages.length === 2,
    )
    expect(server.accepted).toBe(4)
    expect((await service.call('GET', '/messages?tenant_id=default&status=error')).body.messages).toHaveLength(6)
  })
})

describe('limits of several instances', () => {
  it('three instances on one PostgreSQL together send no more than the limit', async () => {
    const server = await startSink({ behave: { final: () => ({ delayMs: 30 }) } })
    const first = await startTestService({ dialect: 'postgres' })
    const others = [
      await startTestService({ databaseUrl: first.databaseUrl }),
      await startTestService({ databaseUrl: first.databaseUrl }),
    ]
    try {
      await first.account(server, { limit_per_minute: 25, batch_size: 5 })
      const given = [first, ...others]
      await Promise.all(given.map((each, i) => each.send(...many(100, `i${i}-`))))
      await server.waitFor(25)
      await first.until(
        'the rest is deferred',
        async () =>
          (await first.call('GET', '/messages?tenant_id=default&status=deferred')).body.messages.length === 275,
      )
      // Every instance has looked at the full window by now, more than once.
      await first.until(
        'a round more',
        async () =>
          (await first.service.db!.read({ sql: "select 1 from messages where status = 'sending'", params: [] }))
            .length === 0,
      )
      expect(server.accepted).toBe(25)
      expect(server.countOf('DATA')).toBe(25)
      const deferrals = await first.service.db!.read({
        sql: "select seq from events where type = 'deferred' group by seq having count(*) > 1",
        params: [],
      })
      expect(deferrals).toEqual([])
    } finally {
      await Promise.all([first, ...others].map(each => each.stop()))
      await server.close()
    }
  })
})
