import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DotStuffer, stuffWhole } from './dot-stuffing.js'

/** What a server that ends lines at CRLF reads: the content before its first lone dot, dots taken back. */
function received(wire: string): string | null {
  const end = `\r\n${wire}`.indexOf('\r\n.\r\n')
  return end === -1 ? null : wire.slice(0, end).replace(/(^|\r\n)\./g, '$1')
}

function stuffed(...chunks: string[]): string {
  const stuffer = new DotStuffer()
  const pieces = chunks.map(chunk => stuffer.push(Buffer.from(chunk, 'latin1')))
  return Buffer.concat(pieces).toString('latin1') + stuffer.end()
}

describe('dot-stuffing', () => {
  it('doubles a dot at the very start, after each line end, and nowhere else', () => {
    expect(stuffed('.a\r\n.\r\n..b\r\nc.d\r\n')).toBe('..a\r\n..\r\n...b\r\nc.d\r\n.\r\n')
  })

  it('sees a line start across a chunk border', () => {
    expect(stuffed('a\r\n', '.b\r\n')).toBe('a\r\n..b\r\n.\r\n')
    expect(stuffed('a\r', '\n', '.', '\r\n')).toBe('a\r\n..\r\n.\r\n')
  })

  it('leaves a chunk without such a dot as it is, without a copy', () => {
    const chunk = Buffer.from('no dots. at line starts\r\n')
    expect(new DotStuffer().push(chunk)).toBe(chunk)
  })

  it('ends the last line where the content did not', () => {
    expect(stuffed('a')).toBe('a\r\n.\r\n')
    expect(stuffed('a\n')).toBe('a\n\r\n.\r\n')
    expect(stuffed('')).toBe('.\r\n')
  })

  it('lets no bare CR or LF before a dot end the data for a lax server', () => {
    for (const smuggled of ['a\n.\r\nMAIL', 'a\r.\r\nMAIL', 'a\n.\nMAIL', 'a\r\n.\rMAIL', 'a\r\n.\nMAIL']) {
      const wire = stuffed(smuggled, '\r\n')
      expect(wire.slice(0, -3)).not.toMatch(/[\r\n]\.[\r\n]/)
    }
  })

  const content = fc
    .array(fc.constantFrom('.', '..', '\r\n', 'a', 'bc. ', '\r\n.', '\r\n.\r\n', '.\r\n'), { maxLength: 30 })
    .map(pieces => `${pieces.join('')}\r\n`)

  const cuts = fc.array(fc.nat(5))

  function cut(text: string, lengths: readonly number[]): string[] {
    const chunks: string[] = []
    let rest = text
    for (const length of lengths) {
      chunks.push(rest.slice(0, length))
      rest = rest.slice(length)
    }
    return [...chunks, rest]
  }

  it('comes back whole at the server, however it is cut into chunks', () => {
    fc.assert(
      fc.property(content, cuts, (text, lengths) => {
        expect(received(stuffed(...cut(text, lengths)))).toBe(text)
      }),
    )
  })

  it('is the same in texts as in chunks, wherever they are cut', () => {
    const odd = fc
      .array(fc.constantFrom('.', '\r', '\n', '\r\n', 'a.'), { maxLength: 12 })
      .map(pieces => pieces.join(''))
    fc.assert(
      fc.property(fc.oneof(content, odd), cuts, (text, lengths) => {
        expect(stuffWhole(cut(text, lengths))).toBe(stuffed(text))
      }),
      { numRuns: 1_000 },
    )
  })
})
