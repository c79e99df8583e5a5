/** What SMTP servers say, and what they are told. */

import { BEARER_MECHANISMS, BearerRefused, logInWithToken } from '../../../src/smtp/bearer-auth.js'
import { DotStuffer, stuffWhole } from '../../../src/smtp/dot-stuffing.js'
import { offersStartTls, parseAuthMechanisms, parseExtensions } from '../../../src/smtp/extensions.js'
import { ReplyParser } from '../../../src/smtp/reply.js'
import type { Reply } from '../../../src/smtp/transport.js'
import { check, type FuzzTarget, stated } from '../target.js'

const replies: FuzzTarget = {
  name: 'smtp-replies',
  seeds: [
    '250 OK\r\n',
    '250-a\r\n250-b\r\n250 c\r\n354 go\r\n',
    '550 5.1.1 No such user\r\n',
    '421-4.7.0 a\n421 4.7.0 b\n',
    '250-SIZE 10\r\n550 x\r\n',
    `220 ${'x'.repeat(4_090)}\r\n`,
  ],
  words: [
    '\r\n',
    '\n',
    '\r',
    '250-',
    '250 ',
    '550 5.7.1 ',
    '199',
    '600',
    '25',
    '\0',
    '\x1b[2J',
    '\u2028',
    '\ud800',
    'é',
    '\xff',
    'x'.repeat(4_096),
    '250-x\r\n'.repeat(130),
    '5.1.1',
    '999.9999.9',
  ],
  run(octets) {
    const whole = feed([octets])
    const alone = feed(Array.from(octets, octet => Buffer.from([octet])))
    check(JSON.stringify(alone) === JSON.stringify(whole), 'other replies octet by octet', whole, alone)
    const size = 2 + (octets.length % 7)
    const pieces: Buffer[] = []
    for (let i = 0; i < octets.length; i += size) pieces.push(octets.subarray(i, i + size))
    check(JSON.stringify(feed(pieces)) === JSON.stringify(whole), 'other replies in pieces')
    check(
      JSON.stringify(whole.replies.map(each => each.code)) === JSON.stringify(codesIn(octets)),
      'other codes than the grammar has',
      whole,
      codesIn(octets),
    )
    for (const { code, text, enhanced } of whole.replies) {
      check(
        code >= 200 && code <= 599 && text.length <= 1_000 && !/[\p{Cc}\u2028\u2029]/u.test(text),
        'no reply',
        code,
        text,
      )
      check(enhanced === null || /^[245]\.\d{1,3}\.\d{1,3}$/.test(enhanced), 'no enhanced code', enhanced)
    }
  },
}

function feed(pieces: readonly Buffer[]): { ok: boolean; replies: Reply[] } {
  const found: Reply[] = []
  const parser = new ReplyParser(reply => void found.push(reply))
  for (const piece of pieces) if (!parser.feed(piece.toString('latin1'))) return { ok: false, replies: found }
  return { ok: true, replies: found }
}

/** The grammar once more, in another way: RFC 5321 §4.2 with bare LF, up to 128 lines of 4,096 octets a reply. */
function codesIn(octets: Buffer): number[] {
  const codes: number[] = []
  let open: string | null = null
  let lines = 0
  for (const line of octets.toString('latin1').split('\n').slice(0, -1)) {
    const [, code, dash] = /^([2-5]\d\d)(?:([ -]).*)?$/s.exec(line.replace(/\r$/, '')) ?? []
    lines += 1
    if (code === undefined || line.replace(/\r$/, '').length > 4_096 || (open !== null && open !== code) || lines > 128)
      break
    open = dash === '-' ? code : null
    if (dash === '-') continue
    codes.push(Number(code))
    lines = 0
  }
  return codes
}

const dots: FuzzTarget = {
  name: 'dot-stuffing',
  seeds: ['a\r\n.\r\nb\r\n', '.', '..\r\n', 'a\n.\nb', '\r.\r', ''],
  words: ['\r\n.\r\n', '\r\n', '.', '\r', '\n', '\n.', '\r.'],
  run(octets) {
    const content = octets.toString('latin1')
    const whole = stuffWhole([content])
    for (const size of [1, 2, 3, octets.length || 1]) {
      const stuffer = new DotStuffer()
      const texts: string[] = []
      for (let i = 0; i < content.length; i += size) texts.push(content.slice(i, i + size))
      check(stuffWhole(texts) === whole, 'other octets in texts', size, texts, whole)
      let pieces = ''
      for (let i = 0; i < octets.length; i += size)
        pieces += stuffer.push(octets.subarray(i, i + size)).toString('latin1')
      pieces += stuffer.end()
      // An empty content gets a line end from one and none from the other; a mail is never empty.
      if (octets.length > 0) check(pieces === whole, 'other octets in pieces', size, pieces, whole)
    }
    check(whole.endsWith('\r\n.\r\n') || whole === '.\r\n', 'no end of data', whole)
    // For a server that takes any of these for the end of a line (SMTP smuggling).
    const body = whole.slice(0, -3)
    check(!/(^|[\r\n])\.([\r\n]|$)/.test(body), 'an end of data inside', body)
    const received = body.replace(/(^|[\r\n])\./g, '$1')
    check(received === content || received === `${content}\r\n`, 'another content', received, content)
  },
}

const offers: FuzzTarget = {
  name: 'smtp-offers',
  seeds: ['SIZE 100\nPIPELINING\nAUTH PLAIN LOGIN XOAUTH2\nAUTH=LOGIN\n8BITMIME', 'size 99999999999999999\nSMTPUTF8 x'],
  words: ['SIZE ', 'AUTH ', 'AUTH=', '\n', ' ', '\t', '9'.repeat(20), '-1', '0x10', '__proto__'],
  run(octets) {
    const lines = octets.toString().split('\n')
    check(Number.isSafeInteger(parseExtensions(lines).maxSizeBytes), 'no size')
    check(!offersStartTls(lines) || /^\s*starttls\s*$/im.test(octets.toString()), 'no STARTTLS')
    for (const name of parseAuthMechanisms(lines)) check(!/\s/.test(name), 'no mechanism', name)
  },
}

const bearer = { user: 'u', token: 't', host: 'h', port: 25 }

const challenges: FuzzTarget = {
  name: 'smtp-challenges',
  seeds: [
    `334 ${Buffer.from('{"status":"400","scope":"x"}').toString('base64')}`,
    '235 ok',
    '334 ',
    '535-5.7.8 a\r\n535 5.7.8 b',
    `334 ${Buffer.from('{"a":{"toString":1}}').toString('base64')}`,
  ],
  words: ['334 ', 'e30=', 'W1tb', '\r\n', '535 ', 'bnVsbA==', '\0', '\x1b'],
  async run(octets) {
    const [reply] = feed([octets, Buffer.from('\r\n')]).replies
    if (reply === undefined) return
    for (const mechanism of BEARER_MECHANISMS) {
      const read = await stated([BearerRefused], () => logInWithToken(mechanism, bearer, async () => reply))
      const { challenge } = read.ok ? { challenge: null } : (read.error as BearerRefused)
      check(
        challenge === null || (challenge.length <= 300 && !/[\p{Cc}\u2028\u2029]/u.test(challenge)),
        'no words',
        challenge,
      )
    }
  },
}

export const smtpTargets = [replies, dots, offers, challenges]
