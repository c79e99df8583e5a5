/** Whatever files are called and mails say: the links stand in the mail as they are, and nothing else is changed. */
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import PostalMime from 'postal-mime'
import { describe, expect, it } from 'vitest'
import { isSigned, safeFilename, signedLink } from '../../src/attachments/offload/link.js'
import type { Content } from '../../src/messages/message.js'
import { type FileLink, withLinks } from '../../src/mime/link-list.js'
import { renderMail } from '../../src/mime/render.js'

const KEY = Buffer.alloc(32, 3)
const base: Content = { from: 'a@x.test', to: ['b@y.test'], subject: 'S', contentType: 'plain' }

const hostile = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 80 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', '/', '\n', '\r', '\0', ' ', '=', 'a', 'é', '\u202e') }),
  fc.constantFrom(
    '<script>alert(1)</script>.pdf',
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='x",
    '</body></html>',
    '-->',
    'a\r\n\r\nhttps://evil.test/',
    '../../etc/passwd',
    '&lt;b&gt;',
  ),
)
const links: fc.Arbitrary<FileLink[]> = fc.array(
  fc
    .record({
      filename: hostile,
      sizeBytes: fc.nat(2 ** 31),
      until: fc.integer({ min: 1_700_000_000_000, max: 4_000_000_000_000 }),
      query: fc.string({ unit: fc.constantFrom('a', 'B', '0', '%', '&', '=', '-'), maxLength: 1_500 }),
    })
    .map(({ query, ...link }) => ({
      ...link,
      url: `${signedLink('https://files.test/x', { id: 'I', filename: safeFilename(link.filename), expires: 5 }, KEY)}&${query}`,
    })),
  { minLength: 1, maxLength: 4 },
)
const body = fc.oneof(
  hostile,
  fc.constantFrom('', '<p>Hi</p>', '<html><body>x</BODY ></html>', '<!-- </body> -->x', '<b>'),
)

/** The elements of the list, with the very few tags it is made of. */
const TAG = /<[^>]*>/g
const OWN_TAGS = /^<(div|p|ul|li|a|span)( (style="[^"<>]*"|href="[^"<>]*"))*>$|^<\/(div|p|ul|li|a|span)>$/

const unescaped = (text: string) => text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))

describe('a list of links', () => {
  it('is put into html that stays as it was, and no file name becomes markup', () => {
    fc.assert(
      fc.property(links, body, (given, html) => {
        const { bodyHtml = '', bodyText } = withLinks({ ...base, bodyHtml: html }, given)
        expect(bodyText).toBeUndefined()
        const start = bodyHtml.indexOf('\n<div style="margin:24px')
        const end = bodyHtml.lastIndexOf('</ul>\n</div>\n') + '</ul>\n</div>\n'.length
        expect(bodyHtml.slice(0, start) + bodyHtml.slice(end)).toBe(html)
        const list = bodyHtml.slice(start, end)
        for (const [tag] of list.matchAll(TAG)) expect(tag).toMatch(OWN_TAGS)
        expect(list.replaceAll(TAG, '')).not.toMatch(/[<>"']/)
        const urls = [...list.matchAll(/href="([^"]*)"/g)].map(([, url]) => unescaped(url!))
        expect(urls).toEqual(given.map(({ url }) => url))
      }),
    )
  })

  it('follows plain text that stays as it was, each link alone on its line', () => {
    fc.assert(
      fc.property(links, body, (given, text) => {
        const { bodyText = '', bodyHtml } = withLinks({ ...base, bodyText: text }, given)
        expect(bodyHtml).toBeUndefined()
        expect(bodyText.startsWith(text)).toBe(true)
        const lines = bodyText.slice(text.length).split('\n')
        expect(lines.filter(line => /^ {2}https:/.test(line)).map(line => line.trim())).toEqual(
          given.map(each => each.url),
        )
        // What a file name may say is never a line of its own.
        expect(lines.filter(line => / until \d{4}-/.test(line))).toHaveLength(given.length)
        expect(bodyText.slice(text.length)).not.toMatch(/[\r\0\u2028\u202e]/)
      }),
    )
  })

  it('arrives whole through every transfer encoding', async () => {
    await fc.assert(
      fc.asyncProperty(links, fc.constantFrom('', 'é', 'x'.repeat(1_200)), async (given, text) => {
        const content = withLinks({ ...base, bodyText: text, bodyHtml: `<p>${text}</p>` }, given)
        const envelope = { from: 'a@x.test', to: ['b@y.test'] }
        const mail = renderMail({ id: 'm', content, envelope, createdAt: 0, tenantId: 's' }, []).open()
        const octets = mail instanceof Readable ? await buffer(mail) : mail.join('')
        const read = await PostalMime.parse(octets)
        for (const { url } of given) {
          expect(read.text).toContain(url)
          expect(unescaped(read.html ?? '')).toContain(`href="${url}"`)
        }
      }),
      { numRuns: 50 },
    )
  })

  it('stands in every body there is, and makes plain text where there is none', () => {
    const [link] = fc.sample(links, 1)[0]!
    const made = (content: Partial<Content>) => Object.keys(withLinks({ ...base, ...content }, [link!])).sort()
    const known = ['contentType', 'from', 'subject', 'to']
    expect(made({})).toEqual(['bodyText', ...known])
    expect(made({ body: 'x' })).toEqual(['bodyText', ...known])
    expect(made({ body: 'x', contentType: 'html' })).toEqual(['bodyHtml', ...known])
    expect(made({ body: '', bodyText: 'x', bodyHtml: 'x' })).toEqual(['bodyHtml', 'bodyText', ...known])
    expect(withLinks(base, [])).toBe(base)
  })

  it.each([
    ['<body>x</body>', '<body>x|</body>'],
    ['<html><body>x</BODY\n></HTML>', '<html><body>x|</BODY\n></HTML>'],
    ['<html>x</html>', '<html>x|</html>'],
    ['x', 'x|'],
    ['<body>a</body><body>b</body>', '<body>a</body><body>b|</body>'],
    ['<body>a</body><!-- </body> -->', '<body>a|</body><!-- </body> -->'],
    ['<p>a<!-- open </body>', '<p>a|<!-- open </body>'],
  ])('%s gets it at |', (html, marked) => {
    const link = { filename: 'f', sizeBytes: 1, url: 'https://f.test', until: 0 }
    const { bodyHtml = '' } = withLinks({ ...base, bodyHtml: html }, [link])
    expect(bodyHtml.replace(/\n<div style="margin:24px[\s\S]*<\/ul>\n<\/div>\n/, '|')).toBe(marked)
  })
})

describe('a signed link', () => {
  it('names a path of two segments that a server decodes to what was signed, and nothing else has its signature', () => {
    fc.assert(
      fc.property(hostile, fc.nat(), (given, expires) => {
        const filename = safeFilename(given)
        expect(filename).toMatch(/^[\p{L}\p{N}\p{M}-][\p{L}\p{N}\p{M}._-]*$/u)
        expect(Buffer.byteLength(filename)).toBeLessThan(200)
        const path = { id: 'abc', filename, expires }
        const url = new URL(signedLink('https://files.test/files', path, KEY))
        expect(url.href).toBe(signedLink('https://files.test/files', path, KEY))
        expect(url.pathname.split('/').map(decodeURIComponent)).toEqual(['', 'files', 'abc', filename])
        const signature = url.searchParams.get('signature')!
        expect(isSigned(path, signature, [KEY])).toBe(true)
        expect(isSigned({ ...path, expires: expires + 1 }, signature, [KEY])).toBe(false)
        expect(isSigned({ ...path, filename: `${filename}x` }, signature, [KEY])).toBe(false)
        expect(isSigned({ ...path, id: 'abd' }, signature, [KEY])).toBe(false)
        expect(isSigned(path, signature, [Buffer.alloc(32, 4)])).toBe(false)
      }),
    )
  })
})
