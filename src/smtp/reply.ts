/**
 * SMTP replies (RFC 5321 §4.2): reads them off the wire, byte by byte and across chunks, and makes those this side
 * gives itself. What is no reply, or is longer than any honest one, ends the reading: the session is out of step then.
 */
import type { Reply } from './transport.js'

/** RFC 5321 §4.5.3.1.5 allows 512 octets; servers exceed it, but none needs more than this. */
const maxLineBytes = 4096
const maxLines = 128
const maxTextLength = 1000

const CR = 13
const SPACE = 32
const DASH = 45

export class ReplyParser {
  private rest = ''
  private code = 0
  private lines = 0
  private enhanced: string | null = null
  private text = ''
  /** Has each line as it came, also one that is no reply's. */
  onLine: ((line: string) => void) | null = null

  constructor(private readonly onReply: (reply: Reply) => void) {}

  /**
   * Takes octets, a character each. False when they are no SMTP reply; the parser must not be fed again. Replies before
   * that are passed on.
   */
  feed(chunk: string): boolean {
    const octets = this.rest + chunk
    this.rest = ''
    let start = 0
    for (let end = octets.indexOf('\n'); end !== -1; end = octets.indexOf('\n', start)) {
      if (!this.line(octets, start, end > start && octets.charCodeAt(end - 1) === CR ? end - 1 : end)) return false
      start = end + 1
    }
    this.rest = octets.slice(start)
    // One more: the CR of the longest line may be here, and its LF not yet.
    return this.rest.length <= maxLineBytes + 1
  }

  /** Forgets a reply of which not all has come. */
  reset(): void {
    this.rest = ''
    this.lines = 0
    this.enhanced = null
    this.text = ''
  }

  /** True in the middle of a reply. */
  get isPartial(): boolean {
    return this.rest !== '' || this.lines > 0
  }

  private line(octets: string, start: number, end: number): boolean {
    const length = end - start
    this.onLine?.(decoded(octets.slice(start, Math.min(end, start + maxLineBytes))))
    if (length < 3 || length > maxLineBytes) return false
    let code = 0
    for (let i = start; i < start + 3; i++) {
      const digit = octets.charCodeAt(i) - 48
      if (digit < 0 || digit > 9) return false
      code = code * 10 + digit
    }
    if (code < 200 || code > 599) return false
    const separator = length === 3 ? SPACE : octets.charCodeAt(start + 3)
    if (separator !== SPACE && separator !== DASH) return false
    if (this.lines > 0 && code !== this.code) return false
    if (++this.lines > maxLines) return false
    this.code = code
    if (length > 4) this.addText(wordsOf(octets.slice(start + 4, end)))
    if (separator === SPACE) this.finish()
    return true
  }

  private addText(words: string): void {
    const found = leadingEnhancedCode(words)
    if (this.lines === 1) {
      this.enhanced = found
      this.text = words
      return
    }
    if (this.text.length > maxTextLength) return
    // RFC 2034 §4 repeats the enhanced code on each line; once is enough to read.
    const fresh = found !== null && found === this.enhanced ? words.slice(found.length).trimStart() : words
    if (fresh !== '') this.text = this.text === '' ? fresh : `${this.text} ${fresh}`
  }

  private finish(): void {
    const reply = { code: this.code, enhanced: this.enhanced, text: cut(this.text) }
    this.reset()
    this.onReply(reply)
  }
}

/** A reply this side gives in the server's place, for what the server has announced that it cannot take. */
export function localReply(code: number, enhanced: string, words: string): Reply {
  return { code, enhanced, text: cut(`${enhanced} ${clean(words)}`) }
}

/** The reply as one line for a person: `550 5.1.1 No such user`. */
export function replyLine(reply: Reply): string {
  return reply.text === '' ? String(reply.code) : `${reply.code} ${reply.text}`
}

export function isAcceptance(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300
}

export function isRefusal(reply: Reply): boolean {
  return reply.code >= 400
}

/** True for the reply that says this transaction is full, though the recipient may be fine (RFC 5321 §4.5.3.1.10). */
export function isTooManyRecipients(reply: Reply): boolean {
  if (reply.code !== 452 && reply.code !== 552) return false
  return reply.enhanced?.endsWith('.5.3') === true || /too many recipients/i.test(reply.text)
}

function wordsOf(octets: string): string {
  return isPrintable(octets) ? octets : clean(decoded(octets))
}

/** UTF-8, of octets a character each. */
function decoded(octets: string): string {
  return isPrintable(octets) ? octets : Buffer.from(octets, 'latin1').toString()
}

/** As nearly every line is: one that need not be decoded, nor cleaned. */
function isPrintable(octets: string): boolean {
  return !/[^ -~]/.test(octets)
}

/** Text without the octets that could break a log line or a terminal. */
export function clean(text: string): string {
  return /[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(text) ? text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, '') : text
}

/** RFC 3463 §2, at the start of the text as RFC 2034 puts it. */
function leadingEnhancedCode(words: string): string | null {
  const first = words.charCodeAt(0)
  if (first !== 50 && first !== 52 && first !== 53) return null
  const end = words.indexOf(' ')
  const word = end === -1 ? words : words.slice(0, end)
  return ENHANCED_CODE.test(word) ? word : null
}

const ENHANCED_CODE = /^[245]\.\d{1,3}\.\d{1,3}$/

function cut(text: string): string {
  return text.length <= maxTextLength ? text : text.slice(0, maxTextLength).replace(/[\ud800-\udbff]$/, '')
}
