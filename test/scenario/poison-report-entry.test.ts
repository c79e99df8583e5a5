/** One entry breaks the client whenever it is in a batch: it is found by halves and stepped over; nothing is lost. */
import { afterEach, describe, expect, it } from 'vitest'
import { accept } from '../support/http-sink.js'
import { createMovingClock } from '../support/moving-clock.js'
import { entriesOf, type ReportClient, startReportClient } from '../support/report-client.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { expectBalanced, many, tenant } from '../support/story.js'

describe.each(['sqlite', 'postgres'] as const)('a poison report entry, on %s', dialect => {
  let service: TestService
  let client: ReportClient
  let sink: SmtpSink

  afterEach(async () => {
    await service.stop()
    await client.close()
    await sink.close()
  })

  it('is isolated, the others are told, and it is told too once the client can digest it', async () => {
    const clock = createMovingClock()
    client = await startReportClient(request =>
      entriesOf(request).some(({ id }) => id === 'm23') ? { status: 500, body: 'stack trace' } : accept,
    )
    sink = await startSink()
    service = await startTestService({
      dialect,
      // A call that is under way while the clock moves on has not run out of time for it.
      env: { GMP_LEASE_SECONDS: '3600', GMP_SYNC_INTERVAL: '86400', GMP_SYNC_TIMEOUT: '600' },
      overrides: { clock },
    })
    // Gathered while there is no endpoint to tell, so that they come in one batch.
    await service.call('PUT', '/tenant/default', { client_base_url: 'http://127.0.0.1:9' })
    await service.account(sink, { max_connections: 1 })
    await service.send(...many(40, 'm'))
    await sink.waitFor(40)
    await service.until('settled', async () => (await service.call('GET', '/status')).body.pending_messages === 0)
    await tenant(service, 'default', client)

    await service.until('all but the poison are told', async () => {
      await clock.move(20_000, { breatheMs: 30 })
      return client.acknowledged.length === 39
    })
    const others = many(40, 'm')
      .map(each => each.id as string)
      .filter(id => id !== 'm23')
    expect(client.acknowledged.map(({ id }) => id).sort()).toEqual(others.sort())
    const alone = () => client.requests.filter(each => entriesOf(each).length === 1 && entriesOf(each)[0]!.id === 'm23')
    await service.until('it was tried alone', async () => {
      await clock.move(20_000, { breatheMs: 30 })
      return alone().length > 0
    })
    // The search by halves costs a handful of calls, not one a message.
    expect(client.requests.length).toBeLessThan(25)
    expect((await service.message('m23')).reported_ts).toBeUndefined()

    // What comes later is not held up by it, and does not share a batch with it.
    await service.send(...many(10, 'later'))
    await service.until('the later ones are told', async () => {
      await clock.move(1_000, { breatheMs: 30 })
      return client.acknowledged.length === 49
    })

    client.answer(() => accept)
    await service.until('the poison one is told', async () => {
      await clock.move(20_000, { breatheMs: 30 })
      return client.acknowledged.length === 50
    })
    await expectBalanced(
      service,
      client,
      [...many(40, 'm'), ...many(10, 'later')].map(each => each.id as string),
    )
    expect(sink.accepted).toBe(50)
  })
})
