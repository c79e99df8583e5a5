/**
 * Transparency of the message content (RFC 5321 §4.5.2): a dot at the start of a line is doubled. Lines are also taken
 * to start after a bare CR or LF: our mails have none, but should one get in, no server reads an end of data in the
 * middle of it (SMTP smuggling). The usual mail has no such dot and is passed on without a copy.
 */
const LF = 10
const CR = 13
const DOT = 46

const lfDot = Buffer.from('\n.')
const crDot = Buffer.from('\r.')

const END_OF_DATA = '.\r\n'

/** Stuffs a content that comes in chunks: remembers how the last one ended. */
export class DotStuffer {
  private last = LF
  private beforeLast = CR

  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk
    const startsLine = this.last === LF || this.last === CR
    this.beforeLast = chunk.length > 1 ? chunk[chunk.length - 2]! : this.last
    this.last = chunk[chunk.length - 1]!
    return stuff(chunk, startsLine)
  }

  /** What ends the data: the lone dot, after a line end where the content has none. */
  end(): string {
    return this.beforeLast === CR && this.last === LF ? END_OF_DATA : `\r\n${END_OF_DATA}`
  }
}

/** A whole content, in texts of a character an octet, stuffed and with what ends it: one text, put together once. */
export function stuffWhole(texts: readonly string[]): string {
  let stuffed = ''
  /** What stands before the next, two characters of it at least. */
  let before = '\r\n'
  for (const text of texts) {
    if (text.startsWith('.') && isLineBreak(before.charCodeAt(before.length - 1))) stuffed += '.'
    stuffed += text.includes('\n.') || text.includes('\r.') ? text.replace(/(?<=[\r\n])\./g, '..') : text
    before = text.length > 1 ? text : before + text
  }
  return `${stuffed}${before.endsWith('\r\n') ? '' : '\r\n'}${END_OF_DATA}`
}

function stuff(chunk: Buffer, startsLine: boolean): Buffer {
  const dotFirst = startsLine && chunk[0] === DOT
  if (!dotFirst && chunk.indexOf(lfDot) === -1 && chunk.indexOf(crDot) === -1) return chunk
  let dots = dotFirst ? 1 : 0
  for (let i = 1; i < chunk.length; i++) if (chunk[i] === DOT && isLineBreak(chunk[i - 1]!)) dots++
  const stuffed = Buffer.allocUnsafe(chunk.length + dots)
  let to = 0
  let from = 0
  for (let i = dotFirst ? 0 : 1; i < chunk.length; i++) {
    if (chunk[i] !== DOT || (i > 0 && !isLineBreak(chunk[i - 1]!))) continue
    to += chunk.copy(stuffed, to, from, i)
    stuffed[to++] = DOT
    from = i
  }
  chunk.copy(stuffed, to, from)
  return stuffed
}

function isLineBreak(octet: number): boolean {
  return octet === LF || octet === CR
}
