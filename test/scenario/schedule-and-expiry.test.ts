/** Not before deferred_ts and hardly after; never after expires_ts. */
import { describe, expect, it } from 'vitest'
import { idsOf, openScene } from '../support/scene.js'
import { expectBalanced, many } from '../support/story.js'

const soon = (seconds: number) => Math.ceil(Date.now() / 1000) + seconds

describe.each(['sqlite', 'postgres'] as const)('a time given with a message on %s', dialect => {
  it('as deferred_ts is never anticipated, and kept within moments', async () => {
    const { service, sink, client, reports } = await openScene({ dialect, account: { max_connections: 1 } })
    const at = soon(2)
    await service.send(...many(3, 'm', { deferred_ts: at }), { id: 'text', deferred_ts: String(at + 1) }, { id: 'now' })
    expect(await service.message('m1')).toMatchObject({
      status: 'deferred',
      deferred_ts: at,
      waiting_for: 'schedule',
      next_attempt_ts: at,
      attempts: 0,
    })
    await service.call('POST', '/commands/run-now', {})
    await expectBalanced(service, client, ['m1', 'm2', 'm3', 'text', 'now'])
    expect(idsOf(sink.messages)).toEqual(['now', 'm1', 'm2', 'm3', 'text'])
    for (const [i, message] of sink.messages.slice(1).entries()) {
      const due = (i < 3 ? at : at + 1) * 1000
      expect(message.at).toBeGreaterThanOrEqual(due)
      expect(message.at).toBeLessThan(due + 15_000)
    }
    // The client knows when: it chose it.
    expect(reports('m1')).toMatchObject([{ sent_ts: expect.any(Number) }])
  })

  it('as deferred_ts in the past means now', async () => {
    const { service, sink, client } = await openScene({ dialect })
    await service.send({ id: 'past', deferred_ts: 1_000 }, { id: 'zero', deferred_ts: 0 })
    await expectBalanced(service, client, ['past', 'zero'])
    expect(idsOf(sink.messages).sort()).toEqual(['past', 'zero'])
  })

  it('as expires_ts cancels what could not go until then, and says so', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: { rcpt: ({ address }) => (address === 'busy@example.net' ? '451 4.2.1 Busy' : null) } },
      env: { GMP_RETRY_DELAYS: '30' },
    })
    const batch = { tenant_id: 'default', batch_code: 'held' }
    await service.call('POST', '/commands/suspend', batch)
    const expires_ts = soon(2)
    await service.send(
      { id: 'suspended', expires_ts, batch_code: 'held' },
      { id: 'retrying', expires_ts, to: 'busy@example.net' },
      { id: 'scheduled', expires_ts, deferred_ts: expires_ts + 60 },
      { id: 'in time', expires_ts: expires_ts + 3600 },
      { id: 'half', expires_ts, to: ['good@example.net', 'busy@example.net'] },
    )
    await expectBalanced(service, client, ['suspended', 'retrying', 'scheduled', 'in time', 'half'])
    for (const id of ['suspended', 'retrying', 'scheduled']) {
      const end = reports(id).at(-1)!
      expect(end).toMatchObject({ code: 'expired', error_ts: expect.any(Number) })
      expect(end.error_ts).toBeGreaterThanOrEqual(expires_ts)
      expect(await service.message(id)).toMatchObject({ status: 'cancelled', code: 'expired' })
    }
    // Somebody has it already: it was sent, and the rest is told by recipient.
    expect(reports('half').at(-1)).toMatchObject({
      sent_ts: expect.any(Number),
      recipients: [{ status: 'accepted' }, { address: 'busy@example.net', status: 'refused', code: 'expired' }],
    })
    await service.call('POST', '/commands/activate', batch)
    await service.send({ id: 'after' })
    await service.until('the last', async () => (await service.message('after')).status === 'sent')
    expect(idsOf(sink.messages).sort()).toEqual(['after', 'half', 'in time'])
  })

  it('as expires_ts already past is never sent', async () => {
    const { service, sink, client, reports } = await openScene({ dialect })
    const past = Math.floor(Date.now() / 1000) - 10
    await service.send(...many(10, 'late', { expires_ts: past, priority: 0 }), { id: 'fresh' })
    await expectBalanced(service, client, [...many(10, 'late').map(({ id }) => id as string), 'fresh'])
    expect(idsOf(sink.messages)).toEqual(['fresh'])
    expect(reports('late1')).toMatchObject([{ code: 'expired', attempts: 0 }])
  })

  it('as expires_ts is kept also by what was claimed in time and waits behind a slow server', async () => {
    const dots: number[] = []
    const { service, sink, client, reports } = await openScene({
      dialect,
      account: { max_connections: 1 },
      sink: {
        behave: {
          final() {
            dots.push(Date.now())
            return { delayMs: 1_000 }
          },
        },
      },
    })
    const expires_ts = soon(2)
    await service.send(...many(5, 'm', { expires_ts }))
    await expectBalanced(service, client, ['m1', 'm2', 'm3', 'm4', 'm5'])
    // A content may be on its way when its time comes; the fifth would come a second later still.
    for (const at of dots) expect(at).toBeLessThan(expires_ts * 1000 + 500)
    expect(dots.length).toBeGreaterThan(0)
    expect(sink.messages).toHaveLength(dots.length)
    expect(reports('m5').at(-1)).toMatchObject({ code: 'expired', attempts: 0 })
    expect(idsOf(sink.messages)).not.toContain('m5')
  })
})
