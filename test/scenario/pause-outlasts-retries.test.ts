/** A pause that outlasts the whole retry schedule: the tenant gets an answer, unless its account says to wait on. */
import { describe, expect, it } from 'vitest'
import { idsOf, openScene } from '../support/scene.js'
import type { SinkOptions } from '../support/smtp-sink.js'
import { expectBalanced, many } from '../support/story.js'

const LOGIN: SinkOptions = { auth: ['PLAIN'], users: { shop: 'right-password' } }
const WRONG = { user: 'shop', password: 'wrong-password' }
const REFUSED = '535 5.7.8 Authentication credentials invalid'

describe.each(['sqlite', 'postgres'] as const)('a pause longer than all retries on %s', dialect => {
  it('fails what waited through the whole retry schedule, with the words of the server, and lives on', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: LOGIN,
      account: WRONG,
      env: { GMP_RETRY_DELAYS: '1.5', GMP_MAX_RETRIES: '2' },
    })
    await service.send(...many(3, 'm'))
    await expectBalanced(service, client, ['m1', 'm2', 'm3'])
    for (const { id } of many(3, 'm')) {
      const all = reports(id as string)
      expect(all).toMatchObject([
        { deferred_reason: REFUSED },
        { error_ts: expect.any(Number), code: '535', attempts: 0 },
      ])
      expect(all[1]!.error).toContain(REFUSED)
    }
    expect(sink.countOf('MAIL')).toBe(0)

    // The account goes on being probed; what comes now has its own patience.
    sink.users.set('shop', 'wrong-password')
    await service.send({ id: 'next' })
    await expectBalanced(service, client, ['m1', 'm2', 'm3', 'next'])
    expect(idsOf(sink.messages)).toEqual(['next'])
  })

  it('with on_pause_timeout hold keeps what waits, however long', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: LOGIN,
      account: { ...WRONG, on_pause_timeout: 'hold' },
      env: { GMP_RETRY_DELAYS: '0.3', GMP_MAX_RETRIES: '1' },
    })
    await service.account(sink, { ...WRONG, id: 'impatient' })
    await service.send({ id: 'kept' })
    await service.until('the pause', () => reports('kept').length === 1)
    // Another account in the same plight, and later: when its mail has failed, the patience for ours is long over.
    await service.send({ id: 'failed', account_id: 'impatient' })
    await service.until('the other to fail', () => reports('failed').some(each => each.error_ts !== undefined))
    expect(reports('kept')).toHaveLength(1)
    expect(await service.message('kept')).toMatchObject({ status: 'deferred', waiting_for: 'paused_account' })
    sink.users.set('shop', 'wrong-password')
    await expectBalanced(service, client, ['kept', 'failed'])
    expect(idsOf(sink.messages)).toEqual(['kept'])
  })
})
