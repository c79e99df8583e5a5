/** More recipients than a transaction takes (RFC 5321 §4.5.3.1.10): the rest follow at once, and it is no failure. */
import { describe, expect, it } from 'vitest'
import { headersOf, openScene } from '../support/scene.js'
import { expectBalanced } from '../support/story.js'

const FIVE = Array.from({ length: 5 }, (_, i) => `r${i}@example.net`)

describe.each(['sqlite', 'postgres'] as const)('a message with many recipients on %s', dialect => {
  it('goes on at once after 452 4.5.3, and that costs no attempt', async () => {
    // A retry would come after a minute: what is sent in time was not retried.
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { maxRecipients: 2 },
      env: { GMP_RETRY_DELAYS: '60', GMP_MAX_RETRIES: '0' },
    })
    await service.send({ id: 'five', to: FIVE })
    await expectBalanced(service, client, ['five'])

    expect(sink.messages.map(({ to }) => to.length)).toEqual([2, 2, 1])
    expect(sink.messages.flatMap(({ to }) => to)).toEqual(FIVE)
    expect(new Set(sink.messages.map(({ raw }) => headersOf(raw).get('message-id')?.join())).size).toBe(1)
    expect(reports('five')).toEqual([
      { id: 'five', sent_ts: expect.any(Number), tenant_id: 'default', account_id: 'main', priority: 2, attempts: 1 },
    ])
    const record = await service.message('five')
    expect(record).toMatchObject({ status: 'sent', attempts: 1 })
    expect(record.attempt_log).toHaveLength(3)
  })

  it('is cut into transactions of the size that the account says', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      account: { max_recipients_per_transaction: 2 },
      env: { GMP_RETRY_DELAYS: '60', GMP_MAX_RETRIES: '0' },
    })
    await service.send({ id: 'five', to: FIVE }, { id: 'after' })
    await expectBalanced(service, client, ['five', 'after'])
    const transactions = sink.messages.filter(({ to }) => to[0] !== 'one@example.net')
    expect(transactions.map(({ to }) => to)).toEqual([FIVE.slice(0, 2), FIVE.slice(2, 4), FIVE.slice(4)])
    expect(sink.countOf('RCPT')).toBe(6)
    expect(reports('five')).toMatchObject([{ sent_ts: expect.any(Number), attempts: 1 }])
  })

  it('tells refused ones from those merely not asked yet', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: {
        maxRecipients: 2,
        behave: { rcpt: ({ address }) => (address === 'r1@example.net' ? '550 5.1.1 User unknown' : null) },
      },
      env: { GMP_RETRY_DELAYS: '60', GMP_MAX_RETRIES: '0' },
    })
    await service.send({ id: 'five', to: FIVE })
    await expectBalanced(service, client, ['five'])
    expect(sink.messages.flatMap(({ to }) => to)).toEqual(FIVE.filter(address => address !== 'r1@example.net'))
    expect(sink.countOf('RCPT TO:<r1@example.net>')).toBe(1)
    const [report] = reports('five')
    expect(report!.recipients.map((each: { status: string }) => each.status)).toEqual([
      'accepted',
      'refused',
      'accepted',
      'accepted',
      'accepted',
    ])
  })

  it('is a failure like any other where the server takes not even one', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { maxRecipients: 0 },
      env: { GMP_MAX_RETRIES: '1' },
    })
    await service.send({ id: 'five', to: FIVE })
    await expectBalanced(service, client, ['five'])
    expect(reports('five')).toMatchObject([
      { deferred_reason: '452 4.5.3 Too many recipients' },
      { error: 'Max retries (1) exceeded: 452 4.5.3 Too many recipients', code: '452', attempts: 2 },
    ])
    expect(sink.messages).toEqual([])
  })
})
