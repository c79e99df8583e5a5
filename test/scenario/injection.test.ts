/** Line breaks, NUL and SMTP commands in every field: told by reason, code and field, and nothing of it on the wire. And
 * what servers and ids might bring into logs, figures and objects. */
import { expect, it } from 'vitest'
import { createLogger } from '../../src/lib/logger.js'
import { headersOf, openScene, wireText } from '../support/scene.js'
import { expectBalanced, metric, tenant, untilReported } from '../support/story.js'

/** What a header or a command could be broken with. */
const BREAKS = {
  'CR LF': '\r\nRCPT TO:<evil@example.org>',
  LF: '\nBcc: evil@example.org',
  CR: '\rX-Evil: 1',
  NUL: '\0evil',
  'end of data': '\r\n.\r\nMAIL FROM:<evil@example.org>',
  'vertical tab': '\u000bevil',
  DEL: '\u007fevil',
  NEL: '\u0085evil',
}

const attachment = { filename: 'a.txt', storage_path: 'base64:aGVsbG8=' }

/** The field that a refusal must name, and how the text comes into the message. */
const FIELDS: readonly (readonly [string, (evil: string) => Record<string, unknown>])[] = [
  ['id', evil => ({ id: `m1${evil}` })],
  ['tenant_id', evil => ({ tenant_id: `default${evil}` })],
  ['account_id', evil => ({ account_id: `main${evil}` })],
  ['from', evil => ({ from: `a@example.com${evil}` })],
  ['from', evil => ({ from: `Name${evil} <a@example.com>` })],
  ['to', evil => ({ to: `b@example.net${evil}` })],
  ['to', evil => ({ to: ['b@example.net', `c@example.net${evil}`] })],
  ['to', evil => ({ to: `"Name${evil}" <b@example.net>` })],
  ['cc', evil => ({ cc: [`c@example.net${evil}`] })],
  ['bcc', evil => ({ bcc: `d@example.net${evil}` })],
  ['reply_to', evil => ({ reply_to: `e@example.net${evil}` })],
  ['return_path', evil => ({ return_path: `bounce@example.com${evil}` })],
  ['subject', evil => ({ subject: `Hello${evil}` })],
  ['batch_code', evil => ({ batch_code: `b${evil}` })],
  ['message_id', evil => ({ message_id: `<x@example.com>${evil}` })],
  ['headers.X-Order', evil => ({ headers: { 'X-Order': `7${evil}` } })],
  ['headers.', evil => ({ headers: { [`X-Order${evil}`]: '7' } })],
  ['attachments[0].filename', evil => ({ attachments: [{ ...attachment, filename: `a${evil}.txt` }] })],
  ['attachments[0].mime_type', evil => ({ attachments: [{ ...attachment, mime_type: `text/plain${evil}` }] })],
  ['attachments[0].content_id', evil => ({ attachments: [{ ...attachment, content_id: `cid${evil}` }] })],
  ['attachments[0].content_md5', evil => ({ attachments: [{ ...attachment, content_md5: `abc${evil}` }] })],
]

const ADDRESSES_THAT_ARE_COMMANDS = [
  'evil@example.org> SIZE=1',
  'a@example.com>\u2028RCPT TO:<evil@example.org',
  '<a@example.com><evil@example.org>',
  'a@example.com BODY=8BITMIME',
  '@relay.example.org:evil@example.org',
  'evil',
  'a@b@evil.example.org',
  '"evil\\',
  'a@[127.0.0.1]>x',
]

it('a control character in any field is refused by name, and nothing of it reaches the wire', async () => {
  const { service, sink, client } = await openScene()
  const asked = Object.entries(BREAKS).flatMap(([kind, evil]) =>
    FIELDS.map(([field, make]) => ({ kind, field, message: { id: 'evil-message', ...make(evil) } })),
  )
  const { rejected, queued } = await service.send(...asked.map(({ message }) => message), { id: 'good' })
  expect(queued).toBe(1)
  expect(rejected).toHaveLength(asked.length)
  for (const [i, { kind, field }] of asked.entries()) {
    const named = rejected[i].field.startsWith(field)
    expect([kind, field, rejected[i], named]).toEqual([
      kind,
      field,
      {
        index: i,
        id: expect.any(String),
        reason: expect.any(String),
        code: 'invalid_field',
        field: expect.any(String),
      },
      true,
    ])
    expect(rejected[i].reason.length).toBeGreaterThan(10)
  }
  await expectBalanced(service, client, ['good'])
  expect(sink.messages).toHaveLength(1)
  expect(wireText(sink)).not.toMatch(/evil/i)
  expect(sink.countOf('RCPT')).toBe(1)
  // Nothing of it in the database either: a rejected message leaves no trace.
  expect((await service.call('GET', '/messages?tenant_id=default')).body.messages).toHaveLength(1)
})

it('an address that is more than an address is refused in every place for addresses', async () => {
  const { service, sink, client } = await openScene()
  const fields = ['from', 'to', 'cc', 'bcc', 'reply_to', 'return_path']
  const asked = fields.flatMap(field => ADDRESSES_THAT_ARE_COMMANDS.map(address => ({ field, address })))
  const { rejected, queued } = await service.send(
    ...asked.map(({ field, address }) => ({ id: 'evil-message', [field]: address })),
    { id: 'good' },
  )
  expect(queued).toBe(1)
  for (const [i, { field, address }] of asked.entries()) {
    expect([address, rejected[i]]).toMatchObject([address, { code: 'invalid_field', field }])
  }
  await expectBalanced(service, client, ['good'])
  expect(wireText(sink)).not.toMatch(/evil/i)
})

it('headers that would change who gets the mail, or how it is read, cannot be set', async () => {
  const { service, sink, client } = await openScene()
  const names = ['Bcc', 'bCC', 'Resent-To', 'Content-Type', 'content-transfer-encoding', 'MIME-Version', 'Received']
  const more = ['Return-Path', 'X-Genro-Mail-ID', 'X Evil', 'X-Evil:', 'X-Évil', '', ' X-Evil', 'X-Evil ']
  const asked = [...names, ...more]
  const { rejected } = await service.send(...asked.map(name => ({ id: 'evil', headers: { [name]: 'evil' } })), {
    id: 'good',
    headers: { To: 'evil@example.org', Subject: 'evil', From: 'evil@example.org', 'X-Fine': 'yes' },
  })
  expect(rejected.map((each: { field: string; code: string }) => [each.field, each.code])).toEqual(
    asked.map(name => [`headers.${name}`, 'invalid_field']),
  )
  await expectBalanced(service, client, ['good'])
  const headers = headersOf(sink.messages[0]!.raw)
  expect(headers.get('x-fine')).toEqual(['yes'])
  expect(headers.get('to')).toEqual(['one@example.net'])
  expect(wireText(sink)).not.toMatch(/evil/i)
})

it('a body full of SMTP arrives as it was written, as the body of one mail', async () => {
  const { service, sink, client } = await openScene()
  const body =
    'one\r\n.\r\nMAIL FROM:<mallory@example.org>\n.\nRCPT TO:<x@example.org>\r\n..\r\nDATA\n.\r.\r\nQUIT\r\n.'
  await service.send({ id: 'body', body }, { id: 'after' })
  await expectBalanced(service, client, ['body', 'after'])
  expect(sink.messages.map(({ to }) => to)).toEqual([['one@example.net'], ['one@example.net']])
  const mail = sink.messages.find(({ raw }) => raw.includes('mallory'))!
  const [, text = ''] = mail.raw.toString().split('\r\n\r\n')
  const lines = text.replace(/=\r\n/g, '').split('\r\n')
  expect(lines.filter(line => line === '.' || line === '..').length).toBeGreaterThanOrEqual(3)
  expect(lines).toContain('MAIL FROM:<mallory@example.org>')
  expect(sink.countOf('MAIL')).toBe(2)
  expect(sink.commands.some(({ line }) => line.includes('mallory'))).toBe(false)
})

it("an account's and a tenant's own fields are held to the same", async () => {
  const { service, sink } = await openScene()
  const base = { id: 'second', tenant_id: 'default', host: '127.0.0.1', port: sink.port }
  for (const evil of [BREAKS['CR LF'], BREAKS.NUL]) {
    for (const field of ['id', 'host', 'user', 'password']) {
      const { status, body } = await service.call('POST', '/account', { ...base, [field]: `x${evil}` })
      expect([field, status, body.ok, JSON.stringify(body.detail).includes(`"${field}"`)]).toEqual([
        field,
        422,
        false,
        true,
      ])
    }
    for (const field of ['id', 'client_base_url', 'client_sync_path']) {
      const given = { id: 'acme', [field]: `http://127.0.0.1/${evil}` }
      const { status, body } = await service.call('POST', '/tenant', given)
      expect([field, status, body.ok]).toEqual([field, 422, false])
    }
  }
  expect((await service.call('GET', '/accounts?tenant_id=default')).body.accounts).toHaveLength(1)
  expect((await service.call('GET', '/tenants')).body.tenants).toHaveLength(1)
  expect(sink.connections).toBe(0)
})

it("ids that are names of JavaScript's own are ids like any other", async () => {
  const { service, sink, client } = await openScene({ account: null })
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length']
  for (const name of names) {
    await tenant(service, name, client)
    await service.account(sink, { id: name, tenant_id: name })
    const { body } = await service.call('POST', `/commands/suspend?tenant_id=${name}&batch_code=${name}`)
    expect([name, body.suspended_batches]).toEqual([name, [name]])
  }
  const { queued } = await service.send(
    ...names.map(name => ({ id: name, tenant_id: name, account_id: name, batch_code: name })),
  )
  expect(queued).toBe(names.length)
  for (const name of names) {
    const { status, batch_code } = await service.message(name, name)
    expect([name, status, batch_code]).toEqual([name, 'pending', name])
    await service.call('POST', `/commands/activate?tenant_id=${name}&batch_code=${name}`)
  }
  for (const name of names) {
    await service.until(`${name} is sent`, async () => (await service.message(name, name)).status === 'sent')
    await untilReported(service, name)
    const finals = client.finals().filter(each => each.tenant_id === name)
    expect(finals).toEqual([expect.objectContaining({ id: name, account_id: name, sent_ts: expect.any(Number) })])
    expect(await metric(service, `gmp_sent_total{tenant_id="${name}",account_id="${name}"}`)).toBe(1)
    const { body } = await service.call('GET', `/stats?tenant_id=${name}`)
    expect([name, body.by_status, body.by_account.length]).toEqual([name, { sent: 1 }, 1])
  }
  expect(sink.messages).toHaveLength(names.length)
  expect(({} as Record<string, unknown>).suspended_batches).toBeUndefined()
})

it("a server's words stay words: no line of the log, no figure and no terminal code comes of them", async () => {
  const evil = 'evil\u001b[2J\u009b2J\u2028"} gmp_evil_total{tenant_id="x"} 9\u0000\u0007\b'
  const { service, client, reports } = await openScene({
    sink: { behave: { rcpt: () => `550-5.7.1 ${evil}\r\n550 5.7.1 ${evil}` } },
  })
  await service.send({ id: 'refused' })
  await expectBalanced(service, client, ['refused'])
  const { body } = await service.call('GET', '/messages/refused?include_history=true')
  const [report] = reports('refused')
  for (const told of [body.error, report!.error, report!.recipients?.[0]?.reply ?? body.error]) {
    expect(told).toContain('evil')
    expect(told).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
  }
  const figures = String((await service.call('GET', '/metrics')).body).split('\n')
  expect(figures.filter(line => line.includes('evil'))).toEqual([])
  expect(service.logs.filter(line => line.includes('evil')).length).toBeGreaterThan(0)
  for (const format of ['text', 'json'] as const) {
    const lines: string[] = []
    const log = createLogger({ level: 'debug', format, write: line => void lines.push(line) })
    for (const line of service.logs) log.info(`${line} ${evil}`, { reply: evil })
    expect(lines.filter(line => !/^[^\u0000-\u001f\u007f-\u009f\u2028]+\n$/.test(line))).toEqual([])
  }
})
