/** The transport against a server that others wrote: what both agree on is not a misreading shared with our own sink. */
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { afterEach, describe, expect, it } from 'vitest'
import { selfSigned } from '../../test/support/certificate.js'
import { sendOptions, testAccount, testTransport, textMail } from '../../test/support/smtp-rig.js'
import type { Account } from '../accounts/account.js'
import type { Mail } from './transport.js'

const certificate = selfSigned()
const leftovers: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of leftovers.splice(0)) await close()
})

interface Taken {
  readonly from: string
  readonly to: string[]
  readonly raw: string
  readonly secure: boolean
  readonly user: string | false
}

async function rig(options: SMTPServerOptions = {}) {
  const taken: Taken[] = []
  const server = new SMTPServer({
    ...certificate,
    authOptional: true,
    logger: false,
    onAuth(auth, _session, done) {
      const isRight =
        auth.username === 'alice' &&
        (auth.method === 'CRAM-MD5' ? auth.validatePassword('secret') : auth.password === 'secret')
      if (isRight) done(null, { user: 'alice' })
      else done(new Error('Invalid login'))
    },
    onRcptTo({ address }, _session, done) {
      if (address.startsWith('no')) done(Object.assign(new Error('No such user'), { responseCode: 550 }))
      else done()
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = []
      stream.on('data', chunk => chunks.push(chunk))
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope
        taken.push({
          from: mailFrom ? mailFrom.address : '',
          to: rcptTo.map(({ address }) => address),
          raw: Buffer.concat(chunks).toString(),
          secure: session.secure,
          user: session.user as unknown as string | false,
        })
        done(null, 'Queued')
      })
    },
    ...options,
  })
  server.on('error', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as { port: number }
  const transport = testTransport({}, { ca: certificate.cert })
  leftovers.push(
    () => transport.close(),
    () => new Promise(resolve => server.close(() => resolve())),
  )
  const send = (account: Partial<Account> = {}, mail: Mail = textMail(), to = ['b@x.test']) =>
    transport.send(testAccount({ host: '127.0.0.1', port }, account), { from: 'a@x.test', to }, mail, sendOptions())
  return { taken, send }
}

describe('against smtp-server', () => {
  it('delivers over STARTTLS, again and again on one connection', async () => {
    const { taken, send } = await rig()
    for (let i = 0; i < 3; i++) expect(await send({ useTls: true })).toMatchObject({ data: { code: 250 } })
    expect(taken).toHaveLength(3)
    expect(taken[0]).toEqual({
      from: 'a@x.test',
      to: ['b@x.test'],
      raw: 'Subject: hello\r\n\r\nHello.\r\n',
      secure: true,
      user: false,
    })
  })

  it.each(['PLAIN', 'LOGIN', 'CRAM-MD5'])('logs in with %s', async method => {
    const { taken, send } = await rig({ authMethods: [method] })
    await send({ user: 'alice', password: 'secret' })
    expect(taken).toMatchObject([{ user: 'alice', secure: true }])
    await expect(send({ user: 'alice', password: 'wrong' })).rejects.toMatchObject({
      info: { scope: 'account', phase: 'auth', reply: { code: 535 } },
    })
  })

  it('fails where STARTTLS is missing and asked for', async () => {
    const { taken, send } = await rig({ hideSTARTTLS: true, disabledCommands: ['STARTTLS'] })
    await expect(send({ useTls: true })).rejects.toMatchObject({ info: { scope: 'account', phase: 'tls' } })
    expect(taken).toEqual([])
  })

  it('heeds its SIZE', async () => {
    const { send } = await rig({ size: 100 })
    expect(await send({}, textMail(`${'x'.repeat(150)}\r\n`))).toMatchObject({ mail: { code: 552 } })
    expect(await send()).toMatchObject({ data: { code: 250 } })
  })

  it('hands over SMTPUTF8 addresses and 8bit content', async () => {
    const { taken, send } = await rig()
    const mail = textMail('Subject: grüße\r\n\r\nö\r\n', { needsSmtpUtf8: true, is8bit: true })
    expect(await send({}, mail, ['jürgen@x.test'])).toMatchObject({ data: { code: 250 } })
    expect(taken).toMatchObject([{ to: ['jürgen@x.test'], raw: 'Subject: grüße\r\n\r\nö\r\n' }])
  })

  it('agrees on dots and on refused recipients', async () => {
    const { taken, send } = await rig()
    const content = '.a\r\n..b\r\n.\r\nc\r\n'
    const replies = await send({}, textMail(content), ['no@x.test', 'b@x.test'])
    expect(replies.recipients.map(({ reply }) => reply?.code)).toEqual([550, 250])
    expect(taken).toMatchObject([{ to: ['b@x.test'], raw: content }])
    expect(await send({}, textMail(), ['no@x.test'])).toMatchObject({
      recipients: [{ reply: { code: 550 } }],
      data: null,
    })
    expect(await send()).toMatchObject({ data: { code: 250 } })
  })
})
