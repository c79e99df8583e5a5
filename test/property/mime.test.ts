/** Whatever a message holds: what is rendered is a well-formed mail that an independent parser reads back. */
import { Readable } from 'node:stream'
import fc from 'fast-check'
import MailComposer from 'nodemailer/lib/mail-composer'
import PostalMime, { type Email } from 'postal-mime'
import { describe, expect, it } from 'vitest'
import type { Content } from '../../src/messages/message.js'
import { parseAddressList } from '../../src/mime/address.js'
import { type RenderInput, renderMail } from '../../src/mime/render.js'
import { octetsOf as allOf, fieldNamesOf, OWN_FIELDS, problemOfMail } from '../support/well-formed-mail.js'

const CREATED_AT = 1737627332456

function inputOf(content: Content, id = 'msg-1'): RenderInput {
  const envelope = { from: 'noreply@genro.example', to: ['mario@rossi.example'] }
  return { tenantId: 'default', id, createdAt: CREATED_AT, content, envelope }
}

const octetsOf = (...args: Parameters<typeof renderMail>): Promise<Buffer> => allOf(renderMail(...args))

function expectWellFormed(octets: Buffer, international = false): void {
  expect(problemOfMail(octets, international)).toBeNull()
}

const lineEndings = (text: string) => text.replace(/\r\n?|\n/g, '\n')
/** Readers differ in what they do with the last line ending; the body before it is what counts. */
const bodyOf = (text: string | undefined) => lineEndings(text ?? '').replace(/\n+$/, '')

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.string({ maxLength: 300 }),
  fc.string({
    unit: fc.constantFrom('\r', '\n', '\0', ' ', '\t', ':', '=', '?', '-', '_', 'B', 'c', 'é', '.'),
    maxLength: 300,
  }),
  fc.constantFrom(
    'a\r\nBcc: evil@x.it',
    'a\nX-Evil: 1',
    '\r\n\r\n<html>',
    'a\r\n.\r\nRCPT TO:<b@x.it>',
    'x'.repeat(3_000),
  ),
)
const printable = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 200 })
  .map(s =>
    s
      .replace(/[\p{Cc}\p{Cs}\p{Z}\ufeff]+/gu, ' ')
      .replaceAll('=?', '')
      .trim(),
  )
  .filter(s => s !== '')
const body = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 120 }),
      fc.string({ maxLength: 120 }),
      fc.constant('x'.repeat(1_200)),
    ),
  )
  .chain(lines => fc.constantFrom('\n', '\r\n', '\r').map(end => lines.join(end)))
  .map(s => s.replace(/[\0\ufeff]/g, ''))
const local = fc.oneof(
  fc.stringMatching(/^[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[a-z0-9]{1,10}){0,2}$/),
  fc.stringMatching(/^[a-z0-9 .,;:()\\@"[\]]{1,20}$/).map(s => `"${s.replace(/["\\]/g, '\\$&')}"`),
)
const domain = fc.constantFrom('x.it', 'mail.rossi.example', 'xn--mnchen-3ya.de', 'localhost', '[192.0.2.1]')
const address = fc.tuple(local, domain).map(parts => parts.join('@'))
const filename = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 120 })
  .map(s =>
    s
      .replace(/[\p{C}\p{Z}]+/gu, ' ')
      .replaceAll('=?', '')
      .slice(0, 200)
      .replace(/[\ud800-\udbff]$/, '')
      .trim(),
  )
  .filter(s => s !== '')
const attachment = fc.record({
  filename,
  content: fc.uint8Array({ maxLength: 500 }).map(bytes => Buffer.from(bytes)),
  contentId: fc.option(fc.stringMatching(/^[a-z0-9.@]{1,20}$/), { nil: undefined }),
})

describe('hostile content', () => {
  const hostile = fc.record({
    to: fc.array(anyText, { maxLength: 3 }),
    cc: fc.array(anyText, { maxLength: 3 }),
    bcc: fc.array(anyText, { maxLength: 3 }),
    replyTo: anyText,
    subject: anyText,
    contentType: fc.constantFrom('plain' as const, 'html' as const),
    body: anyText,
    bodyText: fc.option(anyText, { nil: undefined }),
    bodyHtml: fc.option(anyText, { nil: undefined }),
    messageId: anyText,
    headers: fc.dictionary(
      fc.oneof(anyText, fc.constantFrom('Date', 'Reply-To', 'Cc', 'Message-ID', 'References', 'X-A')),
      anyText,
    ),
  })
  const hostileAttachment = fc.record({
    filename: anyText,
    mimeType: fc.option(anyText, { nil: undefined }),
    contentId: fc.option(anyText, { nil: undefined }),
    content: fc.constant(Buffer.from('octets')),
  })

  it('is rendered to well-formed octets, twice the same, with no field that was not asked for', async () => {
    await fc.assert(
      fc.asyncProperty(
        hostile,
        fc.array(hostileAttachment, { maxLength: 3 }),
        anyText,
        async (given, attachments, id) => {
          const input = inputOf({ ...given, from: 'a@x.it' }, id)
          const octets = await octetsOf(input, attachments)
          expect(octets.equals(await octetsOf(input, attachments))).toBe(true)
          expectWellFormed(octets, renderMail(input, attachments).needsSmtpUtf8)
          const allowed = new Set([...OWN_FIELDS, ...Object.keys(given.headers).map(name => name.toLowerCase())])
          const names = fieldNamesOf(octets)
          expect(names.filter(name => !allowed.has(name) || name === 'bcc')).toEqual([])
          for (const name of [
            'from',
            'subject',
            'date',
            'message-id',
            'x-genro-mail-id',
            'mime-version',
            'content-type',
          ])
            expect(names.filter(n => n === name)).toEqual([name])
        },
      ),
      { numRuns: 400 },
    )
  })

  it('in From is refused or harmless', async () => {
    fc.assert(
      fc.property(anyText, from => {
        try {
          const mail = renderMail(inputOf({ from, to: [], subject: '', contentType: 'plain' }), [])
          expectWellFormed(Buffer.from((mail.open() as string[]).join(''), 'latin1'), true)
        } catch (error) {
          expect(String(error)).toContain('the From address cannot be rendered')
        }
      }),
    )
  })

  it('as an address is refused or cannot leave the brackets of an SMTP command', () => {
    const scraps = fc.string({
      unit: fc.constantFrom('a', '@', '<', '>', '"', '\\', ' ', ',', '.', 'é', '\r', '\n', ':', ';', '('),
      maxLength: 40,
    })
    fc.assert(
      fc.property(fc.oneof(anyText, scraps), value => {
        const result = parseAddressList(value)
        if (!result.ok) return
        for (const { address, header } of result.addresses) {
          expect(address).toMatch(/^[^<>\p{Cc}]+@[^\s<>"@\p{Cc}]+$/u)
          if (!address.startsWith('"')) expect(address).not.toMatch(/\s/)
          expect(parseAddressList(header)).toMatchObject({ ok: true, addresses: [{ address, header }] })
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('a mail read back by another parser', () => {
  it('has the subject, the names and addresses and the id that were given', async () => {
    const person = fc.tuple(fc.oneof(fc.constant(''), printable), address)
    await fc.assert(
      fc.asyncProperty(
        printable,
        person,
        fc.array(person, { minLength: 1, maxLength: 4 }),
        printable,
        async (subject, from, to, id) => {
          const show = ([name, addr]: [string, string]) =>
            name === '' ? addr : `"${name.replace(/["\\]/g, '\\$&')}" <${addr}>`
          const octets = await octetsOf(
            inputOf({ from: show(from), to: to.map(show), subject, contentType: 'plain', body: 'b' }, id),
            [],
          )
          expectWellFormed(octets)
          const email = await PostalMime.parse(octets)
          expect(email.subject).toBe(subject)
          expect(email.from?.name).toBe(from[0])
          expect(email.to?.map(a => a.name)).toEqual(to.map(([name]) => name))
          const plain = (addr: string) => !addr.startsWith('"')
          expect(email.to?.filter((_, i) => plain(to[i]![1])).map(a => a.address)).toEqual(
            to.map(([, addr]) => addr).filter(plain),
          )
        },
      ),
      { numRuns: 300 },
    )
  })

  it('has the bodies that were given', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.option(body, { nil: undefined }),
        fc.option(body, { nil: undefined }),
        async (bodyText, bodyHtml) => {
          const octets = await octetsOf(
            inputOf({ from: 'a@x.it', to: ['b@x.it'], subject: 's', contentType: 'plain', bodyText, bodyHtml }),
            [],
          )
          expectWellFormed(octets)
          const email = await PostalMime.parse(octets)
          if (bodyText !== undefined) expect(bodyOf(email.text)).toBe(bodyOf(bodyText))
          if (bodyHtml !== undefined) expect(bodyOf(email.html)).toBe(bodyOf(bodyHtml))
        },
      ),
      { numRuns: 300 },
    )
  })

  it('has the attachments that were given, buffered or streamed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(attachment, { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        fc.nat(80),
        async (given, html, chunk) => {
          const content: Content = {
            from: 'a@x.it',
            to: ['b@x.it'],
            subject: 's',
            contentType: html ? 'html' : 'plain',
            body: 'b',
          }
          const octets = await octetsOf(inputOf(content), given)
          expectWellFormed(octets)
          const streamed = given.map(a => ({
            ...a,
            content: { sizeBytes: a.content.length, open: () => chunked(a.content, chunk + 1) },
          }))
          expect((await octetsOf(inputOf(content), streamed)).equals(octets)).toBe(true)
          const email = await PostalMime.parse(octets)
          const inlineFirst = html ? [...given.filter(a => a.contentId), ...given.filter(a => !a.contentId)] : given
          expect(email.attachments.map(a => a.filename)).toEqual(inlineFirst.map(a => a.filename))
          expect(email.attachments.map(a => Buffer.from(a.content as ArrayBuffer).toString('hex'))).toEqual(
            inlineFirst.map(a => a.content.toString('hex')),
          )
          expect(email.attachments.map(a => a.contentId)).toEqual(
            inlineFirst.map(a => a.contentId && `<${a.contentId}>`),
          )
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe("what nodemailer's MailComposer makes of the same message", () => {
  const typical: Record<string, Content> = {
    plain: {
      from: 'Genro <n@x.it>',
      to: ['Mario Rossi <m@x.it>'],
      subject: 'Invoice',
      contentType: 'plain',
      body: 'Hello\n\n.\nBye\n',
    },
    accented: {
      from: '"Società, S.p.A." <n@x.it>',
      to: ['José <j@x.it>', 'b@münchen.de'],
      cc: ['c@x.it'],
      subject: 'Perché la città è così bella, e perché non dovrebbe esserlo anche domani?',
      contentType: 'plain',
      body: 'Così è.\n',
    },
    alternative: {
      from: 'n@x.it',
      to: ['m@x.it'],
      replyTo: 'R <r@x.it>',
      subject: '日本語の件名',
      contentType: 'plain',
      bodyText: 'テキスト\n',
      bodyHtml: '<p>日本語</p>\n',
      headers: { 'X-Campaign': 'a b' },
    },
  }
  const files = [
    { filename: 'fattura è.pdf', content: Buffer.from('%PDF-1.7') },
    { filename: 'logo.png', contentId: 'logo', content: Buffer.from([1, 2, 3]) },
  ]

  for (const [name, content] of Object.entries(typical))
    for (const attachments of [[], files])
      it(`${name} with ${attachments.length} attachments reads the same`, async () => {
        const composed = await new MailComposer({
          from: content.from,
          to: [...content.to],
          cc: content.cc && [...content.cc],
          replyTo: content.replyTo,
          subject: content.subject,
          text: content.bodyText ?? content.body,
          html: content.bodyHtml,
          headers: { ...content.headers },
          messageId: '<m@x.it>',
          date: new Date(CREATED_AT),
          attachments: attachments.map(a => ({
            filename: a.filename,
            content: a.content,
            cid: (a as { contentId?: string }).contentId,
          })),
        })
          .compile()
          .build()
        const ours = await PostalMime.parse(await octetsOf(inputOf({ ...content, messageId: 'm@x.it' }), attachments))
        expect(comparable(ours)).toEqual(comparable(await PostalMime.parse(composed)))
      })
})

function comparable(email: Email) {
  const { from, to, cc, replyTo, subject, messageId, date } = email
  const custom = email.headers.find(h => h.key === 'x-campaign')?.value
  const attachments = email.attachments.map(a => ({
    name: a.filename,
    type: a.mimeType,
    content: Buffer.from(a.content as ArrayBuffer).toString('hex'),
  }))
  attachments.sort((a, b) => String(a.name).localeCompare(String(b.name)))
  return {
    from,
    to,
    cc,
    replyTo,
    subject,
    messageId,
    date,
    custom,
    attachments,
    text: bodyOf(email.text),
    html: bodyOf(email.html),
  }
}

function chunked(content: Buffer, size: number): Readable {
  const chunks: Buffer[] = []
  for (let i = 0; i < content.length; i += size) chunks.push(content.subarray(i, i + size))
  return Readable.from(chunks)
}
