/** The envelope that leaves with the final dot of the message before: what comes of either when the other goes wrong. */
import { createServer, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { type Script, startProxy } from '../../test/support/proxy.js'
import {
  type Fault,
  garbage,
  halfOpen,
  omitted,
  reset,
  smtpScript,
  twice,
  type WirePhase,
} from '../../test/support/smtp-proxy.js'
import { SHORT_MS, sendOptions, streamMail, testAccount, testTransport, textMail } from '../../test/support/smtp-rig.js'
import { type SinkBehaviour, type SinkOptions, type SinkPhase, startSink } from '../../test/support/smtp-sink.js'
import type { Account } from '../accounts/account.js'
import type { Config } from '../config.js'
import { classifyReplies } from '../delivery/classify.js'
import { type Letter, type Mail, type MailTransport, type Replies, type SendOptions, SmtpFailure } from './transport.js'

const leftovers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of leftovers.splice(0)) await close()
})

function letterTo(name: string, mail: Mail = textMail(`Subject: ${name}\r\n\r\nHello.\r\n`)): Letter {
  return { envelope: { from: `from-${name}@x.test`, to: [`${name}@x.test`] }, mail }
}

async function rig(options: SinkOptions = {}, config: Partial<Config['smtp']> = {}, script?: () => Script) {
  const sink = await startSink(options)
  const proxy = script === undefined ? null : await startProxy(sink, script)
  const transport = testTransport(config)
  leftovers.push(
    () => transport.close(),
    () => proxy?.close(),
    () => sink.close(),
  )
  return { sink, transport, account: testAccount(proxy ?? sink, { maxConnections: 1 }) }
}

type Result = Replies | Error

/** Sends one after the other, each but the last naming the next; after a failure the next is given up and sent anew. */
async function sendAll(
  transport: MailTransport,
  account: Account,
  letters: readonly Letter[],
  optionsOf: (i: number) => Partial<SendOptions> = () => ({}),
): Promise<{ results: Result[]; named: number[] }> {
  const results: Result[] = []
  const named: number[] = []
  for (const [i, { envelope, mail }] of letters.entries()) {
    const following = letters[i + 1] ?? null
    const next = () => {
      if (following !== null) named.push(i + 1)
      return following
    }
    const result = await transport
      .send(account, envelope, mail, sendOptions({ next, ...optionsOf(i) }))
      .catch((error: Error) => error)
    if (result instanceof Error && following !== null) transport.forgo(following.mail)
    results.push(result)
  }
  return { results, named }
}

const infoOf = (result: Result | undefined) => (result instanceof SmtpFailure ? result.info : result)
const isInDoubt = (result: Result) => result instanceof SmtpFailure && result.info.afterDot

/** What each recipient is told; null: nothing, the connection broke. */
function saidOf(result: Result, open: readonly string[]): string[] | null {
  if (result instanceof Error) return null
  const { verdicts } = classifyReplies(result, open, { n: 1, startedAt: 0, durationMs: 0 })
  return verdicts.map(({ verdict }) => verdict)
}

const recipientsOf = (messages: readonly { to: readonly string[] }[]) => messages.flatMap(({ to }) => to)

/** The behaviour at one step of one message's transaction only. */
function at(phase: SinkPhase, nth: number, action: ReturnType<NonNullable<SinkBehaviour[SinkPhase]>>): SinkBehaviour {
  let seen = 0
  return { [phase]: () => (++seen === nth ? action : null) }
}

describe('an envelope ahead', () => {
  it('is at the server before the reply to the dot, and all four replies may come at once', async () => {
    const sockets: Socket[] = []
    const read: string[] = []
    // Answers the dot only once the next DATA is there: with less it would wait forever.
    const server = createServer(socket => {
      sockets.push(socket)
      let text = ''
      let begun = false
      socket.write('220 ready\r\n')
      socket.on('data', chunk => {
        text += chunk
        if (!begun && text.startsWith('EHLO')) {
          text = ''
          socket.write('250-here\r\n250 PIPELINING\r\n')
        } else if (!begun && text.endsWith('DATA\r\n')) {
          begun = true
          text = ''
          socket.write('250 ok\r\n250 ok\r\n354 go\r\n')
        } else if (begun && text.endsWith('DATA\r\n')) {
          read.push(text)
          text = ''
          socket.write('250 first\r\n250 ok\r\n250 ok\r\n354 go\r\n')
        } else if (begun && text.endsWith('\r\n.\r\n')) {
          read.push(text)
          socket.write('250 second\r\n')
        }
      })
    })
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
    const transport = testTransport()
    leftovers.push(
      () => transport.close(),
      () => {
        for (const socket of sockets) socket.destroy()
        server.close()
      },
    )
    const { port } = server.address() as { port: number }
    const account = testAccount({ host: '127.0.0.1', port })
    const { results } = await sendAll(transport, account, [letterTo('one'), letterTo('two')])
    expect(results).toMatchObject([{ data: { text: 'first' } }, { data: { text: 'second' } }])
    expect(read).toEqual([
      'Subject: one\r\n\r\nHello.\r\n.\r\nMAIL FROM:<from-two@x.test>\r\nRCPT TO:<two@x.test>\r\nDATA\r\n',
      'Subject: two\r\n\r\nHello.\r\n.\r\n',
    ])
  })

  it.each([
    ['at once', {}, () => {}],
    ['octet by octet', { oneByteReplies: true }, () => {}],
    ['while each hook takes its time', {}, () => new Promise<void>(resolve => setImmediate(resolve))],
  ])('follows each but the last over one connection, answered %s', async (_how, options, beforeFinalDot) => {
    const { sink, transport, account } = await rig(options)
    const names = ['a', 'b', 'c', 'd', 'e']
    const { results, named } = await sendAll(
      transport,
      account,
      names.map(name => letterTo(name)),
      () => ({ beforeFinalDot }),
    )
    expect(results.map(result => (result as Replies).data?.code)).toEqual([250, 250, 250, 250, 250])
    expect(named).toEqual([1, 2, 3, 4])
    expect(recipientsOf(sink.messages)).toEqual(names.map(name => `${name}@x.test`))
    expect(sink.messages.map(({ raw }) => raw.toString().slice(9, 10))).toEqual(names)
    expect(sink.connections).toBe(1)
    expect(transport.stats()).toEqual({ open: 1, idle: 1, opened: 1 })
  })

  it('goes with the dot of a stream and of a long content too', async () => {
    const { sink, transport, account } = await rig()
    const long = Buffer.alloc(300_000, 'x\r\n')
    const mails = [streamMail(long.length, () => Readable.from([long])), textMail(long.toString()), textMail()]
    const { named } = await sendAll(
      transport,
      account,
      mails.map((mail, i) => letterTo(`${i}`, mail)),
    )
    expect(named).toEqual([1, 2])
    expect(sink.messages.map(({ raw }) => raw.length)).toEqual([long.length, long.length, 26])
    expect(sink.connections).toBe(1)
  })

  it('never brings more than one content on its way, each after the hook of its own', async () => {
    const { sink, transport, account } = await rig({ behave: { final: () => ({ delayMs: 5 }) } })
    const events: string[] = []
    await sendAll(
      transport,
      account,
      ['a', 'b', 'c'].map(name => letterTo(name)),
      i => ({
        onContent: () => void events.push(`content ${i}, ${sink.accepted} accepted`),
        beforeFinalDot: () => void events.push(`hook ${i}, ${sink.accepted} accepted`),
      }),
    )
    expect(events).toEqual([0, 1, 2].flatMap(i => [`content ${i}, ${i} accepted`, `hook ${i}, ${i} accepted`]))
  })

  it.each<[string, SinkOptions, Partial<Account>, Partial<SendOptions>]>([
    ['without PIPELINING', { pipelining: false }, {}, {}],
    ['over a connection that has carried its messages', {}, { maxMessagesPerConnection: 1 }, {}],
    ['over a connection that is not to be kept', {}, { ttlSeconds: 0 }, {}],
    ['when the conversation is written down', {}, {}, { conversation: [] }],
  ])('is not asked for %s', async (_when, options, changes, sending) => {
    const { sink, transport, account } = await rig(options)
    const letters = [letterTo('a'), letterTo('b')]
    const { named } = await sendAll(transport, { ...account, ...changes }, letters, () => sending)
    expect(named).toEqual([])
    expect(sink.accepted).toBe(2)
  })

  it('is not asked for when the hook refuses', async () => {
    const { transport, account } = await rig()
    const refusal = new Error('the lease is lost')
    const beforeFinalDot = () => {
      throw refusal
    }
    const { results, named } = await sendAll(transport, account, [letterTo('a'), letterTo('b')], i =>
      i === 0 ? { beforeFinalDot } : {},
    )
    expect([results[0], named]).toEqual([refusal, []])
  })

  it('stays away for what the server has said it cannot take, which is told in its turn', async () => {
    const { sink, transport, account } = await rig({ size: 100 })
    const tooLong = letterTo('b', textMail('x'.repeat(200)))
    const { results } = await sendAll(transport, account, [letterTo('a'), tooLong, letterTo('c')])
    expect(results).toMatchObject([{ data: { code: 250 } }, { mail: { code: 552 } }, { data: { code: 250 } }])
    expect([sink.connections, sink.countOf('MAIL')]).toEqual([1, 2])
  })
})

describe('when the message before goes wrong', () => {
  it.each<[string, ReturnType<NonNullable<SinkBehaviour[SinkPhase]>>, object]>([
    ['cut', { cut: true }, { scope: 'session', phase: 'final', afterDot: true }],
    ['cut after taking it', { cut: true, keep: true }, { scope: 'session', phase: 'final', afterDot: true }],
    ['silent', { silent: true }, { scope: 'session', phase: 'final', afterDot: true }],
    ['421', { cut: true, reply: '421 4.3.2 Closing' }, { scope: 'account', phase: 'final', afterDot: false }],
    ['a 421 that stays connected', '421 4.3.2 Closing', { scope: 'account', phase: 'final', afterDot: false }],
    ['gibberish', 'what?', { scope: 'session', phase: 'final', afterDot: true }],
    ['354', '354 go', { scope: 'session', phase: 'final', afterDot: true }],
  ])('with %s, it alone bears it: the next goes whole over a fresh connection', async (_what, action, info) => {
    const { sink, transport, account } = await rig(
      { behave: at('final', 1, action) },
      { finalReplyTimeoutMs: SHORT_MS },
    )
    const { results, named } = await sendAll(transport, account, [letterTo('a'), letterTo('b')])
    expect(infoOf(results[0])).toMatchObject({ ...info, reachedData: true })
    expect(results[1]).toMatchObject({ data: { code: 250 } })
    expect([named, sink.connections]).toEqual([[1], 2])
    expect(recipientsOf(sink.messages).filter(to => to === 'b@x.test')).toHaveLength(1)
    expect(transport.stats()).toMatchObject({ open: 1, idle: 1 })
  })

  it('by a refusal of its content, the connection and the next go on', async () => {
    const { sink, transport, account } = await rig({ behave: at('final', 1, '554 5.7.1 Spam') })
    const { results } = await sendAll(transport, account, [letterTo('a'), letterTo('b')])
    expect(results).toMatchObject([{ data: { code: 554 } }, { data: { code: 250 } }])
    expect([sink.connections, sink.countOf('RSET')]).toEqual([1, 0])
  })

  it('by an abort behind its dot, it is in doubt and the next is not', async () => {
    const stop = new AbortController()
    const abort = () => {
      stop.abort()
      return { silent: true } as const
    }
    const { sink, transport, account } = await rig({ behave: { final: ({ n }) => (n === 1 ? abort() : null) } })
    const { results } = await sendAll(transport, account, [letterTo('a'), letterTo('b')], i =>
      i === 0 ? { signal: stop.signal } : {},
    )
    expect(infoOf(results[0])).toMatchObject({ scope: 'session', afterDot: true })
    expect(results[1]).toMatchObject({ data: { code: 250 } })
    expect(recipientsOf(sink.messages)).toEqual(['b@x.test'])
  })
})

describe('when the message whose envelope is ahead goes wrong', () => {
  const cases: [SinkPhase, ReturnType<NonNullable<SinkBehaviour[SinkPhase]>>, object, number][] = [
    ['mail', '550 5.7.1 Not you', { mail: { code: 550 }, data: null }, 1],
    ['rcpt', '550 5.1.1 No', { recipients: [{ reply: { code: 550 } }], data: null, reachedData: false }, 1],
    ['data', '451 4.3.0 Later', { data: { code: 451 }, reachedData: true }, 1],
    ['final', '554 5.7.1 Spam', { data: { code: 554 } }, 1],
    // As with any kept connection: nothing was said of the message, and it goes over a fresh one.
    ['mail', { cut: true }, { data: { code: 250 } }, 2],
    ['mail', { cut: true, reply: '421 4.4.2 Enough' }, { data: { code: 250 } }, 2],
    ['mail', 'what?', { data: { code: 250 } }, 2],
    ['rcpt', { cut: true }, { scope: 'session', phase: 'rcpt', afterDot: false }, 2],
    ['rcpt', { cut: true, reply: '421 4.3.2 Closing' }, { scope: 'account', phase: 'rcpt', reply: { code: 421 } }, 2],
    ['rcpt', '354 go', { scope: 'session', phase: 'rcpt', afterDot: false }, 2],
    ['data', { cut: true }, { scope: 'session', phase: 'data', afterDot: false, reachedData: true }, 2],
    ['data', '250 sure', { scope: 'session', phase: 'data', afterDot: false }, 2],
    ['data', { silent: true }, { scope: 'session', phase: 'data', afterDot: false }, 2],
    ['body', { cut: true }, { scope: 'session', afterDot: true }, 2],
    ['final', { cut: true, keep: true }, { scope: 'session', phase: 'final', afterDot: true }, 2],
  ]

  it.each(cases)('at %s with %j, it alone bears it', async (phase, action, expected, connections) => {
    const { sink, transport, account } = await rig({ behave: at(phase, 2, action) }, { commandTimeoutMs: SHORT_MS })
    const { results } = await sendAll(transport, account, [letterTo('a'), letterTo('b'), letterTo('c')])
    expect(results[0]).toMatchObject({ mail: null, data: { code: 250 } })
    expect(infoOf(results[1])).toMatchObject(expected)
    expect(results[2]).toMatchObject({ mail: null, data: { code: 250 } })
    expect(sink.connections).toBe(connections)
    for (const name of ['a@x.test', 'c@x.test']) {
      expect(recipientsOf(sink.messages).filter(to => to === name)).toHaveLength(1)
    }
  })

  it('by some refused recipients, the others get it', async () => {
    const { sink, transport, account } = await rig({
      behave: { rcpt: ({ address }) => (address.startsWith('no') ? '550 5.1.1 No' : null) },
    })
    const some = { ...letterTo('b'), envelope: { from: 'f@x.test', to: ['no@x.test', 'b@x.test', 'no2@x.test'] } }
    const { results } = await sendAll(transport, account, [letterTo('a'), some, letterTo('c')])
    expect((results[1] as Replies).recipients.map(({ reply }) => reply?.code)).toEqual([550, 250, 550])
    expect(recipientsOf(sink.messages)).toEqual(['a@x.test', 'b@x.test', 'c@x.test'])
    expect(sink.connections).toBe(1)
  })

  it('by an abort before its turn, it is not sent and the turn is free', async () => {
    const { sink, transport, account } = await rig()
    const stop = new AbortController()
    const { results } = await sendAll(transport, account, [letterTo('a'), letterTo('b'), letterTo('c')], i =>
      i === 1 ? { signal: stop.signal } : { beforeFinalDot: () => stop.abort() },
    )
    expect(infoOf(results[1])).toMatchObject({ scope: 'session', afterDot: false })
    expect([infoOf(results[0]), infoOf(results[2])]).toMatchObject([{ data: { code: 250 } }, { data: { code: 250 } }])
    expect(recipientsOf(sink.messages)).toEqual(['a@x.test', 'c@x.test'])
  })
})

describe('replies that are missing, come twice or break off', () => {
  const faults = { reset, halfOpen, garbage, twice, omitted }
  /** Of three messages with two recipients each. */
  const places: [WirePhase, number][] = [
    ['final', 1],
    ['mail', 2],
    ['rcpt', 3],
    ['rcpt', 4],
    ['data', 2],
    ['final', 2],
  ]
  const isRefused = (address: string) => address.startsWith('no')

  it.each([
    ['all are taken', ['a@x.test', 'b@x.test']],
    ['the first is refused', ['no@x.test', 'b@x.test']],
    ['the second is refused', ['a@x.test', 'no@x.test']],
    ['all are refused', ['no@x.test', 'nor@x.test']],
  ])('tell no recipient what was said to another, where %s', async (_what, to) => {
    const run = async (fault: Fault, phase: WirePhase, nth: number) => {
      const { sink, transport, account } = await rig(
        { behave: { rcpt: ({ address }) => (isRefused(address) ? '550 5.1.1 No such user' : null) } },
        { commandTimeoutMs: 500, finalReplyTimeoutMs: 500 },
        smtpScript((at, n) => (at === phase && n === nth ? fault : null)),
      )
      const letters = [1, 2, 3].map(i => ({ ...letterTo(`${i}`), envelope: { from: `${i}@x.test`, to } }))
      const { results } = await sendAll(transport, account, letters)
      return results.map((result, i) => {
        const taken = sink.messages.filter(({ from }) => from === `${i + 1}@x.test`).flatMap(message => message.to)
        const truth = to.map(address =>
          isRefused(address) ? 'refused' : taken.includes(address) ? 'accepted' : 'open',
        )
        // Of what broke off nothing is told: it is tried again, and is in doubt where its dot was out.
        const told = saidOf(result, to) ?? (taken.length > 0 ? 'in doubt' : truth)
        return { told, truth: told === 'in doubt' && isInDoubt(result) ? told : truth }
      })
    }
    const cases = Object.entries(faults).flatMap(([name, fault]) =>
      places.map(async ([phase, nth]) => [`${name} at ${phase} ${nth}`, await run(fault, phase, nth)] as const),
    )
    for (const [where, messages] of await Promise.all(cases)) {
      expect([where, messages.map(({ told }) => told)]).toEqual([where, messages.map(({ truth }) => truth)])
    }
  })
})

it('a refusal of a content that never comes leaves it in doubt, whatever the answers to the next envelope say', async () => {
  const script = smtpScript((at, n) => (at === 'final' && n === 1 ? omitted : null))
  const { sink, transport, account } = await rig({ behave: at('final', 1, '554 5.7.1 Spam') }, {}, script)
  const { results } = await sendAll(transport, account, [letterTo('a'), letterTo('b')])
  expect(infoOf(results[0])).toMatchObject({ scope: 'session', phase: 'final', afterDot: true })
  expect(results[1]).toMatchObject({ data: { code: 250 } })
  expect(recipientsOf(sink.messages)).toEqual(['b@x.test'])
})

describe('a message that was named and is given up', () => {
  it('while the one before waits for its reply: that one is sent, its connection ends, and no content follows', async () => {
    const [first, second] = [letterTo('a'), letterTo('b')]
    const { sink, transport, account } = await rig({ behave: { final: () => void transport.forgo(second.mail) } })
    const options = sendOptions({ next: () => second })
    expect(await transport.send(account, first.envelope, first.mail, options)).toMatchObject({ data: { code: 250 } })
    expect(transport.stats()).toMatchObject({ open: 0, idle: 0 })
    // The turn is free, and it may still go as any other.
    expect(await transport.send(account, second.envelope, second.mail, sendOptions())).toMatchObject({
      data: { code: 250 },
    })
    expect(recipientsOf(sink.messages)).toEqual(['a@x.test', 'b@x.test'])
    expect(sink.connections).toBe(2)
  })

  it('after the one before: its connection ends and gives the turn to who waits', async () => {
    const { sink, transport, account } = await rig()
    const [first, second, third] = [letterTo('a'), letterTo('b'), letterTo('c')]
    await transport.send(account, first.envelope, first.mail, sendOptions({ next: () => second }))
    expect(transport.stats()).toMatchObject({ open: 1, idle: 0 })
    const waiting = transport.send(account, third.envelope, third.mail, sendOptions())
    transport.forgo(second.mail)
    expect(await waiting).toMatchObject({ data: { code: 250 } })
    transport.forgo(second.mail)
    expect(transport.stats()).toMatchObject({ open: 1, idle: 1 })
    expect(recipientsOf(sink.messages)).toEqual(['a@x.test', 'c@x.test'])
  })

  it('holds the ceiling: another send waits while its turn is kept', async () => {
    const { sink, transport, account } = await rig()
    const [first, second, third] = [letterTo('a'), letterTo('b'), letterTo('c')]
    await transport.send(account, first.envelope, first.mail, sendOptions({ next: () => second }))
    const waiting = transport.send(account, third.envelope, third.mail, sendOptions())
    await transport.send(account, second.envelope, second.mail, sendOptions())
    await waiting
    expect(recipientsOf(sink.messages)).toEqual(['a@x.test', 'b@x.test', 'c@x.test'])
    expect(sink.connections).toBe(1)
  })
})
