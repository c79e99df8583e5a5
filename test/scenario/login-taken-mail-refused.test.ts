/** A server that takes the login and then wants nothing more of it: probes succeed, and still nothing goes round for ever. */
import { describe, expect, it } from 'vitest'
import { idsOf, openScene } from '../support/scene.js'
import { expectBalanced, many } from '../support/story.js'

const ENV = { GMP_RETRY_DELAYS: '0.2', GMP_MAX_RETRIES: '2', GMP_PROBE_FIRST: '0.1', GMP_PROBE_MAX: '0.2' }

describe.each(['sqlite', 'postgres'] as const)('a server that takes the login, on %s', dialect => {
  it('and closes on one message: that one ends after its retries, the others go', async () => {
    const isPoison = (content: Buffer) => content.includes('X-Genro-Mail-ID: poison')
    const { service, sink, client, reports } = await openScene({
      dialect,
      env: ENV,
      sink: { behave: { final: ({ content }) => (isPoison(content) ? '421 4.7.0 closing' : null) } },
    })
    await service.send({ id: 'poison' }, ...many(5, 'm'))
    const ids = ['poison', ...many(5, 'm').map(each => each.id as string)]
    await expectBalanced(service, client, ids)
    expect(idsOf(sink.messages).sort()).toEqual(ids.slice(1))
    expect(reports('poison').at(-1)).toMatchObject({ code: '421', attempts: 3 })
    // Those behind it kept their attempts.
    for (const id of ids.slice(1)) expect(reports(id).at(-1)).toMatchObject({ attempts: 1 })
    await service.until('the last pause to end', async () => {
      const { body } = await service.call('GET', '/account/main?tenant_id=default')
      return body.paused === false
    })
  })

  it('and refuses every MAIL for want of one: each message ends, and the server is asked ever more rarely', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      env: ENV,
      sink: { behave: { mail: () => '530 5.7.0 Authentication required' } },
    })
    await service.send(...many(3, 'm'))
    await expectBalanced(service, client, ['m1', 'm2', 'm3'])
    for (const { id } of many(3, 'm')) expect(reports(id as string).at(-1)!.error).toContain('530 5.7.0')
    expect(sink.countOf('MAIL')).toBeLessThanOrEqual(9)
  })
})
