import { expect, test } from 'vitest'
import { gather } from './gather.js'

/** Work that ends when the test says so. */
function heldWork() {
  const calls: { items: readonly number[]; answer(): void; fail(error: Error): void }[] = []
  const work = (items: readonly number[]) =>
    new Promise<string[]>((resolve, reject) => {
      calls.push({ items, answer: () => resolve(items.map(each => `answer ${each}`)), fail: reject })
    })
  return { calls, work }
}

/** Long enough for what was answered in this turn to be followed by what waits. */
const turn = async () => {
  for (let turns = 0; turns < 2; turns += 1) await new Promise(resolve => setImmediate(resolve))
}

test('calls of one turn go together when it ends', async () => {
  const { calls, work } = heldWork()
  const ask = gather(work, { most: 10, atOnce: 1 })
  const answers = [[1, 2], [3]].map(ask)
  expect(calls).toEqual([])
  await turn()
  expect(calls.map(each => each.items)).toEqual([[1, 2, 3]])
  calls[0]!.answer()
  expect(await Promise.all(answers)).toEqual([['answer 1', 'answer 2'], ['answer 3']])
})

test('what comes while a call is under way goes together, and each has its own answers', async () => {
  const { calls, work } = heldWork()
  const ask = gather(work, { most: 10, atOnce: 1 })
  const first = ask([1])
  await turn()
  const answers = [first, ...[[2, 3], [4]].map(ask)]
  await turn()
  expect(calls).toHaveLength(1)
  calls[0]!.answer()
  await turn()
  expect(calls[1]!.items).toEqual([2, 3, 4])
  calls[1]!.answer()
  expect(await Promise.all(answers)).toEqual([['answer 1'], ['answer 2', 'answer 3'], ['answer 4']])
})

test('not more than the most goes together, and a call that has more goes alone', async () => {
  const { calls, work } = heldWork()
  const ask = gather(work, { most: 3, atOnce: 1 })
  const answers = [[1], [2], [3, 4], [5, 6], [7, 8, 9, 10], [11]].map(ask)
  for (let at = 0; at < 5; at += 1) {
    await turn()
    calls[at]!.answer()
  }
  await Promise.all(answers)
  expect(calls.map(each => each.items)).toEqual([[1, 2], [3, 4], [5, 6], [7, 8, 9, 10], [11]])
})

test('as many calls are under way as may be', async () => {
  const { calls, work } = heldWork()
  const ask = gather(work, { most: 10, atOnce: 2 })
  const answers: Promise<readonly string[]>[] = []
  for (const items of [[1], [2], [3]]) {
    answers.push(ask(items))
    await turn()
  }
  expect(calls.map(each => each.items)).toEqual([[1], [2]])
  calls[1]!.answer()
  await turn()
  expect(calls[2]!.items).toEqual([3])
  for (const each of calls) each.answer()
  await Promise.all(answers)
})

test('calls that failed together are asked for one by one, and only the wrong one fails', async () => {
  const seen: (readonly number[])[] = []
  const ask = gather(
    async (items: readonly number[]) => {
      seen.push(items)
      if (items.includes(3)) throw new Error('three')
      return items
    },
    { most: 10, atOnce: 1 },
  )
  const answers = [[1], [2], [3]].map(ask)
  expect(await Promise.allSettled(answers)).toMatchObject([
    { status: 'fulfilled', value: [1] },
    { status: 'fulfilled', value: [2] },
    { status: 'rejected', reason: new Error('three') },
  ])
  expect(seen).toEqual([[1, 2, 3], [1], [2], [3]])
  expect(await ask([4])).toEqual([4])
})

test('beside a call with an exclusive item no other is under way', async () => {
  const { calls, work } = heldWork()
  const ask = gather(work, { most: 10, atOnce: 2 }, item => item === 7)
  const answers: Promise<readonly string[]>[] = []
  for (const items of [[1], [7], [2]]) {
    answers.push(ask(items))
    await turn()
  }
  expect(calls.map(each => each.items)).toEqual([[1]])
  calls[0]!.answer()
  await turn()
  answers.push(ask([3]))
  await turn()
  expect(calls.map(each => each.items)).toEqual([[1], [7, 2]])
  calls[1]!.answer()
  await turn()
  calls[2]!.answer()
  await Promise.all(answers)
  expect(calls.map(each => each.items)).toEqual([[1], [7, 2], [3]])
})
