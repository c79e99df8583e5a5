import { connect, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { selfSigned } from '../../test/support/certificate.js'
import { sendOptions, testAccount, testTransport, textMail } from '../../test/support/smtp-rig.js'
import { type SinkBehaviour, type SinkOptions, type SmtpSink, startSink } from '../../test/support/smtp-sink.js'
import type { Account } from '../accounts/account.js'
import type { Config } from '../config.js'
import { createNetworkGuard } from '../lib/network-guard.js'
import type { TransportDeps } from './pool.js'
import { SmtpFailure } from './transport.js'

const certificate = selfSigned(['localhost', '127.0.0.1'])
const login = { user: 'alice', password: 'pa55-wörd' }
const users = { alice: login.password }
const leftovers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of leftovers.splice(0)) await close()
})

async function sinkWith(options: SinkOptions = {}): Promise<SmtpSink> {
  const sink = await startSink({ certificate, users, ...options })
  leftovers.push(() => sink.close())
  return sink
}

function transportWith(config: Partial<Config['smtp']> = {}, deps: Partial<TransportDeps> = {}) {
  const transport = testTransport(config, deps)
  leftovers.push(() => transport.close())
  return transport
}

const envelope = { from: 'a@x.test', to: ['b@x.test'] }

async function sendTo(
  sink: { host: string; port: number },
  account: Partial<Account>,
  deps: Partial<TransportDeps> = { ca: certificate.cert },
) {
  return transportWith({}, deps).send(testAccount(sink, account), envelope, textMail(), sendOptions())
}

async function failTo(
  sink: { host: string; port: number },
  account: Partial<Account> = {},
  config: Partial<Config['smtp']> = {},
  deps: Partial<TransportDeps> = { ca: certificate.cert },
): Promise<SmtpFailure> {
  const sending = transportWith(config, deps).send(testAccount(sink, account), envelope, textMail(), sendOptions())
  const error = await sending.then(
    () => expect.fail('sent'),
    reason => reason,
  )
  expect(error).toBeInstanceOf(SmtpFailure)
  return error
}

/** A sink that looks like port 465 to the account: what decides on implicit TLS is the number alone. */
async function on465(sink: SmtpSink): Promise<{ host: string; port: number }> {
  const relay = createServer(client => {
    const server = connect(sink.port, sink.host)
    client.pipe(server).pipe(client)
    const end = () => {
      client.destroy()
      server.destroy()
    }
    client.on('error', end).on('close', end)
    server.on('error', end).on('close', end)
  })
  await new Promise<void>((resolve, reject) => relay.once('error', reject).listen(465, '127.0.0.1', resolve))
  leftovers.push(() => new Promise(resolve => relay.close(() => resolve())))
  return { host: '127.0.0.1', port: 465 }
}

/** True where this machine lets us listen on 465. */
const canListenOn465 = await new Promise<boolean>(resolve => {
  const server = createServer()
  server.once('error', () => resolve(false)).listen(465, '127.0.0.1', () => server.close(() => resolve(true)))
})

describe('TLS', () => {
  it('starts where it is offered and nothing else is asked for, before AUTH and MAIL', async () => {
    const sink = await sinkWith({ tls: 'starttls', auth: ['PLAIN'] })
    expect(await sendTo(sink, login)).toMatchObject({ data: { code: 250 } })
    expect(sink.messages).toMatchObject([{ tls: true, authUser: 'alice' }])
    expect(sink.commands.filter(({ tls }) => !tls).map(({ line }) => line)).toEqual(['EHLO client.test', 'STARTTLS'])
  })

  it('is done without where it is not offered and not asked for', async () => {
    const sink = await sinkWith()
    await sendTo(sink, { useTls: null })
    expect(sink.messages[0]!.tls).toBe(false)
  })

  it('is never started with use_tls false, though it is offered', async () => {
    const sink = await sinkWith({ tls: 'starttls' })
    await sendTo(sink, { useTls: false })
    expect(sink.messages[0]!.tls).toBe(false)
    expect(sink.countOf('STARTTLS')).toBe(0)
  })

  it('with use_tls true and STARTTLS stripped sends no AUTH and no MAIL', async () => {
    const sink = await sinkWith({ auth: ['PLAIN'] })
    const { info, message } = await failTo(sink, { ...login, useTls: true })
    expect(info).toMatchObject({ scope: 'account', phase: 'tls', reply: { code: 502 } })
    expect(message).toBe(`STARTTLS refused by 127.0.0.1:${sink.port}: 502 5.5.1 Not offered`)
    expect(sink.commands.map(({ line }) => line)).toEqual(['EHLO client.test', 'STARTTLS'])
  })

  it('that is offered and then refused is not done without, even when it need not be', async () => {
    const sink = await sinkWith({ tls: 'starttls', auth: ['PLAIN'], behave: { starttls: () => '454 4.7.0 Not now' } })
    expect((await failTo(sink, login)).info).toMatchObject({ scope: 'account', phase: 'tls', reply: { code: 454 } })
    expect([sink.countOf('AUTH'), sink.countOf('MAIL')]).toEqual([0, 0])
  })

  it('with a certificate nobody vouches for fails before AUTH, and passes with tls_verify false', async () => {
    const sink = await sinkWith({ tls: 'starttls', auth: ['PLAIN'] })
    const { info, message } = await failTo(sink, login, {}, {})
    expect(info).toMatchObject({ scope: 'account', phase: 'tls', reply: null })
    expect(message).toMatch(/^TLS to 127\.0\.0\.1:\d+ failed: self-signed certificate/)
    expect([sink.countOf('AUTH'), sink.countOf('MAIL')]).toEqual([0, 0])
    await sendTo(sink, { ...login, tlsVerify: false }, {})
    expect(sink.messages[0]!.tls).toBe(true)
  })

  it('with a certificate for another host, or an expired one, fails', async () => {
    const other = selfSigned(['mail.example.com'])
    const wrong = await sinkWith({ tls: 'starttls', certificate: other })
    expect((await failTo(wrong, {}, {}, { ca: other.cert })).message).toMatch(/failed: .*ERR_TLS_CERT_ALTNAME_INVALID/)
    const old = selfSigned(['localhost', '127.0.0.1'], -1)
    const expired = await sinkWith({ tls: 'starttls', certificate: old })
    expect((await failTo(expired, {}, {}, { ca: old.cert })).info).toMatchObject({ scope: 'account', phase: 'tls' })
  })

  it('is judged by the host name when the account has one', async () => {
    const named = selfSigned(['localhost'])
    const sink = await sinkWith({ tls: 'starttls', certificate: named })
    expect(await sendTo(sink, { host: 'localhost', useTls: true }, { ca: named.cert })).toMatchObject({
      data: { code: 250 },
    })
    expect((await failTo(sink, {}, {}, { ca: named.cert })).info).toMatchObject({ scope: 'account', phase: 'tls' })
  })

  /** A server that offers STARTTLS; `handshake`: what it does in the place of one. */
  const promisesTls = (handshake: (socket: Socket) => void) =>
    rawServer(socket => {
      socket.write('220 hello\r\n')
      socket.on('data', data => {
        const line = String(data)
        if (line.startsWith('EHLO')) socket.write('250-hi\r\n250 STARTTLS\r\n')
        else if (line.startsWith('STARTTLS')) socket.write('220 go\r\n')
        else handshake(socket)
      })
    })

  it("that breaks in the handshake is the session's affair", async () => {
    const server = await promisesTls(socket => socket.destroy())
    expect((await failTo(server)).info).toMatchObject({ scope: 'session', phase: 'tls' })
  })

  it("takes nothing a server said in clear behind its STARTTLS reply for the encrypted session's", async () => {
    const sink = await sinkWith({
      tls: 'starttls',
      behave: { starttls: () => '220 2.0.0 Ready\r\n250-evil\r\n250 SIZE 1' },
    })
    // Either way out is right, as long as nothing injected is believed: a failure, or a mail that went out whole.
    await sendTo(sink, {}).catch(error => expect(error).toBeInstanceOf(SmtpFailure))
    expect(sink.commands.every(({ line, tls }) => tls || /^(EHLO|STARTTLS)/.test(line))).toBe(true)
    for (const { mailParameters } of sink.messages) expect(mailParameters).toBe('SIZE=26')
  })

  it.each([
    ['is timed out', /^Timed out starting TLS of 127\.0\.0\.1:\d+ \(150 ms\)$/, () => {}],
    [
      'is stopped',
      /^While starting TLS of 127\.0\.0\.1:\d+: the login was stopped$/,
      (stop: AbortController) => stop.abort(),
    ],
  ])('that never gets through its handshake %s', async (_what, words, then) => {
    const stop = new AbortController()
    const server = await promisesTls(() => then(stop))
    const sending = transportWith({ commandTimeoutMs: 150 }).probe(testAccount(server), stop.signal)
    await expect(sending).rejects.toMatchObject({
      message: expect.stringMatching(words),
      info: { scope: 'session', phase: 'tls' },
    })
  })

  it.runIf(canListenOn465)('is implicit on port 465 for null and true, and absent for false', async () => {
    const sink = await sinkWith({ tls: 'implicit', auth: ['LOGIN'] })
    const relay = await on465(sink)
    await sendTo(relay, { ...login, useTls: null })
    await sendTo(relay, { ...login, useTls: true })
    expect(sink.messages).toMatchObject([{ tls: true, authUser: 'alice' }, { tls: true }])
    expect((await failTo(relay, { ...login, useTls: false }, { commandTimeoutMs: 100 })).info).toMatchObject({
      scope: 'session',
    })
  })

  it.runIf(canListenOn465)("that meets a server in clear on 465 is the account's affair", async () => {
    const relay = await on465(await sinkWith())
    expect((await failTo(relay)).info).toMatchObject({ scope: 'account', phase: 'tls' })
  })
})

describe('AUTH', () => {
  it.each(['PLAIN', 'LOGIN', 'CRAM-MD5'] as const)('%s logs in', async mechanism => {
    const sink = await sinkWith({ auth: [mechanism] })
    await sendTo(sink, login)
    expect(sink.messages[0]!.authUser).toBe('alice')
  })

  it('in clear keeps the password off the wire where CRAM-MD5 is offered', async () => {
    const sink = await sinkWith({ auth: ['PLAIN', 'LOGIN', 'CRAM-MD5'] })
    await sendTo(sink, login)
    expect(sink.commands.map(({ line }) => line)).toContain('AUTH CRAM-MD5')
  })

  it('PLAIN says it again to a server that does not read it in the command', async () => {
    const said: string[] = []
    const server = await rawServer(socket => {
      socket.write('220 hello\r\n')
      socket.on('data', data => {
        said.push(String(data).trimEnd())
        socket.write(['', '250-hi\r\n250 AUTH PLAIN\r\n', '334 \r\n', '235 ok\r\n', '221 bye\r\n'][said.length] ?? '')
      })
    })
    const { conversation } = await transportWith().probe(testAccount(server, login), new AbortController().signal)
    const response = Buffer.from(`\0alice\0${login.password}`).toString('base64')
    expect(said).toEqual(['EHLO client.test', `AUTH PLAIN ${response}`, response, 'QUIT'])
    expect(conversation.slice(5, 8)).toEqual(['S: 334 ', 'C: ***', 'S: 235 ok'])
  })

  it("refused is the account's affair, in the server's words and without the password", async () => {
    const sink = await sinkWith({ tls: 'starttls', auth: ['PLAIN'] })
    const { info, message } = await failTo(sink, { ...login, password: 'wrong-secret' })
    expect(info).toMatchObject({ scope: 'account', phase: 'auth', reply: { code: 535, enhanced: '5.7.8' } })
    expect(message).toBe(`Login refused by 127.0.0.1:${sink.port}: 535 5.7.8 Authentication credentials invalid`)
    expect(sink.countOf('MAIL')).toBe(0)
  })

  it('never lets a password that the server repeats into the error', async () => {
    const secret = Buffer.from('\0alice\0wrong-secret').toString('base64')
    const sink = await sinkWith({
      auth: ['PLAIN'],
      behave: { auth: ({ line }) => `535 5.7.8 You said ${line} (wrong-secret)` },
    })
    const failure = await failTo(sink, { ...login, password: 'wrong-secret' })
    const told = failure.message + JSON.stringify(failure.info) + String(failure.cause) + failure.stack
    expect(told).toContain('You said AUTH PLAIN ***')
    expect(told).not.toContain('wrong-secret')
    expect(told).not.toContain(secret)
  })

  it('works again once the server takes the password', async () => {
    const sink = await sinkWith({ auth: ['PLAIN'], users: {} })
    await failTo(sink, login)
    sink.users.set('alice', login.password)
    await sendTo(sink, login)
    expect(sink.accepted).toBe(1)
  })

  it('is not tried where none, or none that is known, is offered', async () => {
    const bare = await sinkWith()
    expect((await failTo(bare, login)).message).toMatch(/the server offers no AUTH$/)
    expect(bare.commands).toHaveLength(1)
    const odd = await sinkWith({ behave: { ehlo: () => '250-sink\r\n250 AUTH GSSAPI' } })
    expect((await failTo(odd, login)).info).toMatchObject({ scope: 'account', phase: 'auth' })
  })

  it('needs a password beside the user', async () => {
    const sink = await sinkWith({ auth: ['PLAIN'] })
    expect((await failTo(sink, { user: 'alice', password: null })).info).toMatchObject({
      scope: 'account',
      phase: 'auth',
    })
    expect(sink.countOf('AUTH')).toBe(0)
  })
})

describe('failures on the way', () => {
  it.each<[string, SinkBehaviour, string, string, number | null]>([
    ['421 at the greeting', { greeting: () => '421 4.3.2 Busy' }, 'account', 'greeting', 421],
    ['554 at the greeting', { greeting: () => '554 5.7.1 No service' }, 'account', 'greeting', 554],
    ['421 at EHLO', { ehlo: () => '421 4.3.2 Busy' }, 'account', 'ehlo', 421],
    ['EHLO and HELO refused', { ehlo: () => '550 5.7.1 Who?' }, 'account', 'ehlo', 550],
    ['garbage at the greeting', { greeting: () => 'HTTP/1.1 400 Bad Request' }, 'session', 'greeting', null],
    ['garbage at EHLO', { ehlo: () => 'what?' }, 'session', 'ehlo', null],
    ['garbage at EHLO and none at HELO', { ehlo: ({ n }) => (n === 1 ? 'what?' : null) }, 'session', 'ehlo', null],
    ['a greeting said twice', { greeting: () => '220 sink.test\r\n220 sink.test' }, 'session', 'ehlo', 220],
    ['more than EHLO asked', { ehlo: () => '250-a\r\n250 AUTH PLAIN\r\n250 extra' }, 'session', 'auth', 250],
    ['EHLO refused for now', { ehlo: ({ n }) => (n === 1 ? '451 4.3.2 Later' : null) }, 'account', 'ehlo', 451],
    ['a cut at the greeting', { greeting: () => ({ cut: true }) }, 'session', 'greeting', null],
    ['a cut at EHLO', { ehlo: () => ({ cut: true }) }, 'session', 'ehlo', null],
    ['silence at the greeting', { greeting: () => ({ silent: true }) }, 'session', 'greeting', null],
    ['silence at EHLO', { ehlo: () => ({ silent: true }) }, 'session', 'ehlo', null],
    ['silence at AUTH', { auth: () => ({ silent: true }) }, 'session', 'auth', null],
    ['a cut at AUTH', { auth: () => ({ cut: true }) }, 'session', 'auth', null],
    ['a temporary AUTH failure', { auth: () => '454 4.7.0 Later' }, 'account', 'auth', 454],
    ['421 at AUTH', { auth: () => '421 4.7.0 Too many logins' }, 'account', 'auth', 421],
    ['more than was asked after AUTH', { auth: () => '235 ok\r\n250 extra' }, 'session', 'auth', null],
  ])('%s', async (_what, behave, scope, phase, code) => {
    const sink = await sinkWith({ auth: ['PLAIN'], behave })
    const { info } = await failTo(sink, login, { commandTimeoutMs: 100 })
    expect(info).toMatchObject({
      scope,
      phase,
      reachedData: false,
      afterDot: false,
      reply: code === null ? null : { code },
    })
  })

  it('a server that trickles its greeting for ever is timed out', async () => {
    const server = await rawServer(socket => {
      const timer = setInterval(() => socket.write('220-x\r\n'), 10)
      socket.on('close', () => clearInterval(timer))
    })
    expect((await failTo(server, {}, { commandTimeoutMs: 150 })).message).toMatch(/^Timed out waiting for the greeting/)
  })

  it("a refused connection and an unknown host are the account's affair", async () => {
    const sink = await startSink()
    await sink.close()
    expect((await failTo(sink)).info).toMatchObject({ scope: 'account', phase: 'connect' })
    const { info, message } = await failTo({ host: 'no-such-host.invalid', port: 25 })
    expect(info).toMatchObject({ scope: 'account', phase: 'dns' })
    expect(message).toMatch(/^Host no-such-host\.invalid cannot be resolved/)
  })

  it.each([
    ['stopped', 5_000, 'Connecting to silent.test:25 was stopped'],
    ['timed out', 50, 'Resolving silent.test timed out after 50 ms'],
  ])('a name that is not resolved is %s', async (what, connectTimeoutMs, words) => {
    const stop = new AbortController()
    const guard = createNetworkGuard({ allowPrivate: true, allowed: [] }, () => {
      if (what === 'stopped') stop.abort()
      return new Promise(() => {})
    })
    const account = testAccount({ host: 'silent.test', port: 25 }, { hostTrusted: false })
    await expect(transportWith({ connectTimeoutMs }, { guard }).probe(account, stop.signal)).rejects.toMatchObject({
      message: words,
      info: { scope: 'session', phase: 'dns' },
    })
  })

  it('speaks HELO to a server that knows no EHLO, and pipelines nothing', async () => {
    const sink = await sinkWith({
      behave: { ehlo: ({ line }) => (line.startsWith('EHLO') ? '502 5.5.1 What?' : null) },
    })
    await sendTo(sink, {})
    expect(sink.messages).toMatchObject([{ mailParameters: '' }])
  })
})

describe('the guard', () => {
  const guard = createNetworkGuard({ allowPrivate: false, allowed: [] })

  it('stops an untrusted host before any connection is made', async () => {
    const sink = await sinkWith()
    for (const host of ['127.0.0.1', 'localhost', '0x7f.1', '2130706433', '::ffff:127.0.0.1', '[::1]']) {
      const { info, message } = await failTo({ host, port: sink.port }, { hostTrusted: false }, {}, { guard })
      expect(info).toMatchObject({ scope: 'account', phase: 'dns' })
      expect(message).toMatch(`Host ${host} is not allowed: `)
    }
    expect(sink.connections).toBe(0)
  })

  it('lets a host pass that an admin has set', async () => {
    const sink = await sinkWith()
    await sendTo(sink, { hostTrusted: true }, { guard })
    expect(sink.connections).toBe(1)
  })

  it('connects to what was judged, never to what the name says afterwards', async () => {
    const sink = await sinkWith()
    const asked: string[] = []
    const rebinding = createNetworkGuard({ allowPrivate: false, allowed: ['127.0.0.1'] }, async host => {
      asked.push(host)
      return [{ address: asked.length === 1 ? '127.0.0.1' : '169.254.169.254', family: 4 }]
    })
    await sendTo(sink, { host: 'rebind.test', hostTrusted: false }, { guard: rebinding })
    expect(asked).toEqual(['rebind.test'])
  })

  it('tries the addresses that passed one after the other', async () => {
    const sink = await sinkWith()
    const several = createNetworkGuard({ allowPrivate: true, allowed: [] }, async () => [
      { address: '127.0.0.2', family: 4 },
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ])
    await sendTo(sink, { host: 'several.test', hostTrusted: false }, { guard: several })
    expect(sink.accepted).toBe(1)
  })
})

describe('a conversation that is kept', () => {
  it('has no secret, also where the server repeats it after the login, and on a kept connection', async () => {
    const echo = () => `250 2.1.0 welcome ${login.user}:${login.password}`
    const sink = await sinkWith({ auth: ['PLAIN'], behave: { mail: echo, rcpt: echo } })
    const transport = transportWith()
    for (const first of [true, false]) {
      const conversation: string[] = []
      const options = { ...sendOptions(), conversation }
      await transport.send(testAccount(sink, login), envelope, textMail(), options)
      const told = conversation.join('\n')
      expect(told).toContain('S: 250 2.1.0 welcome alice:***')
      expect(told).not.toContain(login.password)
      expect(conversation[0]).toBe(first ? 'S: 220 sink.test ESMTP' : 'C: MAIL FROM:<a@x.test> SIZE=26')
      expect(conversation.at(-1)).toMatch(/^S: 250 /)
    }
    expect(sink.connections).toBe(1)
  })
})

describe('probe', () => {
  it('tells the conversation with its secrets masked, and sends no mail', async () => {
    for (const mechanism of ['PLAIN', 'LOGIN', 'CRAM-MD5'] as const) {
      const sink = await sinkWith({ tls: 'starttls', auth: [mechanism] })
      const transport = transportWith({}, { ca: certificate.cert })
      const { conversation } = await transport.probe(testAccount(sink, login), new AbortController().signal)
      const told = conversation.join('\n')
      expect(conversation[0]).toBe('S: 220 sink.test ESMTP')
      expect(told).toContain(mechanism === 'PLAIN' ? 'C: AUTH PLAIN ***' : `C: AUTH ${mechanism}`)
      expect(conversation.slice(-2)).toEqual(['C: QUIT', 'S: 221 2.0.0 Bye'])
      expect(conversation).toContain('S: 235 2.7.0 Authenticated')
      for (const { line } of sink.commands.filter(({ tls }) => tls)) {
        if (!/^(EHLO|QUIT|AUTH (LOGIN|CRAM-MD5)$)/.test(line)) expect(told).not.toContain(line)
      }
      expect(told).not.toContain(Buffer.from(login.user).toString('base64'))
      expect(sink.countOf('MAIL')).toBe(0)
      expect(transport.stats()).toMatchObject({ open: 0, idle: 0 })
    }
  })

  it('fails as a delivery would', async () => {
    const sink = await sinkWith({ auth: ['PLAIN'], users: {} })
    const probing = transportWith().probe(testAccount(sink, login), new AbortController().signal)
    await expect(probing).rejects.toMatchObject({ info: { scope: 'account', phase: 'auth' } })
  })

  it('ends with its signal', async () => {
    const stop = new AbortController()
    const ehlo = () => {
      stop.abort()
      return { silent: true } as const
    }
    const sink = await sinkWith({ behave: { ehlo } })
    await expect(transportWith().probe(testAccount(sink), stop.signal)).rejects.toMatchObject({
      info: { scope: 'session', phase: 'ehlo' },
    })
  })
})

async function rawServer(onConnection: (socket: Socket) => void): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    onConnection(socket)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  leftovers.push(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise(resolve => server.close(resolve))
  })
  return { host: '127.0.0.1', port: (server.address() as { port: number }).port }
}
