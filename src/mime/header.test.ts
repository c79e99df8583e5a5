import { describe, expect, it } from 'vitest'
import { parseAddressList } from './address.js'
import { encodeWords, isEncodedWord } from './encoded-word.js'
import { addressField, exactField, problemOfHeader, textField } from './header.js'

function decode(words: readonly string[]): string {
  return words
    .map(word => {
      const [, , kind, data] = word.split('?')
      if (kind === 'B') return Buffer.from(data!, 'base64').toString()
      return decodeURIComponent(data!.replaceAll('_', ' ').replaceAll('=', '%'))
    })
    .join('')
}

describe('encoded words', () => {
  it('are Q for a few foreign letters and B for many', () => {
    expect(encodeWords('Perché no')).toEqual(['=?utf-8?Q?Perch=C3=A9_no?='])
    expect(encodeWords('日本')).toEqual(['=?utf-8?B?5pel5pys?='])
  })

  it.each(['è'.repeat(300), '😀'.repeat(100), `a😀${'é='.repeat(90)}`, `${'x'.repeat(500)}ü`])(
    'never pass 75 characters nor cut one',
    text => {
      const words = encodeWords(text, 40)
      expect(words[0]!.length).toBeLessThanOrEqual(40)
      expect(words.every(word => word.length <= 75 && isEncodedWord(word))).toBe(true)
      expect(decode(words)).toBe(text)
    },
  )

  it('turn a lone surrogate into the replacement character', () => {
    expect(decode(encodeWords('a\ud800'))).toBe('a\ufffd')
  })
})

describe('a text field', () => {
  it('folds at spaces within 76 columns', () => {
    const field = textField('Subject', 'word '.repeat(40).trim())
    expect(field.endsWith('\r\n')).toBe(true)
    expect(
      field
        .slice(0, -2)
        .split('\r\n')
        .every(line => line.length <= 76),
    ).toBe(true)
    expect(field.replaceAll('\r\n', '')).toBe(`Subject: ${'word '.repeat(40).trim()}`)
  })

  it('encodes only the words that need it, so that structure stays readable', () => {
    expect(textField('X-Notify', 'Müller Groß <m@x.it>')).toBe(
      'X-Notify: =?utf-8?B?TcO8bGxlciBHcm/Dnw==?= <m@x.it>\r\n',
    )
  })

  it('leaves a long token whole, and encodes what would pass 998 octets', () => {
    const url = `<https://x.it/${'u'.repeat(700)}>`
    expect(textField('List-Unsubscribe', url)).toBe(`List-Unsubscribe: ${url}\r\n`)
    const lines = textField('X-Long', 'u'.repeat(5_000)).split('\r\n')
    expect(lines.every(line => line.length <= 76)).toBe(true)
  })

  it('cannot be broken out of', () => {
    expect(textField('Subject', 'a\r\nBcc: b@x.it\0')).toBe('Subject: a  Bcc: b@x.it\r\n')
    expect(textField('Subject', '\r\n\r\n')).toBe('Subject:\r\n')
    expect(textField('Subject', ' '.repeat(5_000))).toBe('Subject:\r\n')
    expect(textField('Subject', `a${' '.repeat(5_000)}b`)).toBe('Subject: a b\r\n')
  })

  it('passes encoded words on and hides what only looks like one', () => {
    expect(textField('Subject', '=?utf-8?Q?caff=C3=A8?= ok')).toBe('Subject: =?utf-8?Q?caff=C3=A8?= ok\r\n')
    expect(textField('Subject', 'what=?')).toBe('Subject: =?utf-8?B?d2hhdD0/?=\r\n')
  })

  it('of an identifier shows exactly what was given', () => {
    expect(exactField('X-Id', '=?utf-8?Q?a?=')).toBe(`X-Id: ${encodeWords('=?utf-8?Q?a?=').join(' ')}\r\n`)
    expect(exactField('X-Id', ' a')).toBe('X-Id: =?utf-8?Q?_a?=\r\n')
    expect(exactField('X-Id', 'i'.repeat(255))).toBe(`X-Id: ${'i'.repeat(255)}\r\n`)
    expect(exactField('X-Id', 'msg-1')).toBe('X-Id: msg-1\r\n')
  })
})

describe('an address field', () => {
  it('quotes, encodes and folds', () => {
    const list = parseAddressList(['"Rossi, M." <m@x.it>', 'Società <s@x.it>', `b@${'b'.repeat(50)}.it`])
    expect(list.ok && addressField('To', list.addresses)).toBe(
      `To: "Rossi, M." <m@x.it>, =?utf-8?Q?Societ=C3=A0?= <s@x.it>,\r\n b@${'b'.repeat(50)}.it\r\n`,
    )
  })
})

describe('a custom header', () => {
  it.each([
    'Bcc',
    'bcc',
    'Resent-To',
    'content-type',
    'Content-Foo',
    'MIME-Version',
    'Received',
    'Return-Path',
    'X-Genro-Mail-ID',
  ])('%s may not be set', name => expect(problemOfHeader(name, 'x')).toBe(`the header ${name} may not be set`))

  it.each(['', 'a b', 'a:b', 'Bcc ', 'é', 'a\r\nBcc', 'x'.repeat(129)])('%j is no name', name => {
    expect(problemOfHeader(name, 'x')).toMatch(/not a valid header name/)
  })

  it.each(['a\rb', 'a\nb', 'a\0', 'a\tb', '\x7f', '\x85'])('%j is no value', value => {
    expect(problemOfHeader('X-A', value)).toMatch(/control character/)
    expect(problemOfHeader('X-A', 'è ok')).toBeNull()
  })
})
