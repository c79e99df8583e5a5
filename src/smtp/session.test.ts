import { Readable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { SHORT_MS, sendOptions, streamMail, testAccount, testTransport, textMail } from '../../test/support/smtp-rig.js'
import { type SinkOptions, type SinkPhase, type SmtpSink, startSink } from '../../test/support/smtp-sink.js'
import type { Config } from '../config.js'
import type { Envelope } from '../messages/message.js'
import { type Mail, type MailTransport, type Replies, type SendOptions, SmtpFailure } from './transport.js'

const leftovers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of leftovers.splice(0)) await close()
})

interface Rig {
  sink: SmtpSink
  transport: MailTransport
  send(changes?: { to?: string[]; from?: string; mail?: Mail; options?: Partial<SendOptions> }): Promise<Replies>
  fail(changes?: Parameters<Rig['send']>[0]): Promise<SmtpFailure>
}

async function rig(options: SinkOptions = {}, config: Partial<Config['smtp']> = {}): Promise<Rig> {
  const sink = await startSink(options)
  const transport = testTransport(config)
  leftovers.push(
    () => transport.close(),
    () => sink.close(),
  )
  const send: Rig['send'] = ({ to = ['b@x.test'], from = 'a@x.test', mail = textMail(), options = {} } = {}) => {
    const envelope: Envelope = { from, to }
    return transport.send(testAccount(sink), envelope, mail, sendOptions(options))
  }
  const fail: Rig['fail'] = async changes => {
    const error = await send(changes).then(
      replies => expect.fail(`sent: ${JSON.stringify(replies)}`),
      reason => reason,
    )
    expect(error).toBeInstanceOf(SmtpFailure)
    return error
  }
  return { sink, transport, send, fail }
}

const codes = (replies: Replies) => replies.recipients.map(({ reply }) => reply?.code ?? null)

describe.each([
  ['pipelined', true],
  ['one by one', false],
])('a transaction, %s', (_how, pipelining) => {
  it('hands over the message and tells every reply', async () => {
    const { sink, send } = await rig({ pipelining })
    const replies = await send({ to: ['b@x.test', 'c@x.test'] })
    expect(replies).toMatchObject({ mail: null, data: { code: 250, enhanced: '2.0.0' }, reachedData: true })
    expect(codes(replies)).toEqual([250, 250])
    expect(replies.remote).toBe(`127.0.0.1:${sink.port}`)
    expect(replies.durationMs).toBeGreaterThan(0)
    expect(sink.messages).toMatchObject([{ from: 'a@x.test', to: ['b@x.test', 'c@x.test'], mailParameters: 'SIZE=26' }])
    expect(sink.messages[0]!.raw.toString()).toBe('Subject: hello\r\n\r\nHello.\r\n')
  })

  it('reads replies that come octet by octet', async () => {
    const { sink, send } = await rig({ pipelining, oneByteReplies: true })
    expect(await send()).toMatchObject({ data: { code: 250, text: '2.0.0 Accepted' } })
    expect(sink.accepted).toBe(1)
  })

  it('goes on past a refused recipient', async () => {
    const { sink, send } = await rig({
      pipelining,
      behave: { rcpt: ({ address }) => (address === 'b@x.test' ? '550 5.1.1 No' : null) },
    })
    const replies = await send({ to: ['b@x.test', 'c@x.test'] })
    expect(codes(replies)).toEqual([550, 250])
    expect(replies.data).toMatchObject({ code: 250 })
    expect(sink.messages[0]!.to).toEqual(['c@x.test'])
  })

  it('takes a refused sender as a value and uses the connection again after RSET', async () => {
    const { sink, send } = await rig({
      pipelining,
      behave: { mail: ({ address }) => (address === 'bad@x.test' ? '550 5.7.1 Not you' : null) },
    })
    expect(await send({ from: 'bad@x.test' })).toMatchObject({
      mail: { code: 550 },
      recipients: [{ reply: null }],
      data: null,
    })
    expect(await send()).toMatchObject({ mail: null, data: { code: 250 } })
    expect(sink.connections).toBe(1)
    expect(sink.countOf('RSET')).toBe(1)
    expect(sink.accepted).toBe(1)
  })

  it('sends nothing when every recipient was refused, and goes on afterwards', async () => {
    const { sink, send } = await rig({
      pipelining,
      behave: { rcpt: ({ address }) => (address.startsWith('no') ? '550 5.1.1 No' : null) },
    })
    const replies = await send({ to: ['no@x.test', 'no2@x.test'] })
    expect(codes(replies)).toEqual([550, 550])
    expect(replies.data).toBe(null)
    // DATA went out with the rest when pipelined, and was no transaction.
    expect(replies.reachedData).toBe(false)
    expect(await send()).toMatchObject({ data: { code: 250 } })
    expect([sink.connections, sink.accepted]).toEqual([1, 1])
  })

  it('tells a refused DATA and goes on afterwards', async () => {
    const { sink, send } = await rig({ pipelining, behave: { data: ({ n }) => (n === 1 ? '451 4.3.0 Later' : null) } })
    expect(await send()).toMatchObject({ data: { code: 451, enhanced: '4.3.0' }, reachedData: true })
    expect(await send()).toMatchObject({ data: { code: 250 } })
    expect(sink.connections).toBe(1)
  })

  it('tells a content refused after the dot, and needs no RSET', async () => {
    const { sink, send } = await rig({ pipelining, behave: { final: ({ n }) => (n === 1 ? '554 5.7.1 Spam' : null) } })
    expect(await send()).toMatchObject({ data: { code: 554 } })
    expect(await send()).toMatchObject({ data: { code: 250 } })
    expect([sink.connections, sink.countOf('RSET')]).toEqual([1, 0])
  })

  it('keeps the recipients that fit when the transaction is full', async () => {
    const { sink, send } = await rig({ pipelining, maxRecipients: 2 })
    const replies = await send({ to: ['1@x.test', '2@x.test', '3@x.test', '4@x.test'] })
    expect(codes(replies)).toEqual(pipelining ? [250, 250, 452, 452] : [250, 250, 452, null])
    expect(replies.data).toMatchObject({ code: 250 })
    expect(sink.messages[0]!.to).toEqual(['1@x.test', '2@x.test'])
  })

  it.each<SinkPhase>(['mail', 'rcpt', 'data', 'final'])(
    "a 421 at %s is the account's affair and ends the connection",
    async phase => {
      const { sink, fail } = await rig({
        pipelining,
        behave: { [phase]: () => ({ cut: true, reply: '421 4.3.2 Closing' }) },
      })
      const failure = await fail()
      expect(failure.info).toMatchObject({ scope: 'account', phase, reply: { code: 421 }, afterDot: false })
      expect(failure.message).toBe('421 4.3.2 Closing')
      expect(sink.accepted).toBe(0)
    },
  )

  it.each<SinkPhase>(['mail', 'rcpt', 'data', 'body', 'final'])(
    'a server that falls silent at %s is timed out',
    async phase => {
      const { fail } = await rig(
        { pipelining, behave: { [phase]: () => ({ silent: true }) } },
        { commandTimeoutMs: SHORT_MS, finalReplyTimeoutMs: SHORT_MS },
      )
      const failure = await fail()
      const at = phase === 'body' ? 'final' : phase
      expect(failure.info).toMatchObject({ scope: 'session', phase: at, reply: null, afterDot: at === 'final' })
      expect(failure.message).toMatch(/^Timed out waiting for the reply to/)
    },
  )

  it.each<SinkPhase>(['mail', 'rcpt', 'data'])('a connection cut at %s leaves no doubt', async phase => {
    const { sink, fail } = await rig({ pipelining, behave: { [phase]: () => ({ cut: true }) } })
    expect((await fail()).info).toMatchObject({ scope: 'session', afterDot: false })
    expect(sink.accepted).toBe(0)
  })

  it('a connection cut after the dot leaves the message in doubt', async () => {
    const { sink, fail } = await rig({ pipelining, behave: { final: () => ({ cut: true, keep: true }) } })
    expect((await fail()).info).toMatchObject({ scope: 'session', phase: 'final', reachedData: true, afterDot: true })
    expect(sink.accepted).toBe(1)
  })

  it.each<[SinkPhase, string]>([
    ['mail', 'what?'],
    ['rcpt', '354 go'],
    ['data', '250 sure'],
    ['data', '354 go\r\n250 and accepted'],
    ['final', 'gibberish'],
  ])('an answer out of step at %s (%s) breaks the session', async (phase, reply) => {
    const { fail } = await rig({ pipelining, behave: { [phase]: () => reply } })
    expect((await fail()).info).toMatchObject({ scope: 'session', afterDot: phase === 'final' })
  })
})

describe('pipelining', () => {
  it('ends an empty DATA with a lone dot and never takes its answer for a sent message', async () => {
    for (const answer of ['554 5.5.1 No valid recipients', '250 2.0.0 Queued anyway']) {
      const behave = { rcpt: () => '550 5.1.1 No', data: () => '354 Go ahead', final: () => answer }
      const { sink, send } = await rig({ behave })
      let asked = false
      const beforeFinalDot = () => {
        asked = true
      }
      const replies = await send({ options: { beforeFinalDot } })
      expect(replies).toMatchObject({ mail: null, recipients: [{ reply: { code: 550 } }], data: null })
      expect(asked).toBe(false)
      expect(sink.accepted).toBe(0)
      sink.behave({})
      expect(await send()).toMatchObject({ data: { code: 250 } })
      expect(sink.connections).toBe(1)
      expect(sink.messages).toHaveLength(1)
    }
  })

  it('takes a refused sender as refused though the server hangs up at once', async () => {
    const { send } = await rig({ behave: { mail: () => ({ cut: true, reply: '554 5.7.1 Go away' }) } })
    expect(await send()).toMatchObject({ mail: { code: 554 }, data: null })
  })

  it('takes refused recipients as refused though the server hangs up before DATA', async () => {
    const { send } = await rig({ behave: { rcpt: () => '550 5.1.1 No', data: () => ({ cut: true }) } })
    expect(await send()).toMatchObject({ mail: null, recipients: [{ reply: { code: 550 } }], data: null })
  })
})

describe('the content', () => {
  const dotted = '.leading\r\n..two\r\n.\r\nend.\r\n'

  it('arrives with its dots, from a text and from a stream cut anywhere', async () => {
    const { sink, send } = await rig()
    await send({ mail: textMail(dotted) })
    for (const size of [1, 2, 3, 7]) {
      const chunks: Buffer[] = []
      for (let i = 0; i < dotted.length; i += size) chunks.push(Buffer.from(dotted.slice(i, i + size)))
      await send({ mail: streamMail(dotted.length, () => Readable.from(chunks)) })
    }
    expect(sink.messages.map(({ raw }) => raw.toString())).toEqual(Array(5).fill(dotted))
  })

  const line = `${'x'.repeat(76)}\r\n`
  const long = Buffer.from(`.${line.repeat(60_000)}`)

  it('arrives whole when it is long, from a text and from a stream', async () => {
    const { sink, send } = await rig()
    await send({ mail: textMail(long.toString('latin1')) })
    const pieces = function* () {
      for (let i = 0; i < long.length; i += 16_411) yield long.subarray(i, i + 16_411)
    }
    await send({ mail: streamMail(long.length, () => Readable.from(pieces())) })
    expect(sink.messages.map(({ raw }) => raw.equals(long))).toEqual([true, true])
  })

  const ways: [string, () => Mail][] = [
    ['a text', () => textMail()],
    ['a long text', () => textMail(long.toString('latin1'))],
    ['a stream', () => streamMail(long.length, () => Readable.from([long]))],
  ]

  it.each(ways)('keeps back the dot of %s until the hook has agreed', async (_what, mail) => {
    const { sink, send } = await rig()
    let agree = () => {}
    const asked = new Promise<void>(resolve => {
      const beforeFinalDot = () =>
        new Promise<void>(done => {
          agree = done
          resolve()
        })
      void send({ mail: mail(), options: { beforeFinalDot } })
    })
    await asked
    await new Promise(resolve => setTimeout(resolve, 30))
    expect(sink.accepted).toBe(0)
    agree()
    await sink.waitFor(1)
  })

  it.each(ways)('does not send the dot of %s when the hook refuses, and drops the connection', async (_what, mail) => {
    const { sink, send, transport } = await rig()
    const refusal = new Error('the lease is lost')
    for (const beforeFinalDot of [
      () => Promise.reject(refusal),
      () => {
        throw refusal
      },
    ]) {
      await expect(send({ mail: mail(), options: { beforeFinalDot } })).rejects.toBe(refusal)
    }
    expect(transport.stats()).toMatchObject({ open: 0, idle: 0 })
    expect(await send()).toMatchObject({ data: { code: 250 } })
    expect(sink.messages).toHaveLength(1)
  })

  it('calls the hook once, after a stream has ended', async () => {
    const { send } = await rig()
    const events: string[] = []
    const source = Readable.from(['a\r\n', 'b\r\n'].map(Buffer.from)).on('end', () => events.push('end'))
    await send({ mail: streamMail(6, () => source), options: { beforeFinalDot: () => void events.push('hook') } })
    expect(events).toEqual(['end', 'hook'])
  })

  it('a source that breaks, cannot be opened, or has another length is not sent', async () => {
    const { sink, fail } = await rig()
    const broken = () =>
      new Readable({
        read() {
          this.destroy(new Error('disk error'))
        },
      })
    expect((await fail({ mail: streamMail(9, broken) })).info).toMatchObject({
      scope: 'session',
      phase: 'body',
      afterDot: false,
    })
    const unopened = streamMail(9, () => {
      throw new Error('gone')
    })
    expect((await fail({ mail: unopened })).message).toBe('The content could not be opened')
    const short = streamMail(9, () => Readable.from([Buffer.from('short\r\n')]))
    expect((await fail({ mail: short })).message).toBe('The content has 7 octets where 9 were announced')
    expect(sink.accepted).toBe(0)
  })

  it('a source that stalls is timed out and closed', async () => {
    const { fail } = await rig({}, { commandTimeoutMs: SHORT_MS })
    const stalled = new Readable({ read() {} })
    expect((await fail({ mail: streamMail(9, () => stalled) })).message).toBe('Timed out sending the content')
    expect(stalled.destroyed).toBe(true)
  })

  it('a server that stops reading is timed out', async () => {
    const { fail } = await rig({ behave: { body: () => ({ silent: true }) } }, { commandTimeoutMs: SHORT_MS })
    const endless = streamMail(
      1e12,
      () =>
        new Readable({
          read() {
            this.push(long)
          },
        }),
    )
    const failure = await fail({ mail: endless })
    expect(failure.message).toBe('Timed out sending the content')
    expect(failure.info).toMatchObject({ scope: 'session', phase: 'body', afterDot: false })
  })

  it('a refusal in the middle of the content is the answer, and the connection is dropped', async () => {
    const { sink, send, transport } = await rig({
      behave: { body: () => ({ cut: true, reply: '552 5.3.4 Too large' }) },
    })
    const endless = streamMail(
      1e12,
      () =>
        new Readable({
          read() {
            setImmediate(() => this.push(long.subarray(0, 10_000)))
          },
        }),
    )
    expect(await send({ mail: endless })).toMatchObject({ data: { code: 552 }, reachedData: true })
    expect(transport.stats().open).toBe(0)
    expect(sink.accepted).toBe(0)
  })

  it('an acceptance in the middle of the content is believed by nobody', async () => {
    const { fail } = await rig({ behave: { body: () => '250 2.0.0 Accepted' } })
    const endless = streamMail(
      1e12,
      () =>
        new Readable({
          read() {
            setImmediate(() => this.push(long.subarray(0, 10_000)))
          },
        }),
    )
    expect((await fail({ mail: endless })).info).toMatchObject({ scope: 'session', phase: 'body', afterDot: false })
  })
})

describe('what is refused before sending', () => {
  it('never reaches the wire', async () => {
    const { sink, send } = await rig({ size: 100, smtpUtf8: false })
    const big = textMail('x'.repeat(101))
    expect(await send({ mail: big })).toMatchObject({
      mail: { code: 552, enhanced: '5.3.4' },
      reachedData: false,
      data: null,
    })
    expect(await send({ mail: textMail('x', { needsSmtpUtf8: true }) })).toMatchObject({
      mail: { code: 553, enhanced: '5.6.7' },
    })
    expect(await send({ to: ['ü@x.test'] })).toMatchObject({
      mail: null,
      recipients: [{ reply: { code: 553, enhanced: '5.6.7' } }],
      reachedData: false,
    })
    expect(sink.countOf('MAIL')).toBe(0)
    expect(codes(await send({ to: ['ü@x.test', 'b@x.test'] }))).toEqual([553, 250])
    expect(sink.messages[0]!.to).toEqual(['b@x.test'])
  })

  it('an address with a command in it is no command', async () => {
    const { sink, send } = await rig()
    const evil = ['x@x.test>\r\nRCPT TO:<evil@x.test', 'x\nDATA', 'x\0@x.test', 'a> SIZE=1 <b']
    expect(codes(await send({ to: [...evil, 'b@x.test'] }))).toEqual([553, 553, 553, 553, 250])
    for (const from of evil) expect(await send({ from })).toMatchObject({ mail: { code: 553, enhanced: '5.1.3' } })
    expect(sink.messages.map(({ to }) => to)).toEqual([['b@x.test']])
    expect(sink.commands.map(({ line }) => line)).toEqual([
      'EHLO client.test',
      'MAIL FROM:<a@x.test> SIZE=26',
      'RCPT TO:<b@x.test>',
      'DATA',
    ])
  })

  it('a character whose low octet is a line feed stays a character', async () => {
    const { sink, send } = await rig()
    await send({ to: ['\u010a\u010d@x.test'] })
    expect(sink.messages[0]!.to).toEqual(['\u010a\u010d@x.test'])
    expect(sink.messages[0]!.mailParameters).toBe('SIZE=26 BODY=8BITMIME SMTPUTF8')
  })
})

describe('an abort', () => {
  it('drops the connection and tells whether the dot was out', async () => {
    for (const phase of ['mail', 'final'] as const) {
      const stop = new AbortController()
      const stopSoon = () => {
        setImmediate(() => stop.abort())
        return { silent: true } as const
      }
      const { fail } = await rig({ behave: { [phase]: stopSoon } })
      const { info } = await fail({ options: { signal: stop.signal } })
      expect(info).toMatchObject({ scope: 'session', phase, afterDot: phase === 'final' })
    }
  })

  it('ends the wait for a hook that never answers', async () => {
    const stop = new AbortController()
    const { sink, fail } = await rig()
    const beforeFinalDot = () => {
      setImmediate(() => stop.abort())
      return new Promise<void>(() => {})
    }
    expect((await fail({ options: { signal: stop.signal, beforeFinalDot } })).info).toMatchObject({
      phase: 'body',
      afterDot: false,
    })
    expect(sink.accepted).toBe(0)
  })

  it('before the beginning reaches no server', async () => {
    const { sink, fail } = await rig()
    await fail({ options: { signal: AbortSignal.abort() } })
    expect(sink.connections).toBe(0)
  })
})
