/** A server that says "later": told with its words, tried again no sooner than told, the same mail each time. */
import { describe, expect, it } from 'vitest'
import { headersOf, openScene } from '../support/scene.js'
import { greylist } from '../support/smtp-sink.js'
import { expectBalanced } from '../support/story.js'

const LATER = '451 4.7.1 Greylisted, please try again later'

describe.each(['sqlite', 'postgres'] as const)('a greylisted message on %s', dialect => {
  it('is reported deferred and then sent, with the same Message-ID at every attempt', async () => {
    const refused: Buffer[] = []
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: {
        behave: {
          final({ n, content }) {
            if (n > 2) return null
            refused.push(content)
            return LATER
          },
        },
      },
    })
    await service.send({ id: 'grey', headers: { 'X-Order': '7' }, body_html: '<b>x</b>' })
    await expectBalanced(service, client, ['grey'])

    expect(refused).toHaveLength(2)
    expect(sink.messages).toHaveLength(1)
    for (const name of ['message-id', 'x-genro-mail-id', 'date', 'x-order']) {
      const values = [...refused, sink.messages[0]!.raw].map(raw => headersOf(raw).get(name)?.join())
      expect([name, new Set(values).size, values[0] !== undefined]).toEqual([name, 1, true])
    }
    expect(reports('grey')).toMatchObject([
      { deferred_reason: LATER, attempts: 1 },
      { deferred_reason: LATER, attempts: 2 },
      { sent_ts: expect.any(Number), attempts: 3 },
    ])
    const record = await service.message('grey')
    expect(record).toMatchObject({ status: 'sent', attempts: 3 })
    expect(record.deferred_ts).toBeUndefined()
    expect(record.attempt_log.map((each: { final: unknown }) => each.final)).toEqual([
      { code: '451', enhanced: '4.7.1', text: expect.stringContaining('Greylisted') },
      { code: '451', enhanced: '4.7.1', text: expect.stringContaining('Greylisted') },
      { code: '250', enhanced: '2.0.0', text: expect.any(String) },
    ])
  })

  it('waits as long as it was told, and says meanwhile what for', async () => {
    const asked: number[] = []
    const { service, client, reports } = await openScene({
      dialect,
      sink: {
        behave: {
          ...greylist(1),
          mail() {
            asked.push(Date.now())
            return null
          },
        },
      },
      env: { GMP_RETRY_DELAYS: '1.5' },
    })
    await service.send({ id: 'grey' })
    const record = await service.until('the deferral', async () => {
      const found = await service.message('grey')
      return found.status === 'deferred' && found
    })
    expect(record).toMatchObject({ attempts: 1, deferred_reason: LATER, waiting_for: 'retry' })
    expect(record.next_attempt_ts).toBe(record.deferred_ts)
    expect(record.waiting_detail).toContain(LATER)

    await expectBalanced(service, client, ['grey'])
    expect(asked).toHaveLength(2)
    const waited = asked[1]! - asked[0]!
    // ±10 % of 1.5 s, and hardly late.
    expect(waited).toBeGreaterThanOrEqual(1_350)
    expect(waited).toBeLessThan(15_000)
    expect(reports('grey')[0]!.deferred_ts).toBe(record.deferred_ts)
  })

  it('does not hold up what its account sends meanwhile', async () => {
    const { service, sink, client } = await openScene({
      dialect,
      sink: { behave: { rcpt: ({ address, n }) => (address === 'slow@example.net' && n === 1 ? LATER : null) } },
      account: { max_connections: 1 },
    })
    await service.send({ id: 'grey', to: 'slow@example.net' }, { id: 'b' }, { id: 'c' })
    await expectBalanced(service, client, ['grey', 'b', 'c'])
    expect(sink.messages.map(({ to }) => to[0])).toEqual(['one@example.net', 'one@example.net', 'slow@example.net'])
  })
})
