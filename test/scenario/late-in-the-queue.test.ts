/**
 * Claims start where the last one ended (PostgreSQL). What comes to stand before that place without anybody telling is sent
 * all the same: a row committed late by another instance, one that an operator of the database changed.
 */
import { describe, expect, it } from 'vitest'
import { idsOf, openScene, type Scene } from '../support/scene.js'
import { expectBalanced, many } from '../support/story.js'

it.each([
  ['with its old priority', 3],
  ['with a more urgent one', 1],
])('what becomes ready behind the claims, %s, is left by none', async (_, priority) => {
  const { service, sink, client } = await openScene({ dialect: 'postgres', account: { max_connections: 5 } })
  const db = service.service.db!
  await service.call('POST', '/commands/suspend', {})
  await service.send(...many(400, 'm', { priority: 3 }))
  // As if their transaction had not been committed yet.
  const late = ['m1', 'm2', 'm3']
  const named = `id in ('${late.join("', '")}')`
  await db.write([{ sql: `update messages set stage = 2, due_at = $1 where ${named}`, params: [9e15] }])
  await service.call('POST', '/commands/activate', {})
  await sink.waitFor(120)
  await db.write([
    { sql: `update messages set stage = 1, due_at = 0, priority = $1 where ${named}`, params: [priority] },
  ])
  await expectBalanced(
    service,
    client,
    many(400, 'm').map(each => each.id as string),
  )
  expect(idsOf(sink.messages).length).toBe(400)
})

/** The first that is ready is one that nobody may claim: it must not hide those behind it. */
describe.each(['sqlite', 'postgres'] as const)('behind a suspended message that stands first, on %s', dialect => {
  const busy = async () => {
    const sink = { behave: { final: () => ({ delayMs: 20 }) } }
    const scene = await openScene({ dialect, sink, account: { max_connections: 2 } })
    const { service } = scene
    for (const batch of ['first', 'behind'])
      await service.call('POST', `/commands/suspend?tenant_id=default&batch_code=${batch}`)
    await service.send({ id: 'never', batch_code: 'first', priority: 0 })
    await service.send(
      { id: 'urgent', batch_code: 'behind', priority: 1 },
      { id: 'usual', batch_code: 'behind', priority: 2 },
    )
    await service.send(...many(400, 'm', { priority: 3 }))
    await scene.sink.waitFor(50)
    return scene
  }
  /** Of 402; what waits for all the others is the last. */
  const placesOf = (sink: Scene['sink'], ...ids: string[]) => ids.map(id => idsOf(sink.messages).indexOf(id))

  it('an activated batch goes before what is less urgent', async () => {
    const { service, sink } = await busy()
    await service.call('POST', '/commands/activate?tenant_id=default&batch_code=behind')
    await sink.waitFor(402)
    for (const place of placesOf(sink, 'urgent', 'usual')) expect(place).toBeLessThan(300)
  })

  it('what no hint told of is found while less urgent ones are being sent', async () => {
    const { service, sink } = await busy()
    await service.service.db!.write([
      { sql: "update messages set batch_code = null where id in ('urgent', 'usual')", params: [] },
    ])
    await sink.waitFor(402)
    for (const place of placesOf(sink, 'urgent', 'usual')) expect(place).toBeLessThan(300)
  })
})
