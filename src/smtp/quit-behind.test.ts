/** QUIT that leaves with the final dot of a connection's last message. */
import { createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { type Script, startProxy } from '../../test/support/proxy.js'
import { omitted, smtpScript } from '../../test/support/smtp-proxy.js'
import { SHORT_MS, sendOptions, testAccount, testTransport, textMail } from '../../test/support/smtp-rig.js'
import { type SinkOptions, startSink } from '../../test/support/smtp-sink.js'
import type { Account } from '../accounts/account.js'
import type { Config } from '../config.js'
import type { SendOptions } from './transport.js'

const leftovers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of leftovers.splice(0)) await close()
})

/** Each connection carries one message. */
async function rig(options: SinkOptions = {}, config: Partial<Config['smtp']> = {}, script?: () => Script) {
  const sink = await startSink(options)
  const proxy = script === undefined ? null : await startProxy(sink, script)
  const transport = testTransport(config, { mostIdle: 0 })
  leftovers.push(
    () => transport.close(),
    () => proxy?.close(),
    () => sink.close(),
  )
  const send = (account: Partial<Account> = {}, sending: Partial<SendOptions> = {}) =>
    transport.send(
      testAccount(proxy ?? sink, account),
      { from: 'a@x.test', to: ['b@x.test'] },
      textMail(),
      sendOptions(sending),
    )
  const areGone = async () => {
    await expect.poll(() => transport.stats().open, { timeout: 20_000, interval: 2 }).toBe(0)
  }
  return { sink, transport, send, areGone }
}

it('is at the server before the reply to the dot, and both replies may come at once', async () => {
  const sockets: Socket[] = []
  const read: string[] = []
  // Answers the dot only once QUIT is there: without it it would wait forever.
  const server = createServer(socket => {
    sockets.push(socket)
    let text = ''
    socket.write('220 ready\r\n')
    socket.on('data', chunk => {
      text += chunk
      if (text.startsWith('EHLO')) socket.write('250-here\r\n250 PIPELINING\r\n')
      else if (text.endsWith('DATA\r\n')) socket.write('250 ok\r\n250 ok\r\n354 go\r\n')
      else if (text.endsWith('QUIT\r\n')) {
        read.push(text)
        socket.end('250 taken\r\n221 bye\r\n')
      } else return
      text = ''
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
  const account = testAccount({ host: '127.0.0.1', port }, { maxMessagesPerConnection: 1 })
  const mail = textMail('Subject: one\r\n\r\nHello.\r\n')
  const replies = await transport.send(account, { from: 'a@x.test', to: ['b@x.test'] }, mail, sendOptions())
  expect(replies).toMatchObject({ data: { code: 250, text: 'taken' } })
  expect(read).toEqual(['Subject: one\r\n\r\nHello.\r\n.\r\nQUIT\r\n'])
  expect(transport.stats()).toEqual({ open: 0, idle: 0, opened: 1 })
})

it.each<[string, SinkOptions, Partial<Account>, Partial<SendOptions>]>([
  ['with its dot', {}, {}, {}],
  ['octet by octet', { oneByteReplies: true }, {}, {}],
  ['after its reply, without PIPELINING', { pipelining: false }, {}, {}],
  ['after its reply, where what was said is written down', {}, {}, { conversation: [] }],
])('ends each connection in order, said %s', async (_how, options, account, sending) => {
  const { sink, transport, send, areGone } = await rig(options)
  for (let i = 0; i < 3; i++) expect(await send(account, sending)).toMatchObject({ data: { code: 250 } })
  await areGone()
  expect([sink.accepted, sink.connections, sink.countOf('QUIT'), sink.countOf('RSET')]).toEqual([3, 3, 3, 0])
  expect(transport.stats()).toEqual({ open: 0, idle: 0, opened: 3 })
})

it('is not waited for by the message', async () => {
  const { transport, send, areGone } = await rig({ behave: { quit: () => ({ silent: true }) } })
  expect(await send()).toMatchObject({ data: { code: 250 } })
  expect(transport.stats()).toMatchObject({ open: 1, idle: 0 })
  await areGone()
})

it('goes with the dot of what is under way when the service stops', async () => {
  const { sink, transport, send, areGone } = await rig()
  expect(await send({}, { beforeFinalDot: () => void transport.close() })).toMatchObject({ data: { code: 250 } })
  await areGone()
  expect(sink.countOf('QUIT')).toBe(1)
})

describe('what the message is told', () => {
  it('is the refusal of its content', async () => {
    const { sink, send, areGone } = await rig({ behave: { final: () => '554 5.7.1 Spam' } })
    expect(await send()).toMatchObject({ data: { code: 554 }, reachedData: true })
    await areGone()
    expect([sink.accepted, sink.countOf('QUIT')]).toEqual([0, 1])
  })

  it('is never the farewell: without a reply of its own it is in doubt', async () => {
    const script = smtpScript(at => (at === 'final' ? omitted : null))
    const { sink, send, areGone } = await rig({}, {}, script)
    await expect(send()).rejects.toMatchObject({ info: { scope: 'session', phase: 'final', afterDot: true } })
    await areGone()
    expect(sink.accepted).toBe(1)
  })

  it.each([
    ['cut', { cut: true }, { scope: 'session', afterDot: true }],
    ['cut after taking it', { cut: true, keep: true }, { scope: 'session', afterDot: true }],
    ['silent', { silent: true }, { scope: 'session', afterDot: true }],
    ['421', { cut: true, reply: '421 4.3.2 Closing' }, { scope: 'account', afterDot: false }],
    ['a 421 that stays connected', '421 4.3.2 Closing', { scope: 'account', afterDot: false }],
    ['gibberish', 'what?', { scope: 'session', afterDot: true }],
  ] as const)('is what became of its dot: %s', async (_what, action, info) => {
    const { send, areGone } = await rig({ behave: { final: () => action } }, { finalReplyTimeoutMs: SHORT_MS })
    await expect(send()).rejects.toMatchObject({ info: { ...info, phase: 'final' } })
    await areGone()
  })
})
