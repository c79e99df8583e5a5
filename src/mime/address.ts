/**
 * Reads addresses as clients write them ("Rossi" <m@x.it>, b@y.it) and refuses what is not clearly an address.
 * What passes is safe in a header and in an SMTP command: no control character, space, `<` or `>` survives.
 * Own scanner, one pass, no backtracking. nodemailer's addressparser was considered: it repairs what it cannot read
 * and returns a guess (an address found inside a display name, say); this border has to refuse instead.
 */
import { remember } from '../lib/remember.js'
import { endOfQuoted, escapeQuoted, isAtoms, isUsualAddrSpec, readAddrSpec, unquote } from './addr-spec.js'

export interface ParsedAddress {
  /** Display name, unquoted; '' when there is none. */
  readonly name: string
  /** Bare addr-spec for the envelope: domain in A-labels, or all UTF-8 when the local part needs SMTPUTF8 (RFC 6531). */
  readonly address: string
  /** `name <address>` or the address alone, quoted where it must be; parses back to the same value. */
  readonly header: string
}

export type AddressListResult =
  | { readonly ok: true; readonly addresses: readonly ParsedAddress[] }
  /** `index`: which string of a list; null: the value was one string. */
  | { readonly ok: false; readonly problem: string; readonly index: number | null }
export type AddressResult =
  | { readonly ok: true; readonly address: ParsedAddress }
  | { readonly ok: false; readonly problem: string }
export type ReversePathResult =
  | { readonly ok: true; readonly address: string }
  | { readonly ok: false; readonly problem: string }

/**
 * Reads a comma-separated string or a list of such strings. Empty elements are skipped; groups are refused, and so are
 * more than `most` addresses, of which nothing is read on.
 */
export function parseAddressList(
  value: string | readonly string[],
  most = Number.POSITIVE_INFINITY,
): AddressListResult {
  const addresses: ParsedAddress[] = []
  const items = typeof value === 'string' ? [value] : value
  // By number, here as in the fields: an iterator of pairs makes an array of each, and there are few in each of many.
  for (let index = 0; index < items.length; index++) {
    const problem = readElements(items[index]!, addresses, most)
    if (addresses.length > most) return { ok: false, problem: `more than ${most} addresses`, index: null }
    if (problem !== null) return { ok: false, problem, index: typeof value === 'string' ? null : index }
  }
  return { ok: true, addresses }
}

/** How many senders are remembered, and how long such a text may be: they come again and again. */
export const MOST_SENDERS = 500
export const LONGEST_SENDER = 400

/** Reads exactly one address, with or without a display name: a sender. */
export const parseAddress = remember(readOne, MOST_SENDERS, LONGEST_SENDER)

/** Beyond it nobody cares how many there are where one is meant. */
const MOST_COUNTED = 100

function readOne(value: string): AddressResult {
  const list = parseAddressList(value, MOST_COUNTED)
  if (!list.ok) return list
  if (list.addresses.length !== 1) return { ok: false, problem: `expected one address, found ${list.addresses.length}` }
  return { ok: true, address: list.addresses[0]! }
}

/** Reads an envelope sender; '' and '<>' are the null reverse-path (RFC 5321 §4.5.5). */
export function parseReversePath(value: string): ReversePathResult {
  const text = value.replaceAll(' ', '')
  if (text === '' || text === '<>') return { ok: true, address: '' }
  const parsed = parseAddress(value)
  return parsed.ok ? { ok: true, address: parsed.address.address } : parsed
}

// Lone surrogates are refused with the controls: they would turn into another character on the wire.
const CONTROL = /[\0-\x1f\x7f-\x9f\ud800-\udfff]/u

/**
 * Splits at commas outside quotes and angle brackets; appends to `out`, one beyond `most` at the utmost; answers the first
 * problem or null.
 */
function readElements(text: string, out: ParsedAddress[], most: number): string | null {
  if (isUsualAddrSpec(text)) {
    out.push({ name: '', address: text, header: text })
    return null
  }
  if (CONTROL.test(text)) return 'an address must not contain control characters'
  let start = 0
  let angle = -1
  let close = -1
  let i = 0
  for (; i <= text.length && out.length <= most; i++) {
    const c = i === text.length ? COMMA : text.charCodeAt(i)
    if (c === QUOTE) {
      i = endOfQuoted(text, i)
      if (i < 0) return `${excerpt(text.slice(start))}: a quote is not closed`
    } else if (c === LESS) {
      if (angle >= 0) return `${excerpt(text.slice(start))}: more than one "<"`
      angle = i
    } else if (c === GREATER) {
      if (angle < 0 || close >= 0) return `${excerpt(text.slice(start))}: ">" without "<"`
      close = i
    } else if (c === COMMA && (angle < 0 || close >= 0 || i === text.length)) {
      const problem = readElement(text, start, i, angle, close, out)
      if (problem !== null) return `${excerpt(text.slice(start, i))}: ${problem}${hintFor(text, start, i)}`
      start = i + 1
      angle = -1
      close = -1
    }
  }
  return null
}

/** `Rossi, Mario <m@x.it>`: what stands before the comma is no address and more comes after it. */
function hintFor(text: string, start: number, end: number): string {
  const isName = end < text.length && !text.slice(start, end).includes('@') && text.indexOf('<', end) > 0
  return isName ? '; put a display name with a comma in quotes' : ''
}

function readElement(text: string, start: number, end: number, angle: number, close: number, out: ParsedAddress[]) {
  if (angle < 0) {
    const spec = text.slice(start, end).trim()
    if (spec === '') return null
    const read = readAddrSpec(spec)
    if (typeof read === 'string') return read
    out.push({ name: '', address: read.address, header: read.address })
    return null
  }
  if (close < 0) return '"<" is not closed'
  if (text.slice(close + 1, end).trim() !== '') return 'text after ">"'
  const name = readPhrase(text.slice(start, angle))
  if (name === null) return 'groups are not supported; put a display name with ":" or ";" in quotes'
  const read = readAddrSpec(text.slice(angle + 1, close).trim())
  if (typeof read === 'string') return read
  out.push({ name, address: read.address, header: name ? `${quotePhrase(name)} <${read.address}>` : read.address })
  return null
}

/** The text of a display name: quoted strings opened, runs of space outside them made one. null: a group's syntax. */
function readPhrase(raw: string): string | null {
  let name = ''
  for (let i = 0; i < raw.length; ) {
    if (raw.charCodeAt(i) === QUOTE) {
      const end = endOfQuoted(raw, i)
      name += unquote(raw.slice(i + 1, end))
      i = end + 1
    } else {
      const next = raw.indexOf('"', i)
      const plain = raw.slice(i, next < 0 ? raw.length : next)
      if (plain.includes(':') || plain.includes(';')) return null
      name += plain.replace(/ +/g, ' ')
      i += plain.length
    }
  }
  return name.trim()
}

function quotePhrase(name: string): string {
  return isAtoms(name) ? name : `"${escapeQuoted(name)}"`
}

function excerpt(text: string): string {
  const trimmed = text.trim()
  return trimmed.length > 60 ? `'${trimmed.slice(0, 60).replace(/[\ud800-\udbff]$/, '')}…'` : `'${trimmed}'`
}

const QUOTE = 0x22
const COMMA = 0x2c
const LESS = 0x3c
const GREATER = 0x3e
