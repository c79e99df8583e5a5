/** What was claimed ahead of being sent is still the operator's: suspended, paused, deleted or overtaken, it goes back. */
import { describe, expect, it } from 'vitest'
import { idsOf, opened, openScene } from '../support/scene.js'
import { startSink } from '../support/smtp-sink.js'
import { expectBalanced, many } from '../support/story.js'

/** Quick at first, so that a batch is claimed ahead; then it takes its time. */
function slowing() {
  let delayMs = 0
  return { behave: { final: () => ({ delayMs }) }, slowDown: (ms: number) => (delayMs = ms) }
}

async function aheadOf(dialect: 'sqlite' | 'postgres') {
  const server = slowing()
  const scene = await openScene({ dialect, sink: { behave: server.behave }, account: { max_connections: 1 } })
  await scene.service.send(...many(150, 'm', { batch_code: 'b', priority: 3 }))
  await scene.sink.waitFor(20)
  // Three of them take longer than the dispatcher's next step, also on a busy machine.
  server.slowDown(600)
  const claimed = async () => {
    const rows = await scene.service.service.db!.read({ sql: 'select id from messages where stage = 3', params: [] })
    return rows.map(row => row.id as string)
  }
  await scene.service.until('some claimed ahead', async () => (await claimed()).length > 2)
  return { ...scene, service: scene.service, claimed, speedUp: () => server.slowDown(0) }
}

describe.each(['sqlite', 'postgres'] as const)('claimed ahead, on %s', dialect => {
  it.each([
    ['a suspended batch', '/commands/suspend', { tenant_id: 'default', batch_code: 'b' }],
    ['a suspended tenant', '/commands/suspend', { tenant_id: 'default' }],
    ['the suspended scheduler', '/commands/suspend', {}],
    ['an account paused by hand', '/account/main/pause?tenant_id=default', {}],
  ])('of %s nothing more is sent but what is on its way, and it can be corrected', async (_, path, body) => {
    const { service, sink, claimed } = await aheadOf(dialect)
    expect((await service.call('POST', path, body)).status).toBe(200)
    const sent = sink.accepted
    await service.until('all given back', async () => (await claimed()).length === 0)
    expect(sink.accepted - sent).toBeLessThanOrEqual(2)
    const corrected = await service.send({ id: 'm150', batch_code: 'b', subject: 'corrected' })
    expect(corrected).toMatchObject({ queued: 1, rejected: [] })
  })

  it('of a deleted account it ends with the rest of its queue', async () => {
    const { service, sink, client, reports } = await aheadOf(dialect)
    expect((await service.call('DELETE', '/account/main?tenant_id=default')).status).toBe(200)
    await expectBalanced(
      service,
      client,
      many(150, 'm').map(each => each.id as string),
    )
    expect(reports('m150').at(-1)).toMatchObject({ code: 'account_deleted' })
    expect(sink.accepted).toBeLessThan(100)
  })

  it('it is overtaken by an immediate message', async () => {
    const { service, sink, speedUp } = await aheadOf(dialect)
    await service.send({ id: 'now', priority: 0 })
    const before = sink.accepted
    await service.until('the immediate one', () => idsOf(sink.messages).includes('now'))
    expect(idsOf(sink.messages).indexOf('now') - before).toBeLessThanOrEqual(3)
    speedUp()
  })
})

it('after a time in which nobody probed, a paused queue is not failed before its server was asked again', async () => {
  const env = { GMP_RETRY_DELAYS: '0.4', GMP_MAX_RETRIES: '1', GMP_PROBE_FIRST: '0.2', GMP_PROBE_MAX: '0.2' }
  const scene = await openScene({ env, sink: { behave: { greeting: () => '421 4.3.2 Down' } } })
  await scene.service.send(...many(3, 'm'))
  await scene.service.until('the pause', async () => {
    const { body } = await scene.service.call('GET', '/account/main?tenant_id=default')
    return body.paused
  })
  await scene.service.stop()
  scene.sink.behave({})
  // Longer than all retries.
  await new Promise(done => setTimeout(done, 1_000))
  const service = await scene.restart()
  await expectBalanced(service, scene.client, ['m1', 'm2', 'm3'])
  expect(scene.sink.accepted).toBe(3)
})

it('a message that ends after an attempt in doubt says so in its report', async () => {
  const { service, client, reports } = await openScene({
    env: { GMP_MAX_RETRIES: '0' },
    sink: { behave: { final: () => ({ cut: true, keep: true }) } },
  })
  await service.send({ id: 'm1' })
  await expectBalanced(service, client, ['m1'])
  expect(reports('m1')).toMatchObject([{ error_ts: expect.any(Number), in_doubt: true }])
})

it('servers that hang give their places to one that was not heard of yet', async () => {
  const { service } = await openScene({
    env: { GMP_MAX_CONCURRENT_SENDS: '10', GMP_SLOW_SEND_SECONDS: '1', GMP_STOP_TIMEOUT: '1' },
    account: null,
  })
  const hang = { mail: () => ({ silent: true }) as const }
  const dead = await Promise.all(
    Array.from({ length: 20 }, () => opened(startSink({ behave: hang }), each => each.close())),
  )
  for (const [i, each] of dead.entries()) await service.account(each, { id: `dead${i}` })
  await service.send(...many(20, 'dead').map((each, i) => ({ ...each, account_id: `dead${i}` })))
  await service.until('the places taken', () => dead.filter(each => each.openConnections > 0).length >= 8)
  const live = await opened(startSink(), each => each.close())
  await service.account(live, { id: 'live' })
  await service.send({ id: 'live', account_id: 'live' })
  // Their command time-out is five minutes away.
  await live.waitFor(1)
})
