/** One account's server refuses connections, another's hangs at its greeting; the third account knows nothing of it. */
import { afterEach, describe, expect, it } from 'vitest'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { deadPort, expectBalanced, many, metric, tenant } from '../support/story.js'

const ENV = {
  GMP_SMTP_CONNECT_TIMEOUT: '1',
  GMP_SMTP_COMMAND_TIMEOUT: '1',
  GMP_MAX_RETRIES: '50',
  GMP_STOP_TIMEOUT: '1',
}

describe.each(['sqlite', 'postgres'] as const)('a dead server beside a live one, on %s', dialect => {
  let service: TestService
  let client: ReportClient
  const sinks: SmtpSink[] = []

  afterEach(async () => {
    await service.stop()
    await client.close()
    for (const sink of sinks.splice(0)) await sink.close()
  })

  async function sink(...options: Parameters<typeof startSink>): Promise<SmtpSink> {
    const started = await startSink(...options)
    sinks.push(started)
    return started
  }

  it('live mail flows at once, the dead account is paused with its reason, and all goes out once the servers are back', async () => {
    client = await startReportClient()
    service = await startTestService({ dialect, env: ENV })
    const live = await sink()
    const tarpit = await sink({ behave: { greeting: () => ({ silent: true }) } })
    const port = await deadPort()
    await tenant(service, 'default', client)
    await service.account(live, { id: 'live' })
    await service.account(tarpit, { id: 'tarpit' })
    await service.account({ port }, { id: 'dead' })

    await service.send(...many(20, 'dead', { account_id: 'dead' }), ...many(20, 'tar', { account_id: 'tarpit' }))
    await service.until('the dead account is paused', async () => {
      const { body } = await service.call('GET', '/status')
      return body.paused_accounts.some((each: { id: string }) => each.id === 'dead')
    })
    await service.send(...many(100, 'live', { account_id: 'live' }))
    await live.waitFor(100)

    // The reason is one look away, at the account, at the message and in the log.
    const { body } = await service.call('GET', '/status')
    const paused = body.paused_accounts.find((each: { id: string }) => each.id === 'dead')
    expect(paused).toMatchObject({ kind: 'failure', reason: expect.stringContaining('connection refused') })
    const waiting = await service.message('dead7')
    expect(waiting).toMatchObject({ attempts: 0, waiting_for: 'paused_account' })
    expect(waiting.waiting_detail).toContain('connection refused')
    expect(service.logs.filter(line => line.startsWith('ERROR') && line.includes('Account dead'))).toHaveLength(1)
    expect(await metric(service, 'gmp_paused_accounts')).toBe(1)

    // What waits is told once, with the server's words.
    const told = () => client.deferrals().filter(each => each.account_id === 'dead')
    await service.until('each deferral told', () => told().length >= 20)
    expect(new Set(told().map(each => each.id)).size).toBe(20)
    expect(told()).toHaveLength(20)
    for (const entry of told()) expect(entry.deferred_reason).toContain('connection refused')

    // A hung greeting costs no other account a place, and nothing was said to it.
    expect(tarpit.commands).toEqual([])
    // One that was given up is seen to close a moment after the next was opened.
    await service.until('the hung server holds two places at most', async () => tarpit.openConnections <= 2)
    expect(
      (await service.call('GET', '/messages?tenant_id=default&account_id=tarpit&active_only=true')).body.messages,
    ).toHaveLength(20)

    tarpit.behave({})
    tarpit.dropAll()
    const revived = await sink({ port })
    await Promise.all([revived.waitFor(20), tarpit.waitFor(20)])
    expect((await service.call('GET', '/status')).body.paused_accounts).toEqual([])
    const ids = [...many(20, 'dead'), ...many(20, 'tar'), ...many(100, 'live')].map(each => each.id as string)
    await expectBalanced(service, client, ids)
    for (const [each, count] of [
      [live, 100],
      [revived, 20],
      [tarpit, 20],
    ] as const) {
      expect(each.accepted).toBe(count)
      expect(each.countOf('DATA')).toBe(count)
    }
    expect(client.finals().every(each => each.sent_ts !== undefined)).toBe(true)
    expect((await service.message('dead7')).attempts).toBe(1)
  })
})
