import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isTooManyRecipients, localReply, ReplyParser, replyLine } from './reply.js'
import type { Reply } from './transport.js'

/** As a socket is read: a character an octet. */
const octetsOf = (chunk: string | Uint8Array) => Buffer.from(chunk as Uint8Array).toString('latin1')

/** Feeds chunks; answers the replies, and whether all was SMTP. */
function read(...chunks: (string | Buffer)[]): { replies: Reply[]; inStep: boolean } {
  const replies: Reply[] = []
  const parser = new ReplyParser(reply => replies.push(reply))
  const inStep = chunks.every(chunk => parser.feed(octetsOf(chunk)))
  return { replies, inStep }
}

const replyOf = (line: string) => read(`${line}\r\n`).replies[0]!

describe('ReplyParser', () => {
  it('reads a reply with its enhanced code, which stays in the text', () => {
    expect(read('550 5.1.1 No such user\r\n').replies).toEqual([
      { code: 550, enhanced: '5.1.1', text: '5.1.1 No such user' },
    ])
  })

  it('joins the lines of a reply by a space and keeps a repeated enhanced code once', () => {
    expect(read('550-5.7.1 Not here,\r\n550-5.7.1 see\r\n550 5.7.1 https://x.test\r\n').replies).toEqual([
      { code: 550, enhanced: '5.7.1', text: '5.7.1 Not here, see https://x.test' },
    ])
  })

  it('tells each line as it came, also one that is no reply, and forgets what it is told to', () => {
    const lines: string[] = []
    const replies: Reply[] = []
    const parser = new ReplyParser(reply => replies.push(reply))
    parser.onLine = line => lines.push(line)
    parser.feed('250-a\r\n250 b\r\n220-half\r\n22')
    parser.reset()
    parser.feed('354 go\r\nHTTP/1.1 400\r\n250 never')
    expect(lines).toEqual(['250-a', '250 b', '220-half', '354 go', 'HTTP/1.1 400'])
    expect(replies.map(replyLine)).toEqual(['250 a b', '354 go'])
  })

  it('takes a bare code, a code with an empty text, and bare line feeds', () => {
    expect(read('250\r\n250 \r\n354 go\n').replies.map(({ code, text }) => [code, text])).toEqual([
      [250, ''],
      [250, ''],
      [354, 'go'],
    ])
  })

  it('finds an enhanced code only at the start and in the right form', () => {
    expect(read('250 2.1.5 Ok\r\n').replies[0]!.enhanced).toBe('2.1.5')
    for (const text of ['250 ok 2.1.5', '250 3.1.5 x', '250 2.1 x', '250 2.1.5000 x', '250 2.1.5x']) {
      expect(read(`${text}\r\n`).replies[0]!.enhanced).toBe(null)
    }
  })

  it('removes control characters and reads UTF-8', () => {
    expect(read('550 Pro\x00bl\x1b[31mème\t\u2028\r\n').replies[0]!.text).toBe('Probl[31mème')
  })

  it.each([
    ['no digits', 'HTTP/1.1 400 Bad Request\r\n'],
    ['an empty line', '\r\n'],
    ['two digits', '25 ok\r\n'],
    ['no separator', '2500 ok\r\n'],
    ['a code out of range', '150 ok\r\n'],
    ['codes that differ within a reply', '250-a\r\n251 b\r\n'],
    ['a line that never ends', '2'.repeat(5000)],
    ['a line too long', `250 ${'x'.repeat(5000)}\r\n`],
    ['a reply that never ends', '250-x\r\n'.repeat(200)],
  ])('is out of step at %s', (_what, bytes) => expect(read(bytes)).toEqual({ replies: [], inStep: false }))

  it('passes on what came before the garbage', () => {
    expect(read('250 ok\r\nxyz\r\n')).toMatchObject({ inStep: false, replies: [{ code: 250 }] })
  })

  it('holds the text at a thousand characters and never at half a character', () => {
    const [reply] = read(`250-${'x'.repeat(999)}😀\r\n250-${'y'.repeat(900)}\r\n250 z\r\n`).replies
    expect(reply!.text).toBe('x'.repeat(999))
  })

  it('reads the same replies however the octets are cut into chunks', () => {
    const line = fc.record({
      code: fc.integer({ min: 200, max: 599 }),
      texts: fc.array(
        fc.string({ maxLength: 30 }).map(text => text.replace(/[\x00-\x1f\x7f]/g, '')),
        { minLength: 1, maxLength: 4 },
      ),
    })
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 4 }), fc.array(fc.nat(40)), (given, cuts) => {
        const bytes = Buffer.from(
          given
            .map(({ code, texts }) =>
              texts.map((text, i) => `${code}${i === texts.length - 1 ? ' ' : '-'}${text}\r\n`).join(''),
            )
            .join(''),
        )
        const whole = read(bytes)
        const chunks: Buffer[] = []
        let at = 0
        for (const cut of cuts) {
          chunks.push(bytes.subarray(at, at + cut))
          at = Math.min(bytes.length, at + cut)
        }
        for (; at < bytes.length; at++) chunks.push(bytes.subarray(at, at + 1))
        expect(read(...chunks)).toEqual(whole)
        expect(whole.replies.map(({ code }) => code)).toEqual(given.map(({ code }) => code))
      }),
    )
  })

  it('never throws and never answers out of bounds, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), chunks => {
        const parser = new ReplyParser(reply => {
          expect(reply.code).toBeGreaterThanOrEqual(200)
          expect(reply.text.length).toBeLessThanOrEqual(1000)
        })
        chunks.every(chunk => parser.feed(octetsOf(chunk)))
      }),
    )
  })
})

it('a line of the longest length is the same in whatever pieces it comes', () => {
  const line = `250 ${'x'.repeat(4_092)}\r\n250 y\r\n`
  for (const cut of [4_095, 4_096, 4_097, 4_098]) {
    const codes: number[] = []
    const parser = new ReplyParser(reply => void codes.push(reply.code))
    expect([line.slice(0, cut), line.slice(cut)].map(piece => parser.feed(piece))).toEqual([true, true])
    expect(codes).toEqual([250, 250])
  }
  expect(new ReplyParser(() => {}).feed(`250 ${'x'.repeat(4_093)}\r\n`)).toBe(false)
})

describe('replies as values', () => {
  it('writes a reply as one line', () => {
    expect(replyLine(localReply(552, '5.3.4', 'Too\r\nlarge'))).toBe('552 5.3.4 Toolarge')
    expect(replyLine({ code: 250, enhanced: null, text: '' })).toBe('250')
  })

  it('knows a full transaction from a full mailbox', () => {
    expect(isTooManyRecipients(replyOf('452 4.5.3 Too many'))).toBe(true)
    expect(isTooManyRecipients(replyOf('552 Too many recipients'))).toBe(true)
    expect(isTooManyRecipients(replyOf('452 4.2.2 Mailbox full'))).toBe(false)
    expect(isTooManyRecipients(replyOf('550 5.5.3 No'))).toBe(false)
  })
})
