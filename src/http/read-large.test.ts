import { expect, it } from 'vitest'
import { readLarge } from './read-large.js'

const read = (text: string, mark: string | null = 'mark') => readLarge(Buffer.from(text), mark)
/** So many values, itself among them. */
const list = (values: number) =>
  `[${Array(values - 1)
    .fill('0')
    .join(',')}]`

it('a message has at most 100,000 values, and so has what stands beside the messages', () => {
  const message = (values: number) => `{"messages":[{"id":"a"},{"id":${list(values - 1)}}]}`
  expect(read(message(100_000)).messages).toHaveLength(2)
  expect(() => read(message(100_001))).toThrow('messages[1] has more than 100000 values')
  expect(() => read(`{"messages":[],"more":${list(100_000)}}`)).toThrow(
    'beside its messages has more than 100000 values',
  )
  expect(() => read(`{"ids":${list(100_000)}}`, null)).toThrow('The body has more than 100000 values')
  expect(read(`{"ids":${list(99_999)}}`, null).messages).toEqual([])
})

it('a body has at most 2,000,000, which is told before one of them is made', () => {
  const messages = (count: number) => `{"messages":[${Array(count).fill('{"a":0,"b":[]}').join(',')}]}`
  expect(read(messages(499_999)).messages).toHaveLength(499_999)
  // No JSON: it was not read.
  expect(() => read(`[${'{'.repeat(2_000_000)}`)).toThrow('The body has more than 2000000 values')
})

it('signs inside of texts are none', () => {
  const text = JSON.stringify({ messages: [{ subject: '\\",[{'.repeat(700_000) }] })
  expect(read(text).messages).toHaveLength(1)
})
