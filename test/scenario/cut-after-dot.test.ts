/** The doubt window: the final dot went out and no reply came. A double may come of it, never without saying so. */
import { describe, expect, it } from 'vitest'
import { headersOf, idsOf, openScene } from '../support/scene.js'
import type { SinkBehaviour } from '../support/smtp-sink.js'
import { expectBalanced } from '../support/story.js'

/** The server takes the first message and hangs up before it can say so. */
const cutFirst: SinkBehaviour = { final: ({ n }) => (n === 1 ? { cut: true, keep: true } : null) }

describe.each(['sqlite', 'postgres'] as const)('a connection cut after the final dot on %s', dialect => {
  it('with policy retry is reported in doubt and sent again with the same Message-ID', async () => {
    const { service, sink, client, reports } = await openScene({ dialect, sink: { behave: cutFirst } })
    await service.send({ id: 'doubt' })
    await expectBalanced(service, client, ['doubt'])
    expect(idsOf(sink.messages)).toEqual(['doubt', 'doubt'])
    const [first, second] = sink.messages.map(({ raw }) => headersOf(raw))
    expect(second!.get('message-id')).toEqual(first!.get('message-id'))
    expect(reports('doubt')).toMatchObject([
      { in_doubt_ts: expect.any(Number), attempts: 1 },
      { sent_ts: expect.any(Number), attempts: 2 },
    ])
    const record = await service.message('doubt')
    expect(record.history.map((each: { event_type: string }) => each.event_type)).toEqual(['in_doubt', 'sent'])
    expect(service.logs.filter(line => line.startsWith('WARNING') && line.includes('in doubt'))).toHaveLength(1)
  })

  it('before the dot leaves no doubt: deferred, and sent once', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: { data: ({ n }) => (n === 1 ? { cut: true } : null) } },
    })
    await service.send({ id: 'clear' })
    await expectBalanced(service, client, ['clear'])
    expect(idsOf(sink.messages)).toEqual(['clear'])
    expect(reports('clear')).toMatchObject([{ deferred_ts: expect.any(Number) }, { sent_ts: expect.any(Number) }])
  })

  it('with policy hold waits, and is sent again only when released', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: cutFirst },
      account: { in_doubt: 'hold' },
    })
    await service.send({ id: 'held' })
    await service.until('the doubt', async () => (await service.message('held')).status === 'in_doubt')
    // Others of the account go on, and longer than any retry would take.
    await service.send({ id: 'other', deferred_ts: Date.now() / 1000 + 0.6 })
    await service.until('the other one', async () => (await service.message('other')).status === 'sent')
    expect(idsOf(sink.messages)).toEqual(['held', 'other'])
    const record = await service.message('held')
    expect(record).toMatchObject({ status: 'in_doubt', attempts: 1, waiting_for: null, next_attempt_ts: null })
    expect(record.waiting_detail).toContain('release')
    expect((await service.call('GET', '/messages?tenant_id=default&status=in_doubt')).body.messages).toHaveLength(1)

    const { status, body } = await service.call('POST', '/messages/held/release')
    expect([status, body.ok]).toEqual([200, true])
    await expectBalanced(service, client, ['held', 'other'])
    expect(idsOf(sink.messages)).toEqual(['held', 'other', 'held'])
    const copies = [sink.messages[0]!, sink.messages[2]!].map(({ raw }) => headersOf(raw).get('message-id')?.join())
    expect(copies[1]).toBe(copies[0])
    expect(reports('held')).toMatchObject([{ in_doubt_ts: expect.any(Number) }, { sent_ts: expect.any(Number) }])
    expect(reports('held')).toHaveLength(2)
  })

  it('with policy hold is an error once discarded, and never sent again', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: cutFirst },
      account: { in_doubt: 'hold' },
    })
    await service.send({ id: 'held' })
    await service.until('the doubt', async () => (await service.message('held')).status === 'in_doubt')
    await service.call('POST', '/messages/held/discard')
    await expectBalanced(service, client, ['held'])
    expect(reports('held')).toMatchObject([
      { in_doubt_ts: expect.any(Number) },
      { error_ts: expect.any(Number), code: 'in_doubt_discarded', attempts: 1 },
    ])
    await service.send({ id: 'after' })
    await expectBalanced(service, client, ['held', 'after'])
    expect(idsOf(sink.messages)).toEqual(['held', 'after'])
  })

  it('asks nobody again whose refusal came before the cut, and counts those accepted before it', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: {
        behave: {
          rcpt: ({ address, n }) => (address === 'busy@example.net' && n === 1 ? '451 4.2.1 Busy' : null),
          final: ({ n }) => (n === 2 ? { cut: true, keep: true } : null),
        },
      },
      account: { in_doubt: 'hold' },
    })
    await service.send({ id: 'half', to: ['good@example.net', 'busy@example.net'] })
    await service.until('the doubt', async () => (await service.message('half')).status === 'in_doubt')
    await service.call('POST', '/messages/half/discard')
    await expectBalanced(service, client, ['half'])
    expect(sink.messages.map(({ to }) => to)).toEqual([['good@example.net'], ['busy@example.net']])
    const last = reports('half').at(-1)!
    expect(last.sent_ts).toEqual(expect.any(Number))
    expect(last.recipients).toMatchObject([
      { address: 'good@example.net', status: 'accepted', code: '250' },
      { address: 'busy@example.net', status: 'refused', code: 'in_doubt_discarded' },
    ])
  })
})
