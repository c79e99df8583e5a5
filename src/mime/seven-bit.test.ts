import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isSevenBit } from './seven-bit.js'

/** The same in few words, and slowly. */
function isPlain(text: string): boolean {
  return text.split('\r\n').every(line => line.length <= 998 && /^[\t -~]*$/.test(line))
}

const long = (length: number) => 'x'.repeat(length)

describe('a text that can travel as it is', () => {
  it.each<[string, string[]]>([
    ['is ASCII in lines that CRLF ends', ['', 'a\r\nb\r\n', '\r\n', '\t ~']],
    ['has no other line ending', ['\n', '\r', 'a\nb', 'a\rb', '\r\r\n', '\r\n\n', '\n\r', 'a\r', '\na\r']],
    ['has no control character and nothing foreign', ['\0', '\x1f', '\x7f', '\x80', 'é', '\ud800', '日本', '\u2028']],
    ['has lines of 998', [long(998), `${long(998)}\r\n${long(998)}`, `a\r\n${long(998)}\r\n`]],
    ['has none of 999', [long(999), `a\r\n${long(999)}`, `${long(999)}\r\na`]],
  ])('%s', (_, texts) => {
    for (const text of texts) expect(isSevenBit(text), JSON.stringify(text)).toBe(isPlain(text))
  })

  it('has none of the characters that it cannot have, wherever they stand', () => {
    for (let code = 0; code < 0x180; code++)
      for (const before of ['', 'a', 'ab', 'abc', '\r', '\r\n'])
        for (const after of ['', 'a', 'ab', 'abc', '\n', '\r\n']) {
          const text = before + String.fromCharCode(code) + after
          expect(isSevenBit(text), JSON.stringify(text)).toBe(isPlain(text))
        }
  })

  it('is told from any other, one after the other, short or longer than what is looked at in one go', () => {
    const line = fc.nat(1_100).map(long)
    const lines = fc.constantFrom(16_381, 16_382, 16_383, 16_384, 32_768).map(length => {
      return 'abcdefg\r\n'.repeat(length / 9 + 1).slice(0, length)
    })
    const piece = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom('\r\n', 'a', 'bc', ' ~\t') },
      { weight: 2, arbitrary: fc.oneof(line, lines) },
      { weight: 1, arbitrary: fc.constantFrom('\r', '\n', '\0', '\x7f', 'ÿ', 'ā') },
    )
    const text = fc.array(piece, { maxLength: 10 }).map(pieces => pieces.join(''))
    fc.assert(
      fc.property(fc.array(text, { maxLength: 3 }), texts => {
        expect(texts.map(isSevenBit)).toEqual(texts.map(isPlain))
      }),
      { numRuns: 1_000 },
    )
  })
})
