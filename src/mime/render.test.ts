import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import PostalMime from 'postal-mime'
import { describe, expect, it } from 'vitest'
import type { Content } from '../messages/message.js'
import type { Mail } from '../smtp/transport.js'
import type { RenderedAttachment } from './attachment-part.js'
import { renderMail } from './render.js'

const BASE: Content = {
  from: 'Genro <noreply@genro.example>',
  to: ['Mario Rossi <mario@rossi.example>'],
  subject: 'Invoice 4711',
  contentType: 'plain',
  body: 'Hello\n',
}

function mailOf(content: Partial<Content>, attachments: readonly RenderedAttachment[] = [], more: object = {}) {
  const envelope = { from: 'noreply@genro.example', to: ['mario@rossi.example'] }
  const input = { id: 'msg-1', createdAt: 1737627332456, tenantId: 'default' }
  return renderMail({ ...input, envelope, content: { ...BASE, ...content }, ...more }, attachments)
}

function render(content: Partial<Content>, attachments: readonly RenderedAttachment[] = [], more: object = {}): string {
  return textOf(mailOf(content, attachments, more))
}

function textOf(mail: Mail): string {
  return Buffer.from((mail.open() as string[]).join(''), 'latin1').toString()
}

function fields(mail: string, name: string): string[] {
  const header = mail.slice(0, mail.indexOf('\r\n\r\n')).replace(/\r\n /g, ' ').split('\r\n')
  return header.filter(f => f.toLowerCase().startsWith(`${name.toLowerCase()}:`)).map(f => f.slice(name.length + 2))
}

describe('a plain message', () => {
  it('is rendered to these octets', () => {
    const mail = mailOf({})
    expect(mail).toMatchObject({ needsSmtpUtf8: false, is8bit: false })
    expect(textOf(mail)).toBe(
      [
        'Message-ID: <msg-1.1737627332456.c8bc52610928c50b6e03@genro.example>',
        'Date: Thu, 23 Jan 2025 10:15:32 +0000',
        'From: Genro <noreply@genro.example>',
        'To: Mario Rossi <mario@rossi.example>',
        'Subject: Invoice 4711',
        'X-Genro-Mail-ID: msg-1',
        'MIME-Version: 1.0',
        'Content-Type: text/plain; charset=utf-8',
        'Content-Transfer-Encoding: 7bit',
        '',
        'Hello',
        '',
      ].join('\r\n'),
    )
    expect(mail.sizeBytes).toBe((mail.open() as string[]).join('').length)
  })

  it('is the same at every attempt and another for another submission', () => {
    const content = { bodyText: 'a', bodyHtml: '<b>' }
    expect(render(content)).toBe(render(content))
    expect(render(content)).not.toBe(render(content, [], { tenantId: 'other' }))
  })

  it('ends in CRLF whatever the body ends in, an empty one too', () => {
    expect(render({ body: 'a' }).endsWith('\r\n\r\na\r\n')).toBe(true)
    expect(render({ body: 'a\r' }).endsWith('\r\n\r\na\r\n')).toBe(true)
    expect(render({ body: '' }).endsWith('7bit\r\n\r\n\r\n')).toBe(true)
    expect(render({ body: undefined }).endsWith('7bit\r\n\r\n\r\n')).toBe(true)
  })

  it('is not dot-stuffed', () => {
    expect(render({ body: '.\n..a' })).toContain('\r\n\r\n.\r\n..a\r\n')
  })

  it('may be html, by content_type or by body_html, with no empty plain part beside it', () => {
    expect(fields(render({ contentType: 'html', body: '<p>' }), 'Content-Type')).toEqual(['text/html; charset=utf-8'])
    expect(fields(render({ contentType: 'html', body: '' }), 'Content-Type')).toEqual(['text/html; charset=utf-8'])
    expect(fields(render({ body: '', bodyHtml: '<p>' }), 'Content-Type')).toEqual(['text/html; charset=utf-8'])
  })
})

describe('Message-ID and Date', () => {
  it.each([
    ['abc@x.it', '<abc@x.it>'],
    ['<abc@x.it>', '<abc@x.it>'],
    ['token', '<token>'],
  ])('the id %s given becomes %s', (messageId, shown) => {
    expect(fields(render({ messageId }), 'Message-ID')).toEqual([shown])
  })

  it.each(['a b@x.it', '<a@x.it>\r\nBcc: b@x.it', 'a>b@x.it', 'è@x.it', '', '<>', 'x'.repeat(501)])(
    '%j is replaced by a derived one',
    messageId => {
      expect(fields(render({ messageId }), 'Message-ID')).toEqual(fields(render({}), 'Message-ID'))
    },
  )

  it('a derived id stands in the domain of From', () => {
    expect(render({ from: 'josé@münchen.de' })).toMatch(
      /^Message-ID: <msg-1\.\d+\.[0-9a-f]{20}@xn--mnchen-3ya\.de>\r\n/,
    )
  })

  it.each(['a b', 'a.1', 'a@b', '<a>', 'è', 'a\r\nBcc: b@x.it', 'x'.repeat(65)])(
    'the id %j of a message has no place in a derived one, which is a digest',
    id => {
      expect(fields(render({}, [], { id }), 'Message-ID')).toEqual([
        expect.stringMatching(/^<[0-9a-f]{40}@genro\.example>$/),
      ])
    },
  )

  it('a derived id is another for another tenant, message or time, and never shows the tenant', () => {
    const ids = ['msg-1', 'msg-2', 'msg 1', 'msg 2'].flatMap(id =>
      ['acme', 'acme2'].flatMap(tenantId =>
        [1, 2].flatMap(createdAt => fields(render({}, [], { id, tenantId, createdAt }), 'Message-ID')),
      ),
    )
    expect(new Set(ids).size).toBe(16)
    expect(ids.join()).not.toContain('acme')
  })

  it('a valid Date or Message-ID among the headers is used, the field message_id wins', () => {
    const headers = { date: 'Mon, 06 Jan 2025 08:00:00 +0100', 'message-id': 'mine@x.it' }
    expect(fields(render({ headers }), 'Date')).toEqual(['Mon, 06 Jan 2025 08:00:00 +0100'])
    expect(fields(render({ headers }), 'Message-ID')).toEqual(['<mine@x.it>'])
    expect(fields(render({ headers, messageId: 'field@x.it' }), 'Message-ID')).toEqual(['<field@x.it>'])
    expect(fields(render({ headers: { Date: 'tomorrow' } }), 'Date')).toEqual(['Thu, 23 Jan 2025 10:15:32 +0000'])
    expect(fields(render({ headers: { Date: '2025-01-06' } }), 'Date')).toEqual(['Thu, 23 Jan 2025 10:15:32 +0000'])
  })

  it("the date is each message's own, whatever came before it", () => {
    const dateAt = (createdAt: number) => fields(render({}, [], { createdAt }), 'Date')
    expect([1737627332999, 1737627333000, 1737627332000].map(dateAt)).toEqual([
      ['Thu, 23 Jan 2025 10:15:32 +0000'],
      ['Thu, 23 Jan 2025 10:15:33 +0000'],
      ['Thu, 23 Jan 2025 10:15:32 +0000'],
    ])
  })
})

describe('addresses', () => {
  it('Bcc is nowhere, and a message to nobody visible says so', () => {
    expect(render({ to: [], bcc: ['hidden@x.it'] })).not.toContain('hidden')
    expect(fields(render({ to: [], bcc: ['hidden@x.it'] }), 'To')).toEqual(['undisclosed-recipients:;'])
  })

  it('a foreign domain goes as A-labels, a foreign local part needs SMTPUTF8', () => {
    const domain = mailOf({ cc: ['Jörg <j@münchen.de>'] })
    expect(domain.needsSmtpUtf8).toBe(false)
    expect(textOf(domain)).toContain('Cc: =?utf-8?B?SsO2cmc=?= <j@xn--mnchen-3ya.de>\r\n')
    const local = mailOf({ replyTo: 'jörg@münchen.de' })
    expect(local.needsSmtpUtf8).toBe(true)
    expect(textOf(local)).toContain('Reply-To: jörg@münchen.de\r\n')
    expect(local.sizeBytes).toBe((local.open() as string[]).join('').length)
  })

  it('an envelope address with a foreign local part needs SMTPUTF8 although no header shows it', () => {
    expect(mailOf({}, [], { envelope: { from: '', to: ['jörg@x.it'] } }).needsSmtpUtf8).toBe(true)
  })

  it('one that cannot be read is left out; From must be readable', () => {
    expect(fields(render({ to: ['a@x.it', 'b@x.it>\r\nBcc: c@x.it'] }), 'To')).toEqual(['a@x.it'])
    expect(() => render({ from: 'a@x.it\r\nBcc: b@x.it' })).toThrow('the From address cannot be rendered')
    expect(() => render({ from: '' })).toThrow('expected one address, found 0')
  })
})

describe('custom headers', () => {
  it('message fields win, what may not be set is dropped, the rest is shown', () => {
    const mail = render({
      cc: ['c@x.it'],
      replyTo: 'r@x.it',
      headers: {
        SUBJECT: 'no',
        from: 'no@x.it',
        To: 'no@x.it',
        CC: 'no@x.it',
        'Reply-To': 'no@x.it',
        Bcc: 'no@x.it',
        'Content-Type': 'no',
        'X-Genro-Mail-ID': 'no',
        'X-Evil': 'a\r\nno: no',
        'X Bad': 'no',
        'X-Campaign': 'spring é',
      },
    })
    expect(mail.slice(0, mail.indexOf('MIME-Version'))).not.toMatch(/\bno\b/)
    expect(fields(mail, 'Content-Type')).toEqual(['text/plain; charset=utf-8'])
    expect(fields(mail, 'X-Campaign')).toEqual(['spring =?utf-8?B?w6k=?='])
  })

  it('Reply-To and Cc stand where the message has none, as addresses', () => {
    const mail = render({ headers: { 'Reply-To': 'Jörg <j@x.it>', Cc: 'no address' } })
    expect(fields(mail, 'Reply-To')).toEqual(['=?utf-8?B?SsO2cmc=?= <j@x.it>'])
    expect(fields(mail, 'Cc')).toEqual([])
  })

  it('a value that is no string does not break the mail', () => {
    expect(fields(render({ headers: { 'X-A': 1 as never } }), 'X-A')).toEqual([])
  })
})

describe('attachments', () => {
  const png = { filename: 'logo.png', contentId: 'logo', content: Buffer.from('PNG') }
  const pdf = { filename: 'a.pdf', content: Buffer.from('PDF') }

  it('nest as mixed(alternative(plain, related(html, inline)), attachment)', () => {
    const mail = render({ bodyText: 't', bodyHtml: '<img src="cid:logo">' }, [png, pdf])
    const types = [...mail.matchAll(/^Content-Type: ([^;\r]+)/gm)].map(match => match[1])
    expect(types).toEqual([
      'multipart/mixed',
      'multipart/alternative',
      'text/plain',
      'multipart/related',
      'text/html',
      'image/png',
      'application/pdf',
    ])
  })

  it('with a content id but no html, or with one that cannot be written, are plain attachments', () => {
    expect(render({}, [png])).toContain(
      'Content-Disposition: attachment; filename="logo.png"\r\nContent-ID: <logo>\r\n',
    )
    const bad = render({ bodyHtml: '<p>' }, [{ ...png, contentId: 'a>\r\nX: y' }])
    expect(bad).toContain('Content-Disposition: attachment')
    expect(bad).not.toContain('Content-ID')
  })

  it('of text with a content id stay out of the body', async () => {
    const parsed = await PostalMime.parse(render({ bodyHtml: '<p>' }, [{ ...png, filename: 'a.txt' }]))
    expect(parsed.attachments).toMatchObject([{ filename: 'a.txt', contentId: '<logo>' }])
    expect(parsed.html!.trim()).toBe('<p>')
  })

  it.each([
    ['application/pdf', 'application/pdf'],
    ['text/calendar; method=REQUEST; charset="utf-8"; name=x', 'text/calendar; method=REQUEST; charset="utf-8"'],
    ['text/html\r\nX: y', 'application/octet-stream'],
    ['text/html; a="b\r\nX: y"', 'text/html'],
    ['message/rfc822', 'application/octet-stream'],
    ['multipart/mixed; boundary=x', 'application/octet-stream'],
    ['nonsense', 'application/octet-stream'],
    [undefined, 'application/pdf'],
  ])('a mime type of %j is written as %s', (mimeType, shown) => {
    expect(render({}, [{ ...pdf, mimeType }])).toContain(
      `Content-Type: ${shown}\r\nContent-Transfer-Encoding: base64\r\n`,
    )
  })

  it.each(['a "b" \\c.pdf', 'è.pdf', '日本'.repeat(60), `${'x'.repeat(250)}.pdf`, '100%25.pdf', "it's (1)*.pdf"])(
    'keep the name %s',
    async filename => {
      const mail = render({}, [{ ...pdf, filename }])
      expect((await PostalMime.parse(mail)).attachments[0]!.filename).toBe(filename)
    },
  )

  it('a name cannot end its line', () => {
    expect(render({}, [{ ...pdf, filename: 'a\r\nX-Evil: b"\r\n.pdf' }])).not.toMatch(/^X-Evil/m)
    expect(render({}, [{ ...pdf, filename: '\0' }])).toContain('filename="_"')
    expect(render({}, [{ ...pdf, filename: '' }])).toContain('filename="attachment"')
  })

  it('a body that foretells the boundary does not end its part', async () => {
    const boundary = /boundary="([^"]+)"/.exec(render({}, [pdf]))![1]
    const body = `a\r\n--${boundary}\r\nContent-Type: text/html\r\n\r\n<script>\r\n--${boundary}--\r\n`
    const parsed = await PostalMime.parse(render({ body }, [pdf]))
    expect(parsed.html).toBeUndefined()
    expect(parsed.text!.trim()).toBe(body.replaceAll('\r\n', '\n').trim())
    expect(parsed.attachments).toHaveLength(1)
  })
})

describe('a streamed attachment', () => {
  const octets = Buffer.from(Array.from({ length: 100_003 }, (_, i) => (i * 7) % 251))
  const source = (chunk: number, sizeBytes = octets.length) => ({
    sizeBytes,
    open: () =>
      Readable.from(
        (function* () {
          for (let i = 0; i < octets.length; i += chunk) yield octets.subarray(i, i + chunk)
        })(),
      ),
  })

  it.each([1, 56, 57, 58, 4_096, 200_000])(
    'in chunks of %i gives the octets of the buffered one, at every opening',
    async chunk => {
      const buffered = render({}, [{ filename: 'a.bin', content: octets }])
      const mail = mailOf({}, [{ filename: 'a.bin', content: source(chunk) }])
      expect(mail.sizeBytes).toBe(buffered.length)
      expect(await text(mail.open() as Readable)).toBe(buffered)
      expect(await text(mail.open() as Readable)).toBe(buffered)
    },
  )

  it.each([octets.length - 1, octets.length + 1, 0])(
    'that does not hold the %i octets it promised breaks the mail',
    async size => {
      const mail = mailOf({}, [{ filename: 'a.bin', content: source(4_096, size) }])
      await expect(text(mail.open() as Readable)).rejects.toThrow(`attachment "a.bin" should have ${size} octets`)
    },
  )

  it('that breaks breaks the mail', async () => {
    const failing = new Readable({
      read() {
        this.destroy(new Error('disk gone'))
      },
    })
    const mail = mailOf({}, [{ filename: 'a', content: { sizeBytes: 10, open: () => failing } }])
    await expect(text(mail.open() as Readable)).rejects.toThrow('disk gone')
  })

  it('that stalls is closed when the mail is not wanted any more', async () => {
    const stalled = new Readable({ read() {} })
    const closed = new Promise(resolve => stalled.once('close', resolve))
    const content = {
      sizeBytes: 1e9,
      open() {
        setImmediate(() => stream.destroy())
        return stalled
      },
    }
    const stream = mailOf({}, [{ filename: 'a', content }]).open() as Readable
    stream.resume()
    await closed
    expect(stalled.destroyed).toBe(true)
  })

  it('large in memory is a stream of the size foretold', async () => {
    const mail = mailOf({}, [{ filename: 'a.bin', content: Buffer.alloc(500_000, 1) }])
    const stream = mail.open()
    expect(stream).toBeInstanceOf(Readable)
    const all = await text(stream as Readable)
    expect(all.length).toBe(mail.sizeBytes)
    expect((await PostalMime.parse(all)).attachments[0]!.content).toEqual(new Uint8Array(500_000).fill(1).buffer)
  })
})
