/** GMP_TEST_MODE: nothing moves, neither mail nor reports, until run-now asks for it; run-now answers fast. */
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { expectBalanced, many, tenant } from '../support/story.js'

/** Long enough for several turns of each loop. */
const A_WHILE_MS = 1_200

describe.each(['sqlite', 'postgres'] as const)('run-now on %s', dialect => {
  let service: TestService
  let client: ReportClient
  let sink: SmtpSink

  afterEach(async () => {
    await service.stop()
    await client.close()
    await sink.close()
  })

  async function start(env: Record<string, string>, ...options: Parameters<typeof startSink>): Promise<void> {
    client = await startReportClient()
    sink = await startSink(...options)
    service = await startTestService({ dialect, env })
  }

  it('in test mode nothing moves until it, and then what was there goes and is told', async () => {
    await start({ GMP_TEST_MODE: 'true', GMP_SYNC_INTERVAL: '1' })
    await tenant(service, 'default', client)
    await service.account(sink)
    await service.send(...many(5, 'm'), { id: 'now', priority: 0 })
    await pause(A_WHILE_MS)
    expect([sink.connections, client.connections()]).toEqual([0, 0])
    expect((await service.call('GET', '/status')).body.pending_messages).toBe(6)

    const { status, body } = await service.call('POST', '/commands/run-now')
    expect([status, body]).toEqual([200, { ok: true }])
    await sink.waitFor(6)
    await expectBalanced(service, client, [...many(5, 'm').map(each => each.id as string), 'now'])

    await service.send({ id: 'after' })
    await pause(A_WHILE_MS)
    expect(sink.accepted).toBe(6)
    await service.call('POST', '/commands/run-now')
    await sink.waitFor(7)
  })

  it("a tenant's own run-now moves its mail and nobody else's", async () => {
    await start({ GMP_TEST_MODE: 'true' })
    const key = await tenant(service, 'acme', null)
    await service.account(sink, { tenant_id: 'acme' })
    await service.account(sink)
    await service.send({ tenant_id: 'acme', id: 'mine', subject: 'mine' }, { id: 'theirs', subject: 'theirs' })
    expect((await service.call('POST', '/commands/run-now', undefined, key)).status).toBe(200)
    await sink.waitFor(1)
    await pause(400)
    expect(sink.accepted).toBe(1)
    expect(sink.messages[0]!.raw.toString()).toContain('Subject: mine')
  })

  it('answers at once, however much there is to do and however slow the servers are', async () => {
    await start({ GMP_STOP_TIMEOUT: '1' }, { behave: { final: () => ({ delayMs: 20_000 }) } })
    await service.account(sink)
    await service.send(...many(300, 'm'))
    await service.until('connections are busy', () => sink.openConnections > 0)
    const times: number[] = []
    for (let i = 0; i < 20; i += 1) {
      const at = performance.now()
      expect((await service.call('POST', '/commands/run-now')).status).toBe(200)
      times.push(performance.now() - at)
    }
    expect(Math.max(...times)).toBeLessThan(10_000)
  })

  it('does not send early what is deferred, and not what is suspended', async () => {
    await start({})
    await service.account(sink)
    await service.call('POST', '/commands/suspend', { tenant_id: 'default', batch_code: 'spring' })
    await service.send(
      { id: 'later', deferred_ts: Math.floor(Date.now() / 1000) + 600 },
      { id: 'held', batch_code: 'spring' },
      { id: 'free' },
    )
    await sink.waitFor(1)
    await service.call('POST', '/commands/run-now')
    await pause(A_WHILE_MS / 2)
    expect(sink.accepted).toBe(1)
    expect(await service.message('later')).toMatchObject({ waiting_for: 'schedule' })
    expect(await service.message('held')).toMatchObject({ waiting_for: 'suspension' })
    await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    await sink.waitFor(2)
  })
})
