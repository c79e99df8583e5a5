import { afterEach, describe, expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import { sendOptions, testAccount, testTransport, textMail } from '../../test/support/smtp-rig.js'
import { type SinkOptions, startSink } from '../../test/support/smtp-sink.js'
import type { Account } from '../accounts/account.js'
import type { TransportDeps } from './pool.js'
import type { SendOptions } from './transport.js'

const leftovers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of leftovers.splice(0)) await close()
})

async function rig(options: SinkOptions = {}, deps: Partial<TransportDeps> = {}) {
  const sink = await startSink(options)
  const transport = testTransport({}, deps)
  leftovers.push(
    () => transport.close(),
    () => sink.close(),
  )
  const send = (account: Partial<Account> = {}, options: Partial<SendOptions> = {}) =>
    transport.send(testAccount(sink, account), { from: 'a@x.test', to: ['b@x.test'] }, textMail(), sendOptions(options))
  return { sink, transport, send }
}

/** Waits for what happens by itself, turn by turn of the event loop. */
async function until(condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !condition(); ) {
    if (Date.now() > end) expect.fail('it never came')
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}

describe('keeping connections', () => {
  it('uses one again, and answers what is open and idle', async () => {
    const { sink, transport, send } = await rig()
    for (let i = 0; i < 5; i++) await send()
    expect(sink.connections).toBe(1)
    expect(transport.stats()).toMatchObject({ open: 1, idle: 1 })
  })

  it('ends one with QUIT after its messages', async () => {
    const { sink, send } = await rig()
    for (let i = 0; i < 5; i++) await send({ maxMessagesPerConnection: 2 })
    expect(sink.connections).toBe(3)
    await until(() => sink.countOf('QUIT') === 2)
  })

  it('never uses one that is past its idle life', async () => {
    const clock = createFakeClock()
    const { sink, send } = await rig({}, { clock, sweepEveryMs: 1e9 })
    await send({ ttlSeconds: 10 })
    await clock.advance(9_999)
    await send({ ttlSeconds: 10 })
    expect(sink.connections).toBe(1)
    await clock.advance(10_000)
    await send({ ttlSeconds: 10 })
    expect(sink.connections).toBe(2)
  })

  it('keeps so many of all accounts together, and lets the longest idle go', async () => {
    const { sink, transport, send } = await rig({}, { mostIdle: 3 })
    for (const key of [1, 2, 3, 4]) await send({ key })
    await until(() => transport.stats().open === 2)
    expect(transport.stats().idle).toBe(2)
    expect(sink.countOf('QUIT')).toBe(2)
    await send({ key: 3 })
    await send({ key: 4 })
    expect(sink.connections).toBe(4)
    await send({ key: 1 })
    expect(sink.connections).toBe(5)
  })

  it('keeps none when the idle life is 0', async () => {
    const { sink, transport, send } = await rig()
    await send({ ttlSeconds: 0 })
    await until(() => transport.stats().open === 0)
    expect(sink.countOf('QUIT')).toBe(1)
  })

  it('sweeps idle connections past their time, politely', async () => {
    const clock = createFakeClock()
    const { sink, transport, send } = await rig({}, { clock, sweepEveryMs: 5 })
    await send({ ttlSeconds: 10 })
    await clock.advance(10_000)
    await until(() => transport.stats().open === 0)
    expect(sink.countOf('QUIT')).toBe(1)
  })

  it.each<[string, Partial<Account>]>([
    ['password', { password: 'other-secret' }],
    ['user', { user: 'bob' }],
    ['use_tls', { useTls: false }],
    ['tls_verify', { tlsVerify: false }],
    ['host', { host: 'localhost' }],
    ['trust in the host', { hostTrusted: false }],
  ])('never uses one whose %s is another', async (_what, change) => {
    const users = { alice: 'secret', bob: 'secret' }
    const { sink, send } = await rig({ users, auth: ['PLAIN'] })
    const before = { user: 'alice', password: 'secret' }
    await send(before)
    if (change.password) sink.users.set('alice', change.password)
    await send({ ...before, ...change })
    expect(sink.connections).toBe(2)
    expect(new Set(sink.messages.map(({ connectionId }) => connectionId)).size).toBe(2)
  })

  it('never shares one between accounts', async () => {
    const { sink, send } = await rig()
    await send({ key: 1 })
    await send({ key: 2 })
    expect(sink.connections).toBe(2)
  })
})

describe('a kept connection the server has ended', () => {
  it('is noticed while idle', async () => {
    const { sink, transport, send } = await rig()
    await send()
    sink.dropAll()
    await until(() => transport.stats().open === 0)
    expect(transport.stats().idle).toBe(0)
    await send()
    expect(sink.accepted).toBe(2)
  })

  it('is dropped when the server speaks without being asked', async () => {
    const { sink, transport, send } = await rig()
    await send()
    sink.sayToAll('250 2.0.0 By the way\r\n')
    await until(() => transport.stats().open === 0)
    await send()
    expect([sink.connections, sink.accepted]).toEqual([2, 2])
  })

  it.each([
    ['pipelined', true],
    ['one by one', false],
  ])(
    'costs nothing when it breaks at the next MAIL, %s: the message goes over a fresh one',
    async (_how, pipelining) => {
      const { sink, send } = await rig({ pipelining })
      await send()
      sink.behave({ mail: ({ connectionId }) => (connectionId === 1 ? { cut: true } : null) })
      expect(await send()).toMatchObject({ data: { code: 250 } })
      expect([sink.connections, sink.accepted]).toEqual([2, 2])
    },
  )

  it('costs nothing either when it answers the next MAIL with 421', async () => {
    const { sink, send } = await rig()
    await send()
    sink.behave({
      mail: ({ connectionId }) => (connectionId === 1 ? { cut: true, reply: '421 4.4.2 Idle too long' } : null),
    })
    expect(await send()).toMatchObject({ data: { code: 250 } })
    expect(sink.connections).toBe(2)
  })

  it('is tried again once only, and a fresh connection never', async () => {
    const { sink, send } = await rig()
    await send()
    sink.behave({ mail: () => ({ cut: true }) })
    await expect(send()).rejects.toMatchObject({ info: { scope: 'session', phase: 'mail' } })
    expect(sink.connections).toBe(2)
    await expect(send()).rejects.toMatchObject({ info: { phase: 'mail' } })
    expect(sink.connections).toBe(3)
  })

  it.each(['rcpt', 'data', 'body', 'final'] as const)(
    'is no reason to send again once it breaks at %s',
    async phase => {
      const { sink, send } = await rig({ pipelining: false })
      await send()
      sink.behave({ [phase]: () => ({ cut: true }) })
      await expect(send()).rejects.toMatchObject({ info: { scope: 'session' } })
      expect(sink.connections).toBe(1)
    },
  )

  it('is not used when it said more than it was asked', async () => {
    const { sink, transport, send } = await rig({ behave: { final: () => '250 2.0.0 Ok\r\n250 and more' } })
    expect(await send()).toMatchObject({ data: { code: 250 } })
    expect(transport.stats()).toMatchObject({ open: 0, idle: 0 })
    await send()
    expect(sink.connections).toBe(2)
  })
})

describe('the ceiling', () => {
  it('holds, and who waits is served in order', async () => {
    const { sink, send } = await rig({ behave: { final: () => ({ delayMs: 5 }) } })
    let most = 0
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        await send({ maxConnections: 3 }, { beforeFinalDot: () => void order.push(i) })
        most = Math.max(most, sink.openConnections)
      }),
    )
    expect(most).toBe(3)
    expect(sink.connections).toBe(3)
    expect(order).toEqual([...order].sort((a, b) => a - b))
  })

  it('passes the turn on when a send fails, and forgets who gave up waiting', async () => {
    const { sink, send } = await rig({
      behave: { mail: ({ n }) => (n === 1 ? { delayMs: 20, reply: 'what?' } : null) },
    })
    const first = send({ maxConnections: 1 })
    const stop = new AbortController()
    const second = send({ maxConnections: 1 }, { signal: stop.signal })
    const third = send({ maxConnections: 1 })
    stop.abort()
    await expect(second).rejects.toMatchObject({ info: { scope: 'session', phase: 'connect', reachedData: false } })
    await expect(first).rejects.toMatchObject({ info: { phase: 'mail' } })
    expect(await third).toMatchObject({ data: { code: 250 } })
    expect(sink.accepted).toBe(1)
  })
})

describe('the end', () => {
  it('says QUIT on what is idle and hangs up', async () => {
    const { sink, transport, send } = await rig()
    await Promise.all([send(), send()])
    await transport.close()
    expect(sink.countOf('QUIT')).toBe(2)
    expect(transport.stats()).toMatchObject({ open: 0, idle: 0 })
    await expect(send()).rejects.toMatchObject({ info: { scope: 'session', reachedData: false } })
  })

  it('does not wait longer than a second for a server that never answers', async () => {
    const { transport, send } = await rig({ behave: { quit: () => ({ silent: true }) } })
    await send()
    const startedAt = performance.now()
    await transport.close()
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    expect(transport.stats().open).toBe(0)
  })

  it('lets a running transaction finish, and keeps its connection no longer', async () => {
    const { sink, transport, send } = await rig()
    const closing: Promise<void>[] = []
    expect(await send({}, { beforeFinalDot: () => void closing.push(transport.close()) })).toMatchObject({
      data: { code: 250 },
    })
    await Promise.all(closing)
    await until(() => transport.stats().open === 0)
    expect(sink.countOf('QUIT')).toBe(1)
  })
})

describe('many sends', () => {
  it('share a signal without a listener each', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    const { sink, send } = await rig()
    const { signal } = new AbortController()
    await Promise.all(Array.from({ length: 60 }, () => send({ maxConnections: 30 }, { signal })))
    await new Promise(setImmediate)
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
    expect(sink.accepted).toBe(60)
  })
})
