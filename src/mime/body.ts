/**
 * Makes a text body fit for transport: CRLF line endings, then 7bit when it is ASCII in short lines, else
 * quoted-printable or base64, whichever is shorter. 8bit is never used: it saves little and not every server on the
 * way takes it. Dot-stuffing belongs to the SMTP transport.
 */
import { isSevenBit } from './seven-bit.js'

export interface EncodedText {
  readonly encoding: '7bit' | 'quoted-printable' | 'base64'
  /** ASCII, CRLF line endings; a line ending at the end only where the text has one (base64: always). */
  readonly data: string
}

/** RFC 2045 §6.7 and §6.8. */
const MAX_ENCODED_LINE = 76

/** Encodes a body as the module header says. `avoid`: a string that must not stand in the result (a boundary). */
export function encodeText(text: string, avoid: string | null): EncodedText {
  const isPlain = isSevenBit(text)
  const lines = isPlain ? text : toCrlf(text)
  if ((isPlain || isSevenBit(lines)) && (avoid === null || !lines.includes(avoid)))
    return { encoding: '7bit', data: lines }
  const bytes = Buffer.from(lines)
  const size = bytes.length + 2 * countEscapes(bytes)
  const inQ = size + 3 * Math.floor(size / (MAX_ENCODED_LINE - 3))
  if (inQ <= base64Size(bytes.length)) return { encoding: 'quoted-printable', data: encodeQuotedPrintable(bytes, inQ) }
  return { encoding: 'base64', data: base64Lines(bytes) }
}

/** Octets of `size` octets in base64 with a CRLF after each line of 76. */
export function base64Size(size: number): number {
  const characters = 4 * Math.ceil(size / 3)
  return characters + 2 * Math.ceil(characters / MAX_ENCODED_LINE)
}

/** Base64 in lines of 76, each ended by CRLF. */
export function base64Lines(bytes: Buffer): string {
  const encoded = bytes.toString('base64')
  const lines: string[] = []
  for (let i = 0; i < encoded.length; i += MAX_ENCODED_LINE) lines.push(encoded.slice(i, i + MAX_ENCODED_LINE))
  lines.push('')
  return lines.join('\r\n')
}

function toCrlf(text: string): string {
  if (!text.includes('\r')) return text.replaceAll('\n', '\r\n')
  return text.replace(/\r\n?|\n/g, '\r\n')
}

function countEscapes(bytes: Buffer): number {
  let count = 0
  for (let i = 0; i < bytes.length; i++) if (isEscaped(bytes, i)) count++
  return count
}

/** In text with CRLF line endings: what quoted-printable cannot leave as it is, space before a line's end included. */
function isEscaped(bytes: Buffer, i: number): boolean {
  const c = bytes[i]!
  if (c > 32 && c < 127) return c === EQUALS
  if (c === SPACE || c === TAB) return i + 1 === bytes.length || bytes[i + 1] === CR
  return c !== CR && c !== LF
}

function encodeQuotedPrintable(bytes: Buffer, maxSize: number): string {
  const out = Buffer.allocUnsafe(maxSize)
  let length = 0
  let column = 0
  for (let i = 0; i < bytes.length; i++) {
    const c = bytes[i]!
    if (c === CR || c === LF) {
      out[length++] = c
      column = 0
      continue
    }
    const escaped = isEscaped(bytes, i)
    if (column + (escaped ? 3 : 1) > MAX_ENCODED_LINE - 1) {
      out[length++] = EQUALS
      out[length++] = CR
      out[length++] = LF
      column = 0
    }
    if (escaped) {
      out[length++] = EQUALS
      out[length++] = HEX.charCodeAt(c >> 4)
      out[length++] = HEX.charCodeAt(c & 15)
      column += 3
    } else {
      out[length++] = c
      column++
    }
  }
  return out.toString('latin1', 0, length)
}

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const EQUALS = 0x3d
const HEX = '0123456789ABCDEF'
