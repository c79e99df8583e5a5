import { setImmediate as turn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { createBodyRoom } from './body-room.js'

it('bodies wait for room in the order in which they came, and each gives back what it took, once', async () => {
  const room = createBodyRoom(200)
  const went: string[] = []
  const take = (name: string, octets: number) =>
    room.take('them', octets).then(giveBack => {
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
  const giveBack = await room.take('one', 1_000)
  let went = false
  const next = room.take('another', 1).then(() => {
    went = true
  })
  await turn()
  expect(went).toBe(false)
  giveBack()
  await next
})

it('who has half of the room waits for his own, and the others go by', async () => {
  const room = createBodyRoom(100)
  const went: string[] = []
  const take = (who: string, octets: number) =>
    room.take(who, octets).then(giveBack => {
      went.push(`${who} ${octets}`)
      return giveBack
    })
  const first = await take('greedy', 40)
  void take('greedy', 30)
  void take('greedy', 10)
  void take('other', 45)
  await turn()
  expect(went).toEqual(['greedy 40', 'other 45'])
  first()
  await turn()
  expect(went).toEqual(['greedy 40', 'other 45', 'greedy 30', 'greedy 10'])
})

it('a body larger than half goes while its sender has no other', async () => {
  const room = createBodyRoom(100)
  const giveBack = await room.take('one', 90)
  giveBack()
  giveBack()
  await room.take('one', 90)
})

it('of one sender no more than half of the places wait, so that there are some for others', async () => {
  const room = createBodyRoom(1)
  await room.take('greedy', 1)
  for (let i = 0; i < 500; i += 1) void room.take('greedy', 1)
  await expect(room.take('greedy', 1)).rejects.toMatchObject({ code: 'too_many_requests' })
  let isRefused = false
  room.take('other', 1).catch(() => {
    isRefused = true
  })
  await turn()
  expect(isRefused).toBe(false)
})
