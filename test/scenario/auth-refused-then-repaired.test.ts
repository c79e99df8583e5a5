/** A login that the server refuses: the account waits, not its mail's retries; one look tells why, one POST mends it. */
import { describe, expect, it } from 'vitest'
import { idsOf, openScene, wireText } from '../support/scene.js'
import type { SinkOptions } from '../support/smtp-sink.js'
import { expectBalanced, many, metric } from '../support/story.js'

const LOGIN: SinkOptions = { auth: ['PLAIN'], users: { shop: 'right-password' } }
/** The pause does not outlast the retry schedule while the test looks at it. */
const PATIENT = { GMP_RETRY_DELAYS: '20' }
const WRONG = { user: 'shop', password: 'wrong-password' }
const REFUSED = '535 5.7.8 Authentication credentials invalid'

const errorsOf = (logs: readonly string[]) => logs.filter(line => line.startsWith('ERROR'))

describe.each(['sqlite', 'postgres'] as const)('an account whose login is refused on %s', dialect => {
  it('is paused with the words of the server, keeps the attempts, and resumes by itself once repaired', async () => {
    const { service, sink, client, reports } = await openScene({ dialect, sink: LOGIN, account: WRONG, env: PATIENT })
    await service.send(...many(5, 'm'))
    await service.until('all told of the pause', () => client.deferrals().length === 5)

    const [account] = (await service.call('GET', '/accounts?tenant_id=default')).body.accounts
    expect(account).toMatchObject({
      id: 'main',
      paused: true,
      pause: { kind: 'failure', reason: REFUSED, code: '535' },
    })
    const { body: status } = await service.call('GET', '/status')
    expect(status).toMatchObject({ pending_messages: 5, scheduler_active: true })
    expect(status.paused_accounts).toMatchObject([{ tenant_id: 'default', id: 'main', reason: REFUSED }])
    expect(await metric(service, 'gmp_paused_accounts')).toBe(1)
    const record = await service.message('m3')
    expect(record).toMatchObject({ status: 'deferred', attempts: 0, waiting_for: 'paused_account' })
    expect(record.waiting_detail).toContain(REFUSED)

    // Newcomers are told too, and several failed probes later each still once.
    await service.send({ id: 'late' })
    await service.until('three failed probes', async () => {
      const { body } = await service.call('GET', '/account/main?tenant_id=default')
      return body.pause.probes >= 3 && client.deferrals().length === 6
    })
    for (const { id } of [...many(5, 'm'), { id: 'late' }]) {
      expect(reports(id as string)).toMatchObject([
        { deferred_ts: expect.any(Number), deferred_reason: REFUSED, attempts: 0 },
      ])
    }
    expect(sink.countOf('MAIL')).toBe(0)
    expect(errorsOf(service.logs)).toEqual([`ERROR Account main of tenant default is paused: ${REFUSED}`])

    const tested = (await service.call('POST', '/account/main/test?tenant_id=default')).body
    expect(tested).toMatchObject({ ok: false, error: REFUSED })
    expect(tested.conversation.filter((line: string) => line.includes('535'))).toHaveLength(1)
    expect(JSON.stringify(tested)).not.toContain('wrong-password')

    const repaired = { id: 'main', tenant_id: 'default', password: 'right-password' }
    expect((await service.call('POST', '/account', repaired)).status).toBe(200)
    await expectBalanced(service, client, ['m1', 'm2', 'm3', 'm4', 'm5', 'late'])
    expect(idsOf(sink.messages).sort()).toEqual(['late', 'm1', 'm2', 'm3', 'm4', 'm5'])
    for (const { id } of many(5, 'm')) {
      expect(reports(id as string)).toMatchObject([
        { deferred_reason: REFUSED },
        { sent_ts: expect.any(Number), attempts: 1 },
      ])
    }
    expect((await service.call('GET', '/status')).body.paused_accounts).toEqual([])
    expect((await service.call('GET', '/account/main?tenant_id=default')).body.paused).toBe(false)
    expect(await metric(service, 'gmp_paused_accounts')).toBe(0)
    expect(errorsOf(service.logs)).toHaveLength(1)
    expect(service.logs.filter(line => line.includes('works again'))).toHaveLength(1)
    expect(service.logs.join('\n')).not.toMatch(/wrong-password|right-password/)
    expect(JSON.stringify(client.acknowledged)).not.toMatch(/wrong-password|right-password/)
  })

  it('resumes by itself when the server mends it, without anybody doing anything', async () => {
    const { service, sink, client } = await openScene({ dialect, sink: LOGIN, account: WRONG, env: PATIENT })
    await service.send(...many(3, 'm'))
    await service.until('all told of the pause', () => client.deferrals().length === 3)
    sink.users.set('shop', 'wrong-password')
    await expectBalanced(service, client, ['m1', 'm2', 'm3'])
    expect(sink.messages.map(({ authUser }) => authUser)).toEqual(['shop', 'shop', 'shop'])
  })

  it('paused by an operator connects to nobody until it is resumed', async () => {
    const { service, sink, client, reports } = await openScene({ dialect })
    const paused = await service.call('POST', '/account/main/pause?tenant_id=default', { reason: 'moving house' })
    expect(paused.status).toBe(200)
    await service.account(sink, { id: 'second' })
    await service.send({ id: 'waits', priority: 0 }, { id: 'goes', account_id: 'second' })
    await service.until('the other account', async () => (await service.message('goes')).status === 'sent')
    const record = await service.message('waits')
    expect(record).toMatchObject({ status: 'pending', waiting_for: 'paused_account', next_attempt_ts: null })
    expect(record.waiting_detail).toContain('moving house')
    expect((await service.call('GET', '/status')).body.paused_accounts).toMatchObject([
      { id: 'main', kind: 'manual', reason: 'moving house' },
    ])
    // Not lifted by run-now either.
    await service.call('POST', '/commands/run-now', {})
    await service.send({ id: 'goes too', account_id: 'second' })
    await service.until('the other account', async () => (await service.message('goes too')).status === 'sent')
    expect(idsOf(sink.messages)).toEqual(['goes', 'goes too'])
    expect(sink.connections).toBe(1)

    await service.call('POST', '/account/main/resume?tenant_id=default')
    await expectBalanced(service, client, ['waits', 'goes', 'goes too'])
    expect(reports('waits')).toHaveLength(1)
    expect(wireText(sink)).not.toContain('moving house')
  })
})
