import { setImmediate as turn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { createBodyRoom } from './body-room.js'

it('bodies wait for room in the order in which they came, and each gives back what it took, once', async () => {
  const room = createBodyRoom(100)
  const went: string[] = []
  const take = (name: string, octets: number) =>
    room.take(octets).then(giveBack => {
      went.push(name)
      return giveBack
    })
  const first = await take('first', 60)
  const second = take('second', 60)
  const small = take('small', 10)
  await turn()
  // Small as it is, it does not overtake: a stream of small ones would hold up a large one for ever.
  expect(went).toEqual(['first'])
  first()
  first()
  await second
  await small
  expect(went).toEqual(['first', 'second', 'small'])
})

it('one larger than all the room goes alone', async () => {
  const room = createBodyRoom(100)
  const giveBack = await room.take(1_000)
  let went = false
  const next = room.take(1).then(() => {
    went = true
  })
  await turn()
  expect(went).toBe(false)
  giveBack()
  await next
})
