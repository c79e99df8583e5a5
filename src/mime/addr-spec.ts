/**
 * The addr-spec of RFC 5321 §4.1.2 and RFC 6531: local part, domain, lengths, quoting. Used by address.ts.
 * Stricter than the RFC where a server might read a character as SMTP syntax.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { domainToASCII, domainToUnicode } from 'node:url'

/** RFC 5321 §4.5.3.1: octets of the local part, and of a path of 256 without its brackets. */
const MAX_LOCAL_OCTETS = 64
const MAX_ADDRESS_OCTETS = 254

/** What most addresses are: read as it stands, all else must be looked at part by part, which takes ten times as long. */
export function isUsualAddrSpec(spec: string): boolean {
  // As short, no part of it can be too long.
  return spec.length <= MAX_LOCAL_OCTETS && USUAL.test(spec)
}

const USUAL = /^[\w+-]+(?:\.[\w+-]+)*@[a-z0-9]+(?:[.-][a-z0-9]+)*$/

/** Checks a bare addr-spec without surrounding space or control characters; a string is the problem. */
export function readAddrSpec(spec: string): { address: string } | string {
  if (isUsualAddrSpec(spec)) return { address: spec }
  const quoted = spec.charCodeAt(0) === QUOTE
  const at = quoted ? endOfQuoted(spec, 0) + 1 : spec.indexOf('@')
  if (at === 0 && !quoted) return 'the local part is empty'
  if (at <= 0 || spec.charCodeAt(at) !== AT) return quoted ? 'text between the closing quote and "@"' : 'not an address'
  const local = quoted ? readQuotedLocal(spec.slice(1, at - 1)) : spec.slice(0, at)
  if (local === '""') return 'the local part is empty'
  const localProblem = quoted ? problemOfQuotedLocal(local) : problemOfDotAtom(local)
  if (localProblem !== null) return localProblem
  const international = isNonAscii(local)
  if ((international ? Buffer.byteLength(local) : local.length) > MAX_LOCAL_OCTETS)
    return `the local part is longer than ${MAX_LOCAL_OCTETS} octets`
  const domain = readDomain(spec.slice(at + 1))
  if (domain === null) return spec.length === at + 1 ? 'the domain is empty' : 'the domain is not valid'
  // A server without SMTPUTF8 cannot take this local part anyway; with it, RFC 6531 wants the domain in U-labels.
  const address = `${local}@${international ? unicodeDomain(domain) : domain}`
  if (Buffer.byteLength(address) > MAX_ADDRESS_OCTETS) return `the address is longer than ${MAX_ADDRESS_OCTETS} octets`
  return { address }
}

/** True when the text has an octet outside ASCII. */
export function isNonAscii(text: string): boolean {
  return /[^\0-\x7f]/.test(text)
}

/** The domain of a parsed address in A-labels. */
export function asciiDomain(address: string): string {
  const domain = address.slice(address.lastIndexOf('@') + 1)
  return isNonAscii(domain) ? domainToASCII(domain) : domain
}

function problemOfDotAtom(local: string): string | null {
  let afterDot = true
  for (let i = 0; i < local.length; i++) {
    const c = local.charCodeAt(i)
    if (c === DOT) {
      if (afterDot) return 'a dot at the start or two in a row need a quoted local part'
      afterDot = true
      continue
    }
    if (c < 128 && ATEXT[c] === 0)
      return c === SPACE ? 'a space inside the address' : 'a character that needs quotes or does not belong'
    afterDot = false
  }
  if (afterDot) return 'a dot at the end needs a quoted local part'
  return UNSEEN.test(local) ? 'an invisible character inside the address' : null
}

// RFC 5321 allows `<` and `>` here; servers that look for the first `>` read what follows it as parameters of the command.
function problemOfQuotedLocal(local: string): string | null {
  if (local.includes('<') || local.includes('>')) return '"<" and ">" are not accepted in a local part'
  return UNSEEN.test(local) ? 'an invisible character inside the address' : null
}

function readQuotedLocal(inner: string): string {
  return `"${escapeQuoted(unquote(inner))}"`
}

/** The domain in lower case and A-labels, a domain literal, or null. */
function readDomain(domain: string): string | null {
  if (domain.charCodeAt(0) === BRACKET) {
    const literal = domain.endsWith(']') ? domain.slice(1, -1) : ''
    const ok = /^IPv6:/i.test(literal) ? isIPv6(literal.slice(5)) && !literal.includes('%') : isIPv4(literal)
    return ok ? domain : null
  }
  if (!isNonAscii(domain)) return isHostName(domain) ? domain.toLowerCase() : null
  // domainToASCII reads like a URL parser ("/", "%41", "127.1"): only plain host characters may reach it or leave it.
  if (!isHostCharacters(domain)) return null
  const ascii = domainToASCII(domain)
  return isHostName(ascii) && !isIPv4(ascii) ? ascii : null
}

// Only where there is something to decode: domainToUnicode turns "1.2.3" into an IPv4 address.
function unicodeDomain(domain: string): string {
  return (domain.includes('xn--') && domainToUnicode(domain)) || domain
}

function isHostCharacters(domain: string): boolean {
  for (let i = 0; i < domain.length; i++) {
    const c = domain.charCodeAt(i)
    if (c < 128 && HOST[c] === 0) return false
  }
  return true
}

/** Letters, digits, "-" and "_" in labels of 1–63; no hyphen at a label's ends (RFC 5321 §4.1.2; "_" exists in real names). */
function isHostName(domain: string): boolean {
  if (domain === '' || domain.length > 253) return false
  let label = 0
  for (let i = 0; i < domain.length; i++) {
    const c = domain.charCodeAt(i)
    if (c === DOT) {
      if (label === 0 || domain.charCodeAt(i - 1) === HYPHEN) return false
      label = 0
      continue
    }
    if (c > 127 || HOST[c] === 0 || (c === HYPHEN && label === 0)) return false
    if (++label > 63) return false
  }
  return label > 0 && domain.charCodeAt(domain.length - 1) !== HYPHEN
}

/** Index of the closing quote of the quoted string that opens at `open`, or -1. */
export function endOfQuoted(text: string, open: number): number {
  for (let i = open + 1; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === BACKSLASH) i++
    else if (c === QUOTE) return i
  }
  return -1
}

export function unquote(inner: string): string {
  return inner.includes('\\') ? inner.replace(/\\(.)/gsu, '$1') : inner
}

export function escapeQuoted(text: string): string {
  return text.replace(/["\\]/g, '\\$&')
}

/** True when the phrase can stand without quotes: atoms (or UTF-8) with single spaces between them. */
export function isAtoms(phrase: string): boolean {
  let afterSpace = true
  for (let i = 0; i < phrase.length; i++) {
    const c = phrase.charCodeAt(i)
    if (c === SPACE ? afterSpace : c < 128 && ATEXT[c] === 0) return false
    afterSpace = c === SPACE
  }
  return !afterSpace
}

const QUOTE = 0x22
const HYPHEN = 0x2d
const DOT = 0x2e
const AT = 0x40
const BRACKET = 0x5b
const BACKSLASH = 0x5c
const SPACE = 0x20
const ALNUM = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const ATEXT = asciiTable(`${ALNUM}!#$%&'*+-/=?^_\`{|}~`)
const HOST = asciiTable(`${ALNUM}-_.`)

// Spaces other than " " and marks that print nothing: pasted by accident, or to make two addresses look alike.
const UNSEEN = /[\u00a0\u00ad\u1680\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]/

function asciiTable(characters: string): Uint8Array {
  const table = new Uint8Array(128)
  for (const character of characters) table[character.charCodeAt(0)] = 1
  return table
}
