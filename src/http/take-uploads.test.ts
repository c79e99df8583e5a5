import { createHash, randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { takeFromMessages, takeUploads } from './take-uploads.js'

const MARK = 'mark-0123'
const content = randomBytes(1_500_001)
const base64 = content.toString('base64')
const body = (storagePath: string, more: object = {}) => ({
  messages: [{ id: 'm1', attachments: [{ filename: 'a.bin', storage_path: storagePath, ...more }] }],
})

function take(text: string) {
  const { rest, uploads } = takeUploads(Buffer.from(text), MARK)
  const wholes = uploads.map(({ parts }) => Buffer.concat(parts))
  return { rest: rest.toString(), uploads, wholes }
}

it.each([
  ['plain', JSON.stringify(body(base64)), false],
  ['with its prefix', JSON.stringify(body(`base64:${base64}`)), true],
  ['laid out for people', JSON.stringify(body(base64), null, 4), false],
  ['with slashes escaped, as PHP does', JSON.stringify(body(base64)).replaceAll('/', '\\/'), false],
  ['broken into lines', JSON.stringify(body(base64.replace(/.{76}/g, '$&\r\n'))), false],
])('a long content is taken out as octets: %s', (_, text, isPrefixed) => {
  const { rest, uploads, wholes } = take(text)
  expect(uploads).toMatchObject([
    { sizeBytes: content.length, md5: createHash('md5').update(content).digest('hex'), isPrefixed },
  ])
  expect(wholes[0]!.equals(content)).toBe(true)
  expect(Math.max(...uploads[0]!.parts.map(part => part.length))).toBeLessThanOrEqual(512 * 1024)
  expect(JSON.parse(rest)).toEqual(JSON.parse(JSON.stringify(body(`${MARK}:0`))))
})

it.each([
  ['is short', JSON.stringify(body(base64.slice(0, 60_000)))],
  ['has raw line breaks, which are no JSON', JSON.stringify(body(base64)).replace(/.{76}/g, '$&\n')],
  ['is no base64', JSON.stringify(body(`${base64}!`))],
  ['has octets after its end', JSON.stringify(body(`${base64}==${base64}`))],
  // Read anew from each sign of it, this one would hold the thread for hours.
  ['is an end that goes on for long and is none', JSON.stringify(body(`${'='.repeat(3_000_000)}x`))],
  ['stands under another key', JSON.stringify(body('x', { other: base64 }))],
  ['is quoted inside another string', JSON.stringify({ body: `"storage_path":"${base64}"` })],
  ['is never closed', JSON.stringify(body(base64)).slice(0, -20)],
])('a content stays where it is when it %s', (_, text) => {
  expect(take(text)).toMatchObject({ rest: text, uploads: [] })
})

it('many are told apart by their number', () => {
  const others = [randomBytes(70_000), randomBytes(100_000)]
  const messages = others.flatMap(each => body(each.toString('base64')).messages)
  const { rest, wholes } = take(JSON.stringify({ messages }))
  expect(wholes.map((whole, i) => whole.equals(others[i]!))).toEqual([true, true])
  const read = JSON.parse(rest).messages as { attachments: { storage_path: string }[] }[]
  expect(read.map(each => each.attachments[0]!.storage_path)).toEqual([`${MARK}:0`, `${MARK}:1`])
})

it('of many short ones in one message all go out but the first half megabyte, however many messages bring few', () => {
  const short = randomBytes(33_000).toString('base64')
  const message = (id: string, count: number, content = short) => ({
    id,
    attachments: Array.from({ length: count }, () => ({ filename: 'a', storage_path: content })),
  })
  const inline = Math.floor((512 * 1024) / short.length)
  expect(take(JSON.stringify({ messages: [message('many', inline + 20)] })).wholes.map(each => each.length)).toEqual(
    Array.from({ length: 20 }, () => 33_000),
  )
  const few = Array.from({ length: 20 }, (_, i) => message(`m${i}`, inline))
  expect(take(JSON.stringify({ messages: few }, null, 2)).uploads).toEqual([])
  // As long as a path may be, with every character escaped.
  expect(take(JSON.stringify({ messages: [message('paths', 1_000, '/'.repeat(4_096))] })).uploads).toEqual([])
  expect(
    take(JSON.stringify({ messages: [message('paths', 200, '/'.repeat(4_096))] }).replaceAll('/', '\\/')),
  ).toMatchObject({ uploads: [] })
})

it.each([
  ['an escape in the name', JSON.stringify(body(base64)).replace('storage_path', 'storage\\u005fpath')],
  [
    'line breaks',
    JSON.stringify(body(base64.replace(/.{76}/g, '$&\r\n'))).replace('storage_path', 'storage\\u005fpath'),
  ],
])('a long content that the octets do not show is taken out of the message as it was read: %s', (_, text) => {
  expect(take(text).uploads).toEqual([])
  const { messages } = JSON.parse(text)
  const uploads: Parameters<typeof takeFromMessages>[2] = []
  takeFromMessages(messages, MARK, uploads)
  expect(Buffer.concat(uploads[0]!.parts).equals(content)).toBe(true)
  expect(messages).toEqual(body(`${MARK}:0`).messages)
})

it('a list that is given twice does not make room for a second half megabyte', () => {
  const short = randomBytes(33_000).toString('base64')
  const attachment = JSON.stringify({ filename: 'a', storage_path: short })
  const inline = Math.floor((512 * 1024) / short.length)
  const item = `${attachment.slice(0, -1)},"x":{"attachments":[]}}`
  const text = `{"messages":[{"id":"m","attachments":[${Array(inline + 20)
    .fill(item)
    .join(',')}]}]}`
  expect(take(text).uploads).toEqual([])
  const uploads: Parameters<typeof takeFromMessages>[2] = []
  takeFromMessages(JSON.parse(text).messages, MARK, uploads)
  expect(uploads.map(each => each.sizeBytes)).toEqual(Array(20).fill(33_000))
})

it('what is no base64 once it was read stays where it is', () => {
  for (const wrong of [
    `${base64}!`,
    `${base64.slice(0, 400)}\\n${base64.slice(400)}`,
    `${base64.slice(0, 400)}\u0141${base64}`,
  ]) {
    const { messages } = body(wrong)
    const uploads: Parameters<typeof takeFromMessages>[2] = []
    takeFromMessages([...messages, null, { attachments: [null, 7] }], MARK, uploads)
    expect([uploads, messages[0]!.attachments[0]!.storage_path]).toEqual([[], wrong])
  }
})

it('an octet that is no UTF-8 and a space elsewhere is not swallowed', () => {
  const text = JSON.stringify(body(`${base64.slice(0, 400)}\u00a0${base64.slice(400)}`))
  expect(takeUploads(Buffer.from(text, 'latin1'), MARK).uploads).toEqual([])
})
