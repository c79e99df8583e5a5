/** A tenant's endpoint fails in every way one after another; when it is back it hears of everything, once and in order. */
import { afterEach, describe, expect, it } from 'vitest'
import { accept } from '../support/http-sink.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { expectBalanced, many, tenant } from '../support/story.js'

describe.each(['sqlite', 'postgres'] as const)('reports while the endpoint is down, on %s', dialect => {
  let service: TestService
  let client: ReportClient
  let sink: SmtpSink

  afterEach(async () => {
    await service.stop()
    await client.close()
    await sink.close()
  })

  it('500, a hang, 200 without JSON, a reset and ok: false lose nothing; then all is told once and in order', async () => {
    client = await startReportClient(() => ({ status: 500, body: { ok: true } }))
    sink = await startSink()
    service = await startTestService({ dialect, env: { GMP_SYNC_TIMEOUT: '1' } })
    await tenant(service, 'default', client)
    await service.account(sink, { max_connections: 1 })

    /** More messages, and the answer the client gives from now on; resolves when it was asked with them. */
    const phase = async (ids: readonly Record<string, unknown>[], answer: Parameters<typeof client.answer>[0]) => {
      client.answer(answer)
      const asked = client.requests.length
      await service.send(...ids)
      await sink.waitFor(sink.accepted + ids.length)
      await service.until('settled', async () => (await service.call('GET', '/status')).body.pending_messages === 0)
      // Once a phase, not waiting for the backoff: after many failures the search for a poison entry would begin.
      if (asked > 0) await service.call('POST', '/commands/run-now', { tenant_id: 'default' })
      await service.until('asked', () => client.requests.length > asked)
    }
    await phase(many(20, 'a'), () => ({ status: 500, body: { ok: true } }))
    await phase(many(20, 'b'), () => ({ hang: 'headers' }))
    await phase(many(20, 'c'), () => ({ body: 'OK, got it' }))
    await phase(many(20, 'd'), () => ({ close: true }))
    await phase(many(20, 'e'), () => ({ body: { ok: false } }))
    expect(client.acknowledged).toEqual([])
    expect(client.requests.every(each => each.path === '/mail-proxy/sync')).toBe(true)
    const unreported = await service.call('GET', '/messages?tenant_id=default&status=sent')
    expect(unreported.body.messages).toHaveLength(100)
    expect(unreported.body.messages.every((each: { reported_ts?: number }) => each.reported_ts === undefined)).toBe(
      true,
    )

    client.answer(() => accept)
    await service.until('all told', async () => {
      await service.call('POST', '/commands/run-now', { tenant_id: 'default' })
      return client.acknowledged.length >= 100
    })
    const ids = ['a', 'b', 'c', 'd', 'e'].flatMap(prefix => many(20, prefix).map(each => each.id as string))
    await expectBalanced(service, client, ids)
    expect(client.acknowledged.map(({ id }) => id)).toEqual(ids)
    expect(client.concurrency.most).toBe(1)
    expect(sink.accepted).toBe(100)
    // Each outage is told in the log with its cause, and no body.
    const failures = service.logs.filter(line => line.includes('Delivery report to tenant default failed'))
    for (const cause of ['HTTP 500', 'HTTP 200 without a JSON object', 'HTTP 200 with ok: false']) {
      expect(failures.some(line => line.includes(cause))).toBe(true)
    }
    expect(failures.join('\n')).not.toContain('got it')
  })
})
