/** Many refusals at once: ten thousand greylisted recipients, and a server that ends every session with a 421. */
import { expect, it } from 'vitest'
import { opened, openScene } from '../support/scene.js'
import { greylist, startSink } from '../support/smtp-sink.js'
import { expectBalanced, many } from '../support/story.js'

const MESSAGES = 10
const RECIPIENTS = 1_000
const ACCOUNTS = 50
const BACKLOG = 20

it.each(['sqlite', 'postgres'] as const)('10,000 greylisted recipients cost an attempt each, on %s', async dialect => {
  const { service, sink, client, reports } = await openScene({ dialect, sink: { behave: greylist() } })
  const to = (message: number) => Array.from({ length: RECIPIENTS }, (_, i) => `r${i}@m${message}.example.net`)
  const messages = many(MESSAGES, 'm').map((message, i): Record<string, unknown> => ({ ...message, to: to(i) }))
  const ids = messages.map(({ id }) => id as string)
  await service.send(...messages)
  await service.until('all', () => client.finals().length === MESSAGES, 120_000)
  await expectBalanced(service, client, ids)
  const taken = sink.messages.flatMap(message => message.to)
  expect([taken.length, new Set(taken).size]).toEqual([MESSAGES * RECIPIENTS, MESSAGES * RECIPIENTS])
  // Each was asked for twice and no more.
  expect(sink.countOf('RCPT')).toBe(2 * MESSAGES * RECIPIENTS)
  for (const id of ids) {
    expect(reports(id).at(-1)).toMatchObject({ sent_ts: expect.any(Number), attempts: 2 })
    expect(reports(id)).toHaveLength(2)
  }
})

it.each(['greeting', 'ehlo', 'mail', 'rcpt', 'data'] as const)(
  'while every session ends with a 421 at %s, each account asks ever more rarely, and nothing is lost',
  async phase => {
    const { service, client } = await openScene({ account: null, env: { GMP_MAX_RETRIES: '100' } })
    let isOver = false
    const storm = () => (isOver ? null : '421 4.3.2 System not accepting network messages')
    const sink = await opened(startSink({ behave: { [phase]: storm } }), it => it.close())
    const accounts = Array.from({ length: ACCOUNTS }, (_, i) => `account${i}`)
    for (const id of accounts) await service.account(sink, { id })
    const messages = accounts.flatMap(id => many(BACKLOG, `${id}-`, { account_id: id }))
    await service.send(...messages)
    const paused = async () => (await service.call('GET', '/status')).body.paused_accounts.length
    await service.until('all to be paused', async () => (await paused()) === ACCOUNTS, 30_000)
    const before = sink.connections
    const from = performance.now()
    await service.until('some probes', () => sink.connections > before + 3 * ACCOUNTS, 30_000)
    // The first after 0.2 s, in the end every 0.5 s, and with each that goes through one message.
    const seconds = (performance.now() - from) / 1_000
    expect(sink.connections - before).toBeLessThan(ACCOUNTS * (10 + 10 * seconds))
    expect(sink.accepted).toBe(0)
    isOver = true
    await service.until('all sent', () => client.finals().length === messages.length, 60_000)
    const ids = messages.map(({ id }) => id as string)
    await expectBalanced(service, client, ids)
    expect(client.finals().every(({ sent_ts }) => sent_ts !== undefined)).toBe(true)
    expect(sink.accepted).toBe(messages.length)
  },
)
