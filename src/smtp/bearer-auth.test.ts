import { afterEach, describe, expect, it } from 'vitest'
import { selfSigned } from '../../test/support/certificate.js'
import { sendOptions, testAccount, testTransport, textMail } from '../../test/support/smtp-rig.js'
import { type SinkOptions, type SmtpSink, startSink } from '../../test/support/smtp-sink.js'
import type { Account } from '../accounts/account.js'
import { DatabaseUnavailable } from '../db/db.js'
import type { AccessToken, AccessTokens } from './access-tokens.js'
import { SmtpFailure } from './transport.js'

const certificate = selfSigned(['localhost', '127.0.0.1'])
const GOOD = 'good-token-that-is-long-enough'
const STALE = 'stale-token-that-was-revoked'
const oauth: Partial<Account> = { user: 'shop,1=a@mail.test', authMethod: 'oauth2', password: 'not-to-be-used' }
const envelope = { from: 'a@x.test', to: ['b@x.test'] }
const leftovers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of leftovers.splice(0)) await close()
})

async function sinkWith(options: SinkOptions = {}): Promise<SmtpSink> {
  const isTokenGood = (token: string, user: string) => token === GOOD && user === userOf(options)
  const sink = await startSink({ certificate, auth: ['PLAIN', 'XOAUTH2'], tls: 'starttls', isTokenGood, ...options })
  leftovers.push(() => sink.close())
  return sink
}

/** OAUTHBEARER has to write the comma and the equals sign otherwise (RFC 5801 §4). */
const userOf = ({ auth }: SinkOptions) => (auth?.includes('XOAUTH2') === false ? 'shop=2C1=3Da@mail.test' : oauth.user)

const token = (value: string, isNew = false): AccessToken => ({
  ok: true,
  token: value,
  isNew,
  about: `about ${isNew}`,
})

/** Gives these, and tells what it was asked for. */
function tokensOf(first: AccessToken, second?: AccessToken): AccessTokens & { readonly asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    async get() {
      asked.push('get')
      return first
    },
    async renew(_account, refused) {
      asked.push(`renew ${refused}`)
      if (second === undefined) throw new Error('no second one was expected')
      return second
    },
  }
}

function transportWith(tokens: AccessTokens) {
  const transport = testTransport({}, { ca: certificate.cert, tokens })
  leftovers.push(() => transport.close())
  return transport
}

async function probe(sink: SmtpSink, tokens: AccessTokens, account: Partial<Account> = {}) {
  const lines: string[] = []
  const { signal } = new AbortController()
  const probing = transportWith(tokens).probe(testAccount(sink, { ...oauth, ...account }), signal, lines)
  const failure = await probing.then(
    () => null,
    (error: unknown) => error,
  )
  if (failure !== null && !(failure instanceof SmtpFailure)) throw failure
  return { failure, lines }
}

const authLines = (sink: SmtpSink) => sink.commands.map(({ line }) => line).filter(line => line.startsWith('AUTH'))

describe('a login with an access token', () => {
  it('says XOAUTH2 with the token in the command, after STARTTLS, and not the password', async () => {
    const sink = await sinkWith()
    const tokens = tokensOf(token(GOOD))
    await transportWith(tokens).send(testAccount(sink, oauth), envelope, textMail(), sendOptions())
    const response = Buffer.from(`user=shop,1=a@mail.test\x01auth=Bearer ${GOOD}\x01\x01`).toString('base64')
    expect(authLines(sink)).toEqual([`AUTH XOAUTH2 ${response}`])
    expect(sink.messages).toMatchObject([{ tls: true, authUser: 'shop,1=a@mail.test' }])
    expect(tokens.asked).toEqual(['get'])
  })

  it('says OAUTHBEARER where only that is offered', async () => {
    const sink = await sinkWith({ auth: ['LOGIN', 'OAUTHBEARER'] })
    expect((await probe(sink, tokensOf(token(GOOD)))).failure).toBeNull()
    const [line = ''] = authLines(sink)
    expect(Buffer.from(line.split(' ')[2] ?? '', 'base64').toString()).toBe(
      `n,a=shop=2C1=3Da@mail.test,\x01host=127.0.0.1\x01port=${sink.port}\x01auth=Bearer ${GOOD}\x01\x01`,
    )
  })

  it('sends it again to a server that does not read it in the command', async () => {
    const sink = await sinkWith({
      isTokenGood: () => false,
      behave: { auth: ({ n, line }) => (n === 1 ? '334 ' : line.startsWith('dXNlcj') ? '235 2.7.0 Ok' : '535 no') },
    })
    expect((await probe(sink, tokensOf(token(GOOD)))).failure).toBeNull()
  })

  it('is kept for further mails', async () => {
    const sink = await sinkWith()
    const tokens = tokensOf(token(GOOD))
    const transport = transportWith(tokens)
    const account = testAccount(sink, oauth)
    for (let i = 0; i < 3; i++) await transport.send(account, envelope, textMail(), sendOptions())
    expect([sink.connections, tokens.asked]).toEqual([1, ['get']])
  })

  it('is another connection for another grant, another client and the password', async () => {
    const sink = await sinkWith({ auth: ['PLAIN', 'XOAUTH2'], users: { 'shop,1=a@mail.test': 'not-to-be-used' } })
    const transport = transportWith(tokensOf(token(GOOD)))
    const grant = { provider: null, tenant: null, tokenUrl: 'https://a.test/', grantType: 'refresh_token' } as const
    const client = { clientId: 'a', clientSecret: 's', scope: null, clientAuthMethod: 'client_secret_post' } as const
    const oauth2 = { ...grant, ...client, refreshToken: 'r' }
    for (const change of [
      { oauth2 },
      { oauth2: { ...oauth2, refreshToken: 'other' } },
      { oauth2: { ...oauth2, clientId: 'b' } },
      { authMethod: 'password', oauth2: { ...oauth2, clientId: 'b' } },
    ] as const) {
      await transport.send(testAccount(sink, { ...oauth, ...change }), envelope, textMail(), sendOptions())
    }
    expect(sink.connections).toBe(4)
    expect(authLines(sink).map(line => line.split(' ')[1])).toEqual(['XOAUTH2', 'XOAUTH2', 'XOAUTH2', 'PLAIN'])
  })
})

describe('a refused access token', () => {
  it('that was kept is replaced once, on a connection of its own', async () => {
    const sink = await sinkWith()
    const tokens = tokensOf(token(STALE), token(GOOD, true))
    const { failure, lines } = await probe(sink, tokens)
    expect(failure).toBeNull()
    expect([tokens.asked, sink.connections]).toEqual([['get', `renew ${STALE}`], 2])
    expect(lines.filter(line => line.startsWith('OAuth'))).toEqual(['OAuth: about false', 'OAuth: about true'])
  })

  it('that was got just now is the failure of the account, with what the server said why', async () => {
    const sink = await sinkWith()
    const tokens = tokensOf(token(STALE, true))
    const { failure } = await probe(sink, tokens)
    const words = '5.7.8 Username and Password not accepted (status 401, schemes bearer, scope https://mail.test/)'
    expect(failure?.info).toMatchObject({
      scope: 'account',
      phase: 'auth',
      reply: { code: 535, enhanced: '5.7.8', text: words },
    })
    expect(failure?.message).toBe(`Login refused by 127.0.0.1:${sink.port}: 535 ${words}`)
    expect(tokens.asked).toEqual(['get'])
  })

  it('and its replacement too: the account fails, and no third one is asked for', async () => {
    const sink = await sinkWith()
    const tokens = tokensOf(token(STALE), token(`${STALE}-too`, true))
    expect((await probe(sink, tokens)).failure?.info).toMatchObject({ scope: 'account', reply: { code: 535 } })
    expect([tokens.asked.length, authLines(sink).length]).toEqual([2, 2])
  })

  it('without a challenge, as Microsoft refuses it, is replaced too', async () => {
    const sink = await sinkWith({
      behave: { auth: ({ n }) => (n === 1 ? '535 5.7.3 Authentication unsuccessful' : null) },
    })
    expect((await probe(sink, tokensOf(token(STALE), token(GOOD, true)))).failure).toBeNull()
  })

  it.each([
    ['454 4.7.0 Temporary authentication failure', 'account'],
    ['504 5.5.4 Unrecognized authentication type', 'account'],
  ])('is not replaced for %s', async (reply, scope) => {
    const sink = await sinkWith({ behave: { auth: () => reply } })
    const tokens = tokensOf(token(STALE))
    expect((await probe(sink, tokens)).failure?.info).toMatchObject({
      scope,
      reply: { code: Number(reply.slice(0, 3)) },
    })
    expect(tokens.asked).toEqual(['get'])
  })

  it('answers the challenge of OAUTHBEARER with the octet that RFC 7628 wants', async () => {
    const sink = await sinkWith({ auth: ['OAUTHBEARER'] })
    expect((await probe(sink, tokensOf(token(STALE, true)))).failure?.info.reply?.code).toBe(535)
    expect(sink.commands.map(({ line }) => line)).toContain('AQ==')
  })

  it('stands in no conversation and no failure, whatever a server repeats', async () => {
    const forms = [STALE, Buffer.from(STALE).toString('base64')]
    const said: string[] = []
    const sink = await sinkWith({
      behave: {
        auth: ({ n, line }) => {
          said.push(line)
          const challenge = Buffer.from(JSON.stringify({ status: STALE, was: line })).toString('base64')
          return n === 1 ? `334 ${challenge}` : `535 5.7.8 no ${forms.join(' ')} ${said[0]}`
        },
      },
    })
    const { failure, lines } = await probe(sink, tokensOf(token(STALE, true)))
    const [, , response = ''] = (said[0] ?? '').split(' ')
    expect(response).not.toBe('')
    const told = `${lines.filter(line => !line.startsWith('S: 334')).join('\n')} ${failure?.message} ${JSON.stringify(failure?.info.reply)}`
    for (const secret of [...forms, response]) expect([secret, told.includes(secret)]).toEqual([secret, false])
    expect(lines.filter(line => line.startsWith('S: 334'))).toEqual(['S: 334 ***'])
    expect(lines).toContain('C: AUTH XOAUTH2 ***')
  })
})

describe('an access token is not sent', () => {
  it.each([
    { useTls: null, tls: null, why: 'STARTTLS is not offered' },
    { useTls: true, tls: null, why: 'STARTTLS is asked for and not offered' },
  ])('in clear when $why', async ({ useTls, tls }) => {
    const sink = await sinkWith({ tls })
    const { failure } = await probe(sink, tokensOf(token(GOOD)), { useTls })
    expect(failure?.info).toMatchObject({ scope: 'account', phase: 'tls' })
    expect(authLines(sink)).toEqual([])
  })

  it('in clear unless use_tls false says so', async () => {
    const sink = await sinkWith({ tls: null })
    const { failure } = await probe(sink, tokensOf(token(GOOD)), { useTls: null })
    expect(failure?.message).toBe(
      `Login to 127.0.0.1:${sink.port} is not possible: the connection is not encrypted, and an access token goes in clear only with use_tls false`,
    )
    expect((await probe(sink, tokensOf(token(GOOD)), { useTls: false })).failure).toBeNull()
  })

  it.each([
    [['PLAIN', 'LOGIN'] as const, 'only PLAIN, LOGIN'],
    [[] as const, 'no AUTH'],
  ])('to a server that offers %j, and the words say so', async (auth, offered) => {
    const sink = await sinkWith({ auth })
    const { failure } = await probe(sink, tokensOf(token(GOOD)))
    expect(failure?.info).toMatchObject({ scope: 'account', phase: 'auth' })
    expect(failure?.message).toContain(`auth_method oauth2 needs XOAUTH2 or OAUTHBEARER, the server offers ${offered}`)
    expect(authLines(sink)).toEqual([])
  })
})

describe('without a token', () => {
  it('the account fails in the words given, and its server is not asked', async () => {
    const sink = await sinkWith()
    const { failure, lines } = await probe(sink, tokensOf({ ok: false, words: 'Token endpoint says no' }))
    expect(failure?.info).toMatchObject({ scope: 'account', phase: 'auth', reply: null, reachedData: false })
    expect([failure?.message, lines, sink.connections]).toEqual([
      'Token endpoint says no',
      ['OAuth: Token endpoint says no'],
      0,
    ])
  })

  it('a stop does not wait for one', async () => {
    const sink = await sinkWith()
    const never: AccessTokens = { get: () => new Promise(() => {}), renew: () => new Promise(() => {}) }
    const stop = new AbortController()
    const sending = transportWith(never).send(
      testAccount(sink, oauth),
      envelope,
      textMail(),
      sendOptions({ signal: stop.signal }),
    )
    stop.abort()
    await expect(sending).rejects.toMatchObject({ info: { scope: 'session' } })
  })

  it("a database that is away is not the account's fault", async () => {
    const sink = await sinkWith()
    const away: AccessTokens = { ...tokensOf(token(GOOD)), get: () => Promise.reject(new DatabaseUnavailable('away')) }
    const sending = transportWith(away).send(testAccount(sink, oauth), envelope, textMail(), sendOptions())
    await expect(sending).rejects.toBeInstanceOf(DatabaseUnavailable)
  })
})
