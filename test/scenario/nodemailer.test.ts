/**
 * An application that sends by Nodemailer changes one line: what then arrives through the proxy is what Nodemailer's own
 * SMTP transport sends to the same server.
 */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import nodemailer, { type SendMailOptions } from 'nodemailer'
import PostalMime, { type Email } from 'postal-mime'
import { describe, expect, it } from 'vitest'
import { type MailProxyOptions, mailProxyTransport, type TransportOptions } from '../../src/client/nodemailer/index.js'
import { tempDir } from '../support/process.js'
import { headersOf, opened, openScene, type Scene } from '../support/scene.js'
import { ADMIN_TOKEN } from '../support/service.js'
import { type SinkMessage, startSink } from '../support/smtp-sink.js'

type Mail = SendMailOptions & MailProxyOptions

const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)
const BYTES = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 251))
const BASIC: Mail = {
  from: { name: 'Bücher & "Café", GmbH', address: 'shop@example.org' },
  to: ['Ada Lovelace <ada@example.net>', '"Quoted, \\"Name\\"" <quoted@example.net>'],
  subject: 'Grüße: your order № 4711',
  text: 'Hello,\r\n.a line with a dot\r\nGrüße\r\n',
}

const MAILS: Readonly<Record<string, (dir: string) => Mail>> = {
  'a plain text': () => ({ ...BASIC, to: 'ada@example.net', subject: 'Hello', text: 'Hello' }),
  'names with commas, quotes and umlauts': () => BASIC,
  'text and html': () => ({ ...BASIC, html: '<p>Grüße</p>' }),
  'html alone': () => ({ ...BASIC, text: undefined, html: '<p>Hello</p>' }),
  'neither body': () => ({ ...BASIC, text: undefined }),
  'cc, bcc, replyTo and sender': () => ({
    ...BASIC,
    cc: 'Cc <cc@example.net>, cc2@example.net',
    bcc: ['hidden@example.net', { name: 'Hidden', address: 'hidden2@example.net' }],
    replyTo: ['Answers <answers@example.org>', 'more@example.org'],
    sender: 'Secretary <secretary@example.org>',
  }),
  'a group of addresses': () => ({ ...BASIC, to: 'Team: ada@example.net, Bob <bob@example.net>;' }),
  'an international domain': () => ({ ...BASIC, to: 'ada@bücher.example' }),
  'an envelope of its own': () => ({
    ...BASIC,
    envelope: {
      from: 'bounces@example.org',
      to: ['ada@EXAMPLE.net', 'quoted@example.net', 'archive@example.org'],
    },
  }),
  'a null reverse-path': () => ({ ...BASIC, envelope: { from: '', to: ['ada@example.net', 'quoted@example.net'] } }),
  'headers of many kinds': () => ({
    ...BASIC,
    headers: { 'X-Order': '4711', 'x-lower': 'grüße', 'X-Long': `${'word '.repeat(60)}end` },
    messageId: '<order-4711@example.org>',
    inReplyTo: '<first@example.org>',
    references: ['<first@example.org>', '<second@example.org>'],
    date: new Date('2026-01-02T03:04:05Z'),
    priority: 'high',
    xMailer: 'The shop 1.0',
    list: {
      unsubscribe: ['https://example.org/u?x=1', { url: 'u@example.org', comment: 'by mail' }],
      id: { url: 'news.example.org', comment: 'The news' },
    },
  }),
  'headers as a list': () => ({
    ...BASIC,
    headers: [
      { key: 'X-A', value: 'Grüße an alle' },
      { key: 'X-B', value: 'b' },
    ],
  }),
  'attachments of every source': dir => ({
    ...BASIC,
    attachments: [
      { filename: 'buffer.bin', content: BYTES },
      { filename: 'stream.bin', content: Readable.from([BYTES.subarray(0, 100), BYTES.subarray(100)]) },
      { path: join(dir, 'Übersicht (1).pdf') },
      { filename: 'text.csv', content: 'a,b\n1,ü\n' },
      { filename: 'coded.txt', content: Buffer.from('Grüße').toString('hex'), encoding: 'hex' },
      { filename: 'typed', content: BYTES, contentType: 'application/x-own; charset=binary' },
      { path: `data:image/png;base64,${PNG.toString('base64')}`, filename: 'data.png' },
      { filename: 'empty.bin', content: Buffer.alloc(0) },
    ],
  }),
  'pictures by cid and by data URI': () => ({
    ...BASIC,
    html: `<p><img src="cid:logo@example.org"><img src="data:image/png;base64,${PNG.toString('base64')}"></p>`,
    attachDataUrls: true,
    attachments: [{ filename: 'logo.png', content: PNG, cid: 'logo@example.org' }],
  }),
  'bodies as streams and files': dir => ({
    ...BASIC,
    text: { path: join(dir, 'body.txt') },
    html: Readable.from([Buffer.from('<p>Gr'), Buffer.from('üße</p>')]),
  }),
}

describe('Nodemailer through the proxy', () => {
  const transportTo = (scene: Scene, options: Partial<TransportOptions> = {}) =>
    nodemailer.createTransport(
      mailProxyTransport({ url: scene.service.url, token: ADMIN_TOKEN, tenantId: 'default', ...options }),
    )

  it.each(Object.entries(MAILS))('brings %s as the SMTP transport does', async (_, make) => {
    const scene = await openScene()
    const direct = await opened(startSink(), each => each.close())
    const { dir } = await opened(tempDir(), each => each.remove())
    await writeFile(join(dir, 'Übersicht (1).pdf'), BYTES)
    await writeFile(join(dir, 'body.txt'), 'From a file: grüße')
    const smtp = nodemailer.createTransport({ host: direct.host, port: direct.port, ignoreTLS: true })
    // Each its own mail: streams can be read once.
    const there = await smtp.sendMail(make(dir))
    const here = await transportTo(scene).sendMail(make(dir))
    await scene.sink.waitFor(1)

    expect(await likeness(scene.sink.messages[0]!)).toEqual(await likeness(direct.messages[0]!))
    expect(here.envelope).toEqual({ from: there.envelope.from, to: there.envelope.to })
    expect(here.accepted).toEqual(there.accepted)
    expect([here.rejected, here.pending]).toEqual([[], []])
    expect(headersOf(scene.sink.messages[0]!.raw).get('message-id')).toEqual([here.messageId])
    expect(here.response).toBe(`queued as ${here.proxyId}`)
    smtp.close()
  })

  it('carries an event as a file with its method', async () => {
    const scene = await openScene()
    const content = 'BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n'
    await transportTo(scene).sendMail({ ...BASIC, icalEvent: { method: 'request', filename: 'meet.ics', content } })
    await scene.sink.waitFor(1)
    const { raw } = scene.sink.messages[0]!
    const { attachments } = await PostalMime.parse(raw)
    expect(attachments).toMatchObject([{ filename: 'meet.ics', mimeType: 'text/calendar', method: 'REQUEST' }])
    expect(raw.toString()).toContain(`\r\n${Buffer.from(content).toString('base64')}\r\n`)
  })

  it('takes what concerns the queue from the transport and from the mail', async () => {
    const scene = await openScene({ env: { GMP_SCHEDULER_ACTIVE: 'false' } })
    await scene.service.account(scene.sink, { id: 'bulk' })
    const transport = transportTo(scene, { account: 'bulk', priority: 'low', batchCode: 'news' })
    const send = async (mail: Partial<Mail>) => {
      const { proxyId } = await transport.sendMail({ ...BASIC, ...mail })
      const { account_id, priority, batch_code, deferred_ts, status } = await scene.service.message(proxyId)
      return { account_id, priority, batch_code, deferred_ts, status }
    }
    expect(await send({})).toEqual({ account_id: 'bulk', priority: 3, batch_code: 'news', status: 'pending' })
    expect(await send({ priority: 'high' })).toMatchObject({ priority: 1 })
    const mailProxy = { account_id: 'main', priority: 0, batch_code: 'other', deferred_ts: 4_102_444_800 } as const
    expect(await send({ priority: 'low', mailProxy })).toEqual({ ...mailProxy, status: 'deferred' })
  })

  it('makes a mail once for one id, however often it is sent', async () => {
    const scene = await openScene()
    const transport = transportTo(scene)
    const mail: Mail = { ...BASIC, mailProxy: { id: 'order-4711' } }
    expect((await transport.sendMail({ ...mail })).response).toBe('queued as order-4711')
    await scene.service.until('it is sent', async () => (await scene.service.message('order-4711')).status === 'sent')
    const again = await transport.sendMail({ ...mail })
    expect(again).toMatchObject({ proxyId: 'order-4711', accepted: ['ada@example.net', 'quoted@example.net'] })
    expect(again.response).toContain('already_sent')
    // Without an id each call is a mail of its own.
    const ids = [(await transport.sendMail({ ...BASIC })).proxyId, (await transport.sendMail({ ...BASIC })).proxyId]
    expect(new Set(ids).size).toBe(2)
    await scene.sink.waitFor(3)
    expect(scene.sink.messages).toHaveLength(3)
  })

  it('rejects with the reason of the proxy', async () => {
    const scene = await openScene()
    const transport = transportTo(scene)
    const refused = (mail: Mail) =>
      transport.sendMail(mail).then(
        () => expect.fail('it was taken'),
        error => error,
      )
    expect(await refused({ ...BASIC, subject: '' })).toMatchObject({
      code: 'missing_field',
      details: { field: 'subject' },
    })
    expect(await refused({ ...BASIC, mailProxy: { account_id: 'none' } })).toMatchObject({ code: 'account_not_found' })
    expect((await refused({ ...BASIC, headers: { 'Resent-To': 'x@example.org' } })).message).toContain('cannot be set')
    expect((await refused({ ...BASIC, headers: { 'X-Größe': '1' } })).message).toContain('not a header name')
    expect(await refused({ ...BASIC, attachments: [{ path: '/no/such/file' }] })).toMatchObject({ code: 'ENOENT' })
    const closed = nodemailer.createTransport(
      mailProxyTransport({ url: 'http://127.0.0.1:1', token: 'x', retry: false }),
    )
    await expect(closed.sendMail(BASIC)).rejects.toMatchObject({ code: 'unreachable' })
    expect(scene.sink.messages).toEqual([])
  })

  const base = BASIC
  it.each<[string, Mail]>([
    ['raw', { ...base, raw: 'From: a@example.org\r\n\r\nx' }],
    ['dkim', { ...base, dkim: { domainName: 'example.org', keySelector: 's', privateKey: 'k' } }],
    ['amp', { ...base, amp: '<!doctype html><html ⚡4email></html>' }],
    ['watchHtml', { ...base, watchHtml: '<b>x</b>' }],
    ['alternatives', { ...base, alternatives: [{ contentType: 'text/x-web-markdown', content: '*x*' }] }],
    ['dsn', { ...base, dsn: { id: 'x', return: 'headers', notify: 'success' } as never }],
    ['attachments[0].raw', { ...base, attachments: [{ raw: 'Content-Type: text/plain\r\n\r\nx' }] }],
    ['attachments[0].headers', { ...base, attachments: [{ content: 'x', headers: { 'X-A': '1' } }] }],
    ['headers.X-Twice', { ...base, headers: { 'X-Twice': ['1', '2'] } }],
    ['from', { ...base, from: ['a@example.org', 'b@example.org'] }],
    ['from', { ...base, from: undefined }],
    ['to', { ...base, to: undefined, bcc: 'hidden@example.net' }],
    ['envelope', { ...base, envelope: { from: 'a@example.org', to: ['ada@example.net'] } }],
  ])('refuses %s by name instead of leaving it out', async (field, mail) => {
    const scene = await openScene()
    const error = await transportTo(scene)
      .sendMail(mail)
      .then(
        () => expect.fail('it was taken'),
        given => given,
      )
    expect(error).toMatchObject({ code: 'unsupported_field', details: { field } })
    expect(error.message).toContain(field)
  })

  it('verifies url, token and account, by promise and by callback', async () => {
    const scene = await openScene()
    expect(await transportTo(scene, { account: 'main' }).verify()).toBe(true)
    await expect(transportTo(scene, { account: 'none' }).verify()).rejects.toMatchObject({ code: 'not_found' })
    await expect(transportTo(scene, { token: 'wrong' }).verify()).rejects.toMatchObject({ code: 'unauthorized' })
    const told = await new Promise<unknown[]>(done => transportTo(scene).verify((...given) => done(given)))
    expect(told).toEqual([null, true])
    const failed = await new Promise<any[]>(done =>
      transportTo(scene, { token: 'wrong' }).verify((...given) => done(given)),
    )
    expect(failed[0]).toMatchObject({ code: 'unauthorized' })
  })

  it('gives up a send when its signal aborts', async () => {
    const hanging = await opened(startSink({ behave: { greeting: () => ({ silent: true }) } }), each => each.close())
    const transport = nodemailer.createTransport(
      mailProxyTransport({ url: `http://127.0.0.1:${hanging.port}`, token: 'x' }),
    )
    const abort = new AbortController()
    const sending = transport.sendMail({ ...BASIC, signal: abort.signal }).catch(error => error)
    setTimeout(() => abort.abort(new Error('never mind')), 50)
    expect((await sending).message).toBe('never mind')
  })
})

/** What a recipient gets and sees of a mail: all but what differs by nature from one sending to the other. */
async function likeness({ from, to, raw }: SinkMessage) {
  const email = await PostalMime.parse(raw)
  return {
    envelope: { from, to: [...to].sort() },
    headers: shownHeaders(email),
    addresses: [email.from, email.sender, email.to, email.cc, email.replyTo].map(spread),
    subject: email.subject,
    // A mail without any body has an empty one here.
    text: ended(email.text ?? ''),
    html: ended(email.html)?.replace(/cid:[^"]+/g, cid => (cid.endsWith('example.org') ? cid : 'cid:generated')),
    attachments: email.attachments.map(({ filename, mimeType, disposition, contentId, content }) => ({
      filename,
      mimeType,
      disposition,
      contentId: contentId?.endsWith('example.org>') ? contentId : contentId && 'generated',
      sha256: createHash('sha256')
        .update(Buffer.from(content as ArrayBuffer))
        .digest('hex'),
    })),
  }
}

/** Fields that each sending has of its own, or that stand in the addresses and parts. */
const OWN = /^(message-id|date|x-genro-mail-id|mime-version|content-.*|from|sender|to|cc|reply-to|subject)$/
const OWN_UNLESS_GIVEN = new Map([
  ['message-id', '<order-4711@example.org>'],
  ['date', 'Fri, 02 Jan 2026 03:04:05 +0000'],
])

function shownHeaders({ headers }: Email): string[] {
  const shown = headers.filter(({ key, value }) => !OWN.test(key) || OWN_UNLESS_GIVEN.get(key) === value)
  // The lists of a list's header are the same in one field or in several.
  const joined = new Map<string, string>()
  for (const { key, value } of shown) joined.set(key, joined.has(key) ? `${joined.get(key)}, ${value}` : value)
  return [...joined].map(([key, value]) => `${key}: ${value.replace(/\s+/g, ' ')}`).sort()
}

/** A group's members: the proxy writes no groups. */
function spread(addresses: unknown): unknown {
  const list = Array.isArray(addresses) ? addresses : addresses === undefined ? [] : [addresses]
  return list.flatMap(each => each.group ?? [each]).map(({ name, address }) => ({ name, address }))
}

/** Mails end in a line end, whoever wrote them. */
function ended(text: string | undefined): string | undefined {
  return text?.replace(/\r\n/g, '\n').replace(/\n*$/, '')
}
