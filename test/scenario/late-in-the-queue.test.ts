/**
 * Claims start where the last one ended (PostgreSQL). What comes to stand before that place without anybody telling is sent
 * all the same: a row committed late by another instance, one that an operator of the database changed.
 */
import { expect, it } from 'vitest'
import { idsOf, openScene } from '../support/scene.js'
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
