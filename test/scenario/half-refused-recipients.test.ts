/** One message to many, of whom a server takes some: nobody is asked twice in vain, and nobody is forgotten. */
import { describe, expect, it } from 'vitest'
import { headersOf, openScene } from '../support/scene.js'
import { expectBalanced } from '../support/story.js'

const UNKNOWN = '550 5.1.1 User unknown'
const LATER = '451 4.2.1 Mailbox busy'

describe.each(['sqlite', 'postgres'] as const)('a message refused for some recipients on %s', dialect => {
  it('goes to the others at once and asks again only for those still open', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: {
        behave: {
          rcpt({ address, n }) {
            if (address.startsWith('gone')) return UNKNOWN
            return address.startsWith('busy') && n <= 2 ? LATER : null
          },
        },
      },
    })
    const to = ['good1@example.net', 'gone1@example.net', 'busy1@example.net']
    await service.send({ id: 'half', to, cc: 'gone2@example.net', bcc: ['good2@example.net', 'busy2@example.net'] })
    await expectBalanced(service, client, ['half'])

    expect(sink.messages.map(each => each.to)).toEqual([
      ['good1@example.net', 'good2@example.net'],
      ['busy1@example.net', 'busy2@example.net'],
    ])
    const [first, second] = sink.messages.map(({ raw }) => headersOf(raw).get('message-id'))
    expect(second).toEqual(first)
    const asked = (address: string) => sink.countOf(`RCPT TO:<${address}>`)
    expect(['good1', 'good2', 'gone1', 'gone2', 'busy1', 'busy2'].map(name => asked(`${name}@example.net`))).toEqual([
      1, 1, 1, 1, 3, 3,
    ])

    const all = reports('half')
    expect(all).toHaveLength(3)
    expect(all[0]).toMatchObject({ deferred_reason: LATER, attempts: 1 })
    expect(all[1]).toMatchObject({ deferred_reason: LATER, attempts: 2 })
    expect(all[2]).toMatchObject({ sent_ts: expect.any(Number), attempts: 3 })
    expect(all[2]!.error_ts).toBeUndefined()
    const told = Object.fromEntries(all[2]!.recipients.map((each: { address: string }) => [each.address, each]))
    expect(told['good1@example.net']).toMatchObject({ status: 'accepted', code: '250' })
    expect(told['busy2@example.net']).toMatchObject({ status: 'accepted', code: '250' })
    expect(told['gone1@example.net']).toMatchObject({ status: 'refused', code: '550', reply: UNKNOWN })
    expect(told['gone2@example.net']).toMatchObject({ status: 'refused', code: '550', reply: UNKNOWN })
    expect(Object.keys(told)).toHaveLength(6)
    expect((await service.message('half')).recipients).toEqual(all[2]!.recipients)
  })

  it('is sent at the last acceptance, whatever becomes of the rest later', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: { rcpt: ({ address, n }) => (address.startsWith('busy') ? (n === 1 ? LATER : UNKNOWN) : null) } },
      env: { GMP_RETRY_DELAYS: '2.5' },
    })
    await service.send({ id: 'half', to: ['good@example.net', 'busy@example.net'] })
    await service.until('the deferral', async () => (await service.message('half')).status === 'deferred')
    expect((await service.message('half')).sent_ts).toBeUndefined()
    await expectBalanced(service, client, ['half'])
    const acceptedAt = sink.messages[0]!.at
    const [, report] = reports('half')
    expect(report!.sent_ts).toBeGreaterThanOrEqual(Math.floor(acceptedAt / 1000))
    expect(report!.sent_ts).toBeLessThanOrEqual(Math.floor(acceptedAt / 1000) + 1)
    expect((await service.message('half')).sent_ts).toBe(report!.sent_ts)
  })

  it('is an error when all are refused, with the words of the server and after one attempt', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: { rcpt: () => UNKNOWN } },
    })
    await service.send({ id: 'none', to: ['a@example.net', 'b@example.net'] })
    await expectBalanced(service, client, ['none'])
    expect(reports('none')).toEqual([
      {
        id: 'none',
        error_ts: expect.any(Number),
        error: UNKNOWN,
        code: '550',
        tenant_id: 'default',
        account_id: 'main',
        priority: 2,
        attempts: 1,
      },
    ])
    expect(sink.countOf('RCPT')).toBe(2)
    expect(sink.messages).toEqual([])
    const record = await service.message('none')
    expect(record).toMatchObject({ status: 'error', error: UNKNOWN, code: '550' })
    expect(record.sent_ts).toBeUndefined()
    expect(record.attempt_log[0].replies).toMatchObject([
      { address: 'a@example.net', code: '550', enhanced: '5.1.1' },
      { address: 'b@example.net', code: '550', enhanced: '5.1.1' },
    ])
  })

  it('is an error once the retries are used up, and says how many and what the last reply was', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: { rcpt: ({ address, n }) => (address.startsWith('busy') ? `451 4.2.1 Busy, ${n}` : UNKNOWN) } },
      env: { GMP_MAX_RETRIES: '2' },
    })
    await service.send({ id: 'never', to: ['gone@example.net', 'busy@example.net'] })
    await expectBalanced(service, client, ['never'])
    expect(sink.countOf('RCPT TO:<busy@example.net>')).toBe(3)
    expect(sink.countOf('RCPT TO:<gone@example.net>')).toBe(1)
    const last = reports('never').at(-1)!
    expect(last).toMatchObject({ error: 'Max retries (2) exceeded: 451 4.2.1 Busy, 3', code: '451', attempts: 3 })
    expect(last.recipients).toMatchObject([
      { address: 'gone@example.net', status: 'refused', code: '550', reply: UNKNOWN },
      { address: 'busy@example.net', status: 'refused', code: '451' },
    ])
    expect(reports('never').map(each => each.deferred_reason)).toEqual([
      '451 4.2.1 Busy, 1',
      '451 4.2.1 Busy, 2',
      undefined,
    ])
  })
})
