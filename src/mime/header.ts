/**
 * Writes header fields: folded at 76 columns where a space allows it (RFC 5322 §2.2.3, RFC 2047 §2), never over 998
 * octets, encoded where the text is not printable ASCII. Nothing written here can end a line that the field did not.
 */
import { escapeQuoted, isAtoms } from './addr-spec.js'
import type { ParsedAddress } from './address.js'
import { encodeWords, isEncodedWord } from './encoded-word.js'

const MAX_COLUMN = 76
/** A token over this cannot stay as it is: with name and colon its line would come near 998 octets. */
const MAX_TOKEN = 800
/** A longer run of spaces would make a line of nothing but spaces; it becomes one space. */
const MAX_GAP = 32
/** Not an RFC limit; a name cannot be folded, so it has to leave room on its line. */
const MAX_NAME = 128

/** `Name: text` as one or more lines, CRLF at the end. Encoded words that the text brings along are left as they are. */
export function textField(name: string, text: string): string {
  if (isPlainLine(text) && name.length + 2 + text.length <= MAX_COLUMN) return `${name}: ${text}\r\n`
  const line = startLine(name)
  const clean = cleaned(text)
  for (let i = 0; i < clean.length; ) {
    const tokenStart = endOfSpaces(clean, i)
    const gap = i === 0 ? ' ' : spaces(tokenStart - i)
    let end = endOfToken(clean, tokenStart)
    if (isPlainToken(clean.slice(tokenStart, end))) {
      append(line, gap, clean.slice(tokenStart, end))
    } else {
      // Neighbours that need encoding go together: readers drop the space between two encoded words.
      for (let next = end; next < clean.length; ) {
        const start = endOfSpaces(clean, next)
        next = endOfToken(clean, start)
        if (isPlainToken(clean.slice(start, next))) break
        end = next
      }
      appendEncoded(line, gap, clean.slice(tokenStart, end))
    }
    i = end
  }
  return endLine(line)
}

/** Like textField, but what the reader decodes is exactly `text`, whatever it looks like. For identifiers. */
export function exactField(name: string, text: string): string {
  // A long identifier goes past the column rather than into encoded words: who looks for it may not decode.
  const room = text.includes(' ') ? MAX_COLUMN - name.length - 2 : MAX_TOKEN
  if (isPlainLine(text) && text.length <= room) return `${name}: ${text}\r\n`
  const line = startLine(name)
  appendEncoded(line, ' ', text)
  return endLine(line)
}

/** An address list. Display names are quoted or encoded; the addresses stand as the parser made them. */
export function addressField(name: string, addresses: readonly ParsedAddress[]): string {
  const line = startLine(name)
  for (let index = 0; index < addresses.length; index++) {
    const address = addresses[index]!
    const comma = index < addresses.length - 1 ? ',' : ''
    if (address.name !== '') appendPhrase(line, address.name)
    append(line, ' ', address.name === '' ? `${address.address}${comma}` : `<${address.address}>${comma}`)
  }
  return endLine(line)
}

/** A structured field from tokens that are safe as they stand; folds go between them. */
export function tokenField(name: string, tokens: readonly string[]): string {
  const line = startLine(name)
  for (const token of tokens) append(line, ' ', token)
  return endLine(line)
}

/** Fields a client may not set by `headers`: the service or the servers on the way write them. */
function isReservedHeader(name: string): boolean {
  const lower = name.toLowerCase()
  return RESERVED.has(lower) || lower.startsWith('resent-') || lower.startsWith('content-')
}

/** What is wrong with a custom header, as a sentence, or null. Submission refuses by it, rendering drops by it. */
export function problemOfHeader(name: string, value: string): string | null {
  if (name.length > MAX_NAME || !/^[!-9;-~]+$/.test(name)) return 'not a valid header name (RFC 5322 §2.2)'
  if (isReservedHeader(name)) return `the header ${name} may not be set`
  if (typeof value !== 'string') return `the value of ${name} is not a string`
  if (HAS_CONTROL.test(value)) return `the value of ${name} contains a control character`
  return null
}

const RESERVED = new Set(['bcc', 'mime-version', 'received', 'return-path', 'x-genro-mail-id'])

const HAS_CONTROL = /[\0-\x1f\x7f-\x9f]/

interface Line {
  text: string
  column: number
  empty: boolean
}

function startLine(name: string): Line {
  return { text: `${name}:`, column: name.length + 1, empty: true }
}

function endLine(line: Line): string {
  return `${line.text}\r\n`
}

function append(line: Line, gap: string, token: string): void {
  const width = gap.length + token.length
  const overflows = line.column + width > MAX_COLUMN
  // Right after the name a fold is only worth it when it brings the token inside the column.
  if (overflows && (!line.empty || width <= MAX_COLUMN)) {
    line.text += `\r\n${gap}${token}`
    line.column = width
  } else {
    line.text += gap + token
    line.column += width
  }
  line.empty = false
}

function appendEncoded(line: Line, gap: string, text: string): void {
  let before = gap
  for (const word of encodeWords(text, MAX_COLUMN - line.column - gap.length)) {
    append(line, before, word)
    before = ' '
  }
}

function appendPhrase(line: Line, name: string): void {
  const words = name.split(' ')
  if (words.every(isEncodedWord)) for (const word of words) append(line, ' ', word)
  else if (isPlainLine(name) && name.length <= 60) append(line, ' ', isAtoms(name) ? name : `"${escapeQuoted(name)}"`)
  else appendEncoded(line, ' ', name)
}

/** Printable ASCII with spaces only inside and nothing a reader might take for an encoded word. */
function isPlainLine(text: string): boolean {
  return text.length > 0 && /^[ -~]+$/.test(text) && !text.includes('=?') && text.trim().length === text.length
}

function isPlainToken(token: string): boolean {
  if (token.length > MAX_TOKEN || !/^[!-~]*$/.test(token)) return false
  return !token.includes('=?') || isEncodedWord(token)
}

/** Controls made spaces, spaces at both ends gone. */
function cleaned(text: string): string {
  const spaced = text.replace(/[\0-\x1f\x7f]/g, ' ')
  let end = spaced.length
  while (end > 0 && spaced.charCodeAt(end - 1) === 0x20) end--
  return spaced.slice(endOfSpaces(spaced, 0), end)
}

function endOfSpaces(text: string, from: number): number {
  let i = from
  while (text.charCodeAt(i) === 0x20) i++
  return i
}

function endOfToken(text: string, from: number): number {
  const end = text.indexOf(' ', from)
  return end < 0 ? text.length : end
}

function spaces(count: number): string {
  return count > MAX_GAP ? ' ' : ' '.repeat(count)
}
