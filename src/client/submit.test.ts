/** How addMessages splits, what it answers when some are refused, and what it tells when a request in between fails. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type HttpSink, type SinkAnswer, type SinkRequest, startHttpSink } from '../../test/support/http-sink.js'
import { createClient, type MailProxyError, type MessageInput } from './index.js'

const message = (id: string, body = 'Body'): MessageInput => ({
  id,
  from: 'a@example.org',
  to: 'b@example.net',
  subject: 's',
  body,
})
const many = (count: number) => Array.from({ length: count }, (_, i) => message(`m${i}`))
const idsIn = ({ json }: SinkRequest) => (json as { messages: { id: string }[] }).messages.map(({ id }) => id)
const queued = (request: SinkRequest): SinkAnswer => ({
  body: { ok: true, queued: idsIn(request).length, rejected: [] },
})

describe('addMessages', () => {
  let sink: HttpSink
  beforeEach(async () => {
    sink = await startHttpSink()
    sink.answer(queued)
  })
  afterEach(() => sink.close())
  const client = () => createClient({ url: sink.url, token: 't', retry: { attempts: 2, firstDelayMs: 1 } })

  it('asks nothing for no messages', async () => {
    expect(await client().addMessages([])).toEqual({ answered: 0, queued: 0, rejected: [], warnings: [] })
    expect(sink.requests).toEqual([])
  })

  it('splits by number, in order', async () => {
    expect(await client().addMessages(many(2500))).toMatchObject({ answered: 2500, queued: 2500 })
    expect(sink.requests.map(each => idsIn(each).length)).toEqual([1000, 1000, 500])
    expect(sink.requests.flatMap(idsIn)).toEqual(many(2500).map(({ id }) => id))
  })

  it('never asks for more than the service takes in a request', async () => {
    await client().addMessages(many(10_001), { batchSize: 50_000 })
    expect(sink.requests.map(each => idsIn(each).length)).toEqual([10_000, 1])
  })

  it('splits by size, a large one alone', async () => {
    const messages = [message('a'), message('b', 'x'.repeat(5000)), message('c'), message('d')]
    await client().addMessages(messages, { batchCharacters: 1000 })
    expect(sink.requests.map(idsIn)).toEqual([['a'], ['b'], ['c', 'd']])
  })

  it('puts options into the request', async () => {
    await client().addMessages([message('a')], { defaultPriority: 'low', strict: true, tenantId: 'acme' })
    expect(sink.requests[0]).toMatchObject({
      path: '/commands/add-messages?strict=true&tenant_id=acme',
      json: { messages: [message('a')], default_priority: 'low' },
    })
  })

  it('tells a rejected message by its place among all', async () => {
    sink.answer((request, i) =>
      i === 0
        ? { body: { ok: true, queued: 1, rejected: [{ index: 1, id: 'm1', reason: 'no', code: 'invalid_field' }] } }
        : {
            // Nothing of this request was queued.
            status: 400,
            body: {
              ok: false,
              error: 'none',
              code: 'command_failed',
              queued: 0,
              rejected: idsIn(request).map((id, index) => ({ index, id, reason: 'no', code: 'already_sent' })),
              warnings: [{ id: 'm2', field: 'x', hint: 'unknown' }],
            },
          },
    )
    const answer = await client().addMessages(many(4), { batchSize: 2 })
    expect(answer).toMatchObject({ answered: 4, queued: 1, warnings: [{ id: 'm2' }] })
    expect(answer.rejected.map(({ index, id, code }) => [index, id, code])).toEqual([
      [1, 'm1', 'invalid_field'],
      [2, 'm2', 'already_sent'],
      [3, 'm3', 'already_sent'],
    ])
  })

  it('takes a full quota for the answer that it is', async () => {
    const rejected = [{ index: 0, id: 'm0', reason: 'full', code: 'quota_exceeded' }]
    sink.answer(() => ({
      status: 429,
      body: { ok: false, error: 'full', code: 'quota_exceeded', queued: 0, rejected },
    }))
    expect(await client().addMessages(many(1))).toMatchObject({ queued: 0, rejected })
    expect(sink.requests).toHaveLength(1)
  })

  it('submits the same again when the answer got lost', async () => {
    sink.answer((request, i) => (i === 0 ? { close: true } : queued(request)))
    expect(await client().addMessages(many(2))).toMatchObject({ queued: 2 })
    expect(sink.requests[1]!.body).toBe(sink.requests[0]!.body)
  })

  it('says what was answered before a request that failed', async () => {
    sink.answer((request, i) =>
      i === 0 ? queued(request) : { status: 401, body: { ok: false, error: 'who?', code: 'unauthorized' } },
    )
    const error = (await client()
      .addMessages(many(5), { batchSize: 2 })
      .catch(each => each)) as MailProxyError
    expect(error).toMatchObject({ code: 'unauthorized', partial: { answered: 2, queued: 2, rejected: [] } })
    expect(sink.requests).toHaveLength(2)
  })

  it.each<[string, SinkAnswer]>([
    ['the service', { body: { ok: false, error: 'too large', code: 'body_too_large', details: { max_bytes: 1000 } } }],
    ['a proxy before it', { headers: { 'content-type': 'text/html' }, body: '<h1>Too large</h1>' }],
  ])('halves what is too large for %s, and rejects alone what is too large alone', async (_, refusal) => {
    sink.answer(request => (request.body.length > 1000 ? { ...refusal, status: 413 } : queued(request)))
    const messages = [message('a'), message('b'), message('big', 'x'.repeat(2000)), message('c')]
    const answer = await client().addMessages(messages)
    expect(answer).toMatchObject({
      answered: 4,
      queued: 3,
      rejected: [{ index: 2, id: 'big', code: 'body_too_large' }],
    })
    expect(sink.requests.filter(each => each.body.length <= 1000).flatMap(idsIn)).toEqual(['a', 'b', 'c'])
  })
  it.each<[string, object]>([
    ['says nothing of them', { ok: true }],
    ['counts too few', { ok: true, queued: 1, rejected: [] }],
    ['counts too many', { ok: true, queued: 2, rejected: [{ index: 0, id: 'm0', reason: 'no', code: 'x' }] }],
    ['counts in words', { ok: true, queued: '2', rejected: [] }],
    ['rejects what nobody sent', { ok: true, queued: 1, rejected: [{ index: 7, id: 'm7', reason: 'no', code: 'x' }] }],
    ['rejects nothing in particular', { ok: true, queued: 1, rejected: [null] }],
    ['is a list', []],
  ])('an answer that %s is no submission: the messages stay the application’s', async (_, body) => {
    sink.answer(() => ({ body }))
    const error = (await client()
      .addMessages(many(2))
      .catch(each => each)) as MailProxyError
    expect(error).toMatchObject({
      name: 'MailProxyError',
      code: 'unexpected_answer',
      partial: { answered: 0, queued: 0 },
    })
    expect(sink.requests).toHaveLength(1)
  })
})
