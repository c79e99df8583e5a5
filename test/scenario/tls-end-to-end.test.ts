/** What an account asks for in TLS is what it gets, or nothing is sent: neither a mail nor a password in clear. */
import { describe, expect, it } from 'vitest'
import { selfSigned } from '../support/certificate.js'
import { idsOf, opened, openScene, wireText } from '../support/scene.js'
import { type SinkOptions, type SmtpSink, startSink } from '../support/smtp-sink.js'
import { expectBalanced, many } from '../support/story.js'

const ours = selfSigned(['127.0.0.1'])
const theirs = selfSigned(['127.0.0.1'])
const otherName = selfSigned(['mail.example.com'])
const LOGIN = { auth: ['PLAIN'], users: { shop: 'secret-of-the-shop' } } as const satisfies SinkOptions
const USER = { user: 'shop', password: 'secret-of-the-shop' }
const trusting = (ca: string) => ({ overrides: { smtpCa: ca }, env: { GMP_RETRY_DELAYS: '20' } })

/** Implicit TLS is decided by the port's number alone (RFC 8314 §3.3). */
const on465 = await startSink({ port: 465, tls: 'implicit', certificate: ours, ...LOGIN }).catch(() => null)
await on465?.close()

const clearCommands = (sink: SmtpSink) => sink.commands.filter(({ tls }) => !tls).map(({ line }) => line.split(' ')[0])

/** Nothing but the way to a refusal was said: no sender, no content, no login. */
function expectNothingSent(sink: SmtpSink): void {
  expect(sink.messages).toEqual([])
  for (const verb of ['MAIL', 'RCPT', 'DATA', 'AUTH']) expect([verb, sink.countOf(verb)]).toEqual([verb, 0])
  expect(wireText(sink)).not.toContain(Buffer.from('\0shop\0secret-of-the-shop').toString('base64'))
}

describe('STARTTLS', () => {
  it.each([null, true])('with use_tls %s carries login and mail, none of it in clear', async use_tls => {
    const { service, sink, client } = await openScene({
      ...trusting(ours.cert),
      sink: { tls: 'starttls', certificate: ours, ...LOGIN },
      account: { ...USER, use_tls },
    })
    await service.send(...many(3, 'm'))
    await expectBalanced(service, client, ['m1', 'm2', 'm3'])
    expect(sink.messages.map(({ tls, authUser }) => [tls, authUser])).toEqual(Array(3).fill([true, 'shop']))
    expect(new Set(clearCommands(sink))).toEqual(new Set(['EHLO', 'STARTTLS']))
  })

  it('with use_tls false is left alone, though offered', async () => {
    const { service, sink, client } = await openScene({
      ...trusting(ours.cert),
      sink: { tls: 'starttls', certificate: ours },
    })
    await service.send({ id: 'clear' })
    await expectBalanced(service, client, ['clear'])
    expect([sink.messages[0]!.tls, sink.countOf('STARTTLS')]).toEqual([false, 0])
  })

  it('asked for and not offered pauses the account, and nothing leaves in clear', async () => {
    const { service, sink, client, reports } = await openScene({
      ...trusting(ours.cert),
      sink: LOGIN,
      account: { ...USER, use_tls: true },
    })
    await service.send({ id: 'waits' })
    await service.until('the report', () => client.deferrals().length === 1)
    expect(reports('waits')[0]!.deferred_reason).toMatch(/tls/i)
    const { body } = await service.call('GET', '/account/main?tenant_id=default')
    expect(body).toMatchObject({ paused: true, pause: { kind: 'failure' } })
    expect(body.pause.reason).toMatch(/tls/i)
    await service.until('probes', async () => {
      const account = await service.call('GET', '/account/main?tenant_id=default')
      return account.body.pause.probes >= 2
    })
    expectNothingSent(sink)
    expect(await service.message('waits')).toMatchObject({ attempts: 0, waiting_for: 'paused_account' })
    // The operator decides that this server may be spoken to in clear.
    await service.call('POST', '/account', { id: 'main', tenant_id: 'default', use_tls: null })
    await expectBalanced(service, client, ['waits'])
    expect(sink.messages.map(({ tls }) => tls)).toEqual([false])
  })
})

describe('a certificate', () => {
  it.each([
    ['signed by nobody we know', theirs],
    ['for another name', otherName],
    ['out of date', selfSigned(['127.0.0.1'], -1)],
  ])('%s pauses the account, and nothing is sent', async (what, certificate) => {
    const ca = what === 'signed by nobody we know' ? ours.cert : certificate.cert
    const { service, sink, client, reports } = await openScene({
      ...trusting(ca),
      sink: { tls: 'starttls', certificate, ...LOGIN },
      account: { ...USER, use_tls: null },
    })
    await service.send({ id: 'waits' })
    await service.until('the report', () => client.deferrals().length === 1)
    expect(reports('waits')[0]!.deferred_reason).toMatch(/certificate|altnames/i)
    expectNothingSent(sink)
    expect(service.logs.filter(line => line.startsWith('ERROR'))).toHaveLength(1)
    expect((await service.call('GET', '/status')).body.paused_accounts).toHaveLength(1)
    const tested = await service.call('POST', '/account/main/test?tenant_id=default')
    expect([tested.body.ok, /certificate|altnames/i.test(tested.body.error)]).toEqual([false, true])
    expect(tested.body.conversation).toContain('C: STARTTLS')
    expectNothingSent(sink)

    // With tls_verify off the account accepts whatever certificate: encrypted all the same.
    await service.call('POST', '/account', { id: 'main', tenant_id: 'default', tls_verify: false })
    await expectBalanced(service, client, ['waits'])
    expect(sink.messages.map(({ tls, authUser }) => [tls, authUser])).toEqual([[true, 'shop']])
  })
})

describe.runIf(on465 !== null)('implicit TLS on port 465', () => {
  it('encrypts from the first octet', async () => {
    const { service, client } = await openScene({ ...trusting(ours.cert), account: null })
    const sink = await opened(startSink({ port: 465, tls: 'implicit', certificate: ours, ...LOGIN }), it => it.close())
    await service.account(sink, { ...USER, use_tls: null })
    await service.send({ id: 'sealed' })
    await expectBalanced(service, client, ['sealed'])
    expect(sink.messages.map(({ tls, authUser }) => [tls, authUser])).toEqual([[true, 'shop']])
    expect(clearCommands(sink)).toEqual([])
  })

  it('with a wrong certificate sends nothing', async () => {
    const { service, client } = await openScene({ ...trusting(theirs.cert), account: null })
    const sink = await opened(startSink({ port: 465, tls: 'implicit', certificate: ours, ...LOGIN }), it => it.close())
    await service.account(sink, { ...USER, use_tls: true })
    await service.send({ id: 'waits' })
    await service.until('the report', () => client.deferrals().length === 1)
    expect(sink.commands).toEqual([])
    expect(sink.messages).toEqual([])
  })
})

describe('two accounts on one server', () => {
  it('that differ in use_tls never share a connection', async () => {
    const { service, sink, client } = await openScene({
      ...trusting(ours.cert),
      sink: { tls: 'starttls', certificate: ours, ...LOGIN },
      account: { ...USER, use_tls: false },
    })
    await service.account(sink, { ...USER, id: 'secure', use_tls: true })
    // By turns, so that each finds the other's idle connections.
    const ids: string[] = []
    for (let i = 0; i < 8; i += 1) {
      const id = `${i % 2 === 0 ? 'clear' : 'sealed'}-${i}`
      ids.push(id)
      await service.send({ id, account_id: i % 2 === 0 ? 'main' : 'secure' })
      await sink.waitFor(i + 1)
    }
    await expectBalanced(service, client, ids)
    expect(idsOf(sink.messages)).toEqual(ids)
    for (const [i, { tls }] of sink.messages.entries()) expect([ids[i], tls]).toEqual([ids[i], i % 2 === 1])
    const used = (tls: boolean) =>
      new Set(sink.messages.filter(each => each.tls === tls).map(each => each.connectionId))
    expect([...used(true)].filter(id => used(false).has(id))).toEqual([])
    // Kept, and not opened anew for each message.
    expect(used(true).size + used(false).size).toBeLessThan(8)
  })

  it('changed from clear to TLS uses its old connections no more', async () => {
    const { service, sink, client } = await openScene({
      ...trusting(ours.cert),
      sink: { tls: 'starttls', certificate: ours },
      account: { use_tls: false },
    })
    await service.send({ id: 'before' })
    await expectBalanced(service, client, ['before'])
    await service.call('POST', '/account', { id: 'main', tenant_id: 'default', use_tls: true })
    await service.send({ id: 'after' })
    await expectBalanced(service, client, ['before', 'after'])
    expect(sink.messages.map(({ tls }) => tls)).toEqual([false, true])
  })
})
