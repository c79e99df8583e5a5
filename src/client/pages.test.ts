/** Lists that go on, end, or are none. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type HttpSink, startHttpSink } from '../../test/support/http-sink.js'
import { createClient, type MailProxyClient } from './index.js'

let sink: HttpSink
beforeEach(async () => {
  sink = await startHttpSink()
})
afterEach(() => sink.close())

const client = () => createClient({ url: sink.url, token: 't', tenantId: 'shop', retry: false })
const answers = (...given: object[]) => sink.answer((_, i) => ({ body: given[Math.min(i, given.length - 1)] }))
const all = async (list: AsyncIterable<unknown>): Promise<unknown[]> => {
  const found: unknown[] = []
  for await (const each of list) found.push(each)
  return found
}

it('messages go on by the cursor until there is none', async () => {
  answers(
    { messages: [1, 2], next_cursor: 'c' },
    { messages: [], next_cursor: 'd' },
    { messages: [3], next_cursor: null },
  )
  expect(await all(client().listMessages({ limit: 2, active_only: true }))).toEqual([1, 2, 3])
  expect(sink.requests.map(each => each.path)).toEqual([
    '/messages?limit=2&active_only=true&tenant_id=shop',
    '/messages?limit=2&active_only=true&cursor=c&tenant_id=shop',
    '/messages?limit=2&active_only=true&cursor=d&tenant_id=shop',
  ])
})

it('reports go on from where was asked, each page with the cursor to keep', async () => {
  answers({ reports: [1], cursor: 'b', next_cursor: 'b' }, { reports: [2], cursor: 'c', next_cursor: null })
  const pages = await all(client().replayReports({ after: 'a', limit: 1 }))
  expect(pages).toEqual([
    { reports: [1], cursor: 'b' },
    { reports: [2], cursor: 'c' },
  ])
  expect(sink.requests.map(each => each.path)).toEqual([
    '/reports?after=a&limit=1&tenant_id=shop',
    '/reports?after=b&limit=1&tenant_id=shop',
  ])
})

const LISTS: readonly [string, (client: MailProxyClient) => AsyncIterable<unknown>][] = [
  ['messages', each => each.listMessages()],
  ['reports', each => each.replayReports()],
]

it.each(LISTS)('%s that are no page, or lead back to themselves, end by an error', async (field, listOf) => {
  for (const page of [
    { ok: true },
    { [field]: [] },
    { [field]: 'many', next_cursor: null },
    { [field]: [], next_cursor: 7 },
    { [field]: [], next_cursor: 'same' },
  ]) {
    const before = sink.requests.length
    answers(page)
    await expect(all(listOf(client()))).rejects.toMatchObject({ code: 'unexpected_answer' })
    expect(sink.requests.length - before).toBeLessThanOrEqual(2)
  }
})
