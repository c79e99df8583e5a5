/**
 * Takes the long base64 contents of attachments, and shorter ones where a message has many, out of a request body before it is read as JSON: they become octets in
 * pieces, and never one string of many megabytes. In their place stands a mark that nobody outside can guess.
 * Works on the raw octets: in JSON `"storage_path"` with these quotes is always a string of its own, because inside
 * another string its quotes would be escaped.
 */
import { createHash } from 'node:crypto'
import { withoutEnd } from '../lib/without-end.js'
import type { InlineUpload } from '../messages/message.js'

const KEY = Buffer.from('"storage_path"')
const PREFIX = 'base64:'
const QUOTE = 0x22
const BACKSLASH = 0x5c
const ATTACHMENTS = Buffer.from('"attachments"')
/** Shorter ones stay in their message, while they are few. */
const LONG_CHARACTERS = 64 * 1024
/** What is longer goes out once its message holds KEPT_CHARACTERS. Twice the longest path, for each may be escaped. */
const SHORT_CHARACTERS = 8 * 1024
const KEPT_CHARACTERS = 512 * 1024
/** Base64 characters of a piece, a multiple of four: 524,286 octets. */
const PIECE = 699_048

/** `mark`: what no client can know. The n-th upload's place holds the string `<mark>:<n>`. */
export function takeUploads(raw: Buffer, mark: string): { rest: Buffer; uploads: InlineUpload[] } {
  const uploads: InlineUpload[] = []
  const kept: Buffer[] = []
  let keptTo = 0
  let inMessage = 0
  let nextList = listAfter(raw, 0)
  for (let at = raw.indexOf(KEY); at >= 0; at = raw.indexOf(KEY, at + KEY.length)) {
    if (raw[at - 1] === BACKSLASH) continue
    const start = valueStart(raw, at + KEY.length)
    if (start < 0) continue
    const end = stringEnd(raw, start)
    if (end < 0) break
    if (nextList < at) {
      inMessage = 0
      while (nextList < at) nextList = listAfter(raw, nextList)
    }
    const length = end - start
    const taken = length >= LONG_CHARACTERS || isFull(inMessage, length) ? decode(raw, start, end) : null
    if (taken === null) {
      inMessage += length
      continue
    }
    kept.push(raw.subarray(keptTo, start), Buffer.from(`${mark}:${uploads.length}`))
    keptTo = end
    uploads.push(taken)
  }
  if (uploads.length === 0) return { rest: raw, uploads }
  kept.push(raw.subarray(keptTo))
  return { rest: Buffer.concat(kept), uploads }
}

/**
 * The same for messages as they were read, in place: what was written so that the octets do not show it, with an escape in
 * a key's name or a key twice. Adds to `uploads`, by whose number a place is marked.
 */
export function takeFromMessages(messages: readonly unknown[], mark: string, uploads: InlineUpload[]): void {
  for (const message of messages) {
    const attachments = (message as { attachments?: unknown } | null)?.attachments
    if (!Array.isArray(attachments)) continue
    let inMessage = 0
    for (const each of attachments as ({ storage_path?: unknown } | null)[]) {
      const content = each?.storage_path
      if (typeof content !== 'string' || content.startsWith(mark)) continue
      const isWanted = content.length >= LONG_CHARACTERS || isFull(inMessage, content.length)
      // Read already: a backslash here is one, and no escape.
      const raw = isWanted && !content.includes('\\') ? Buffer.from(content.replace(/\s+/g, '')) : null
      const taken = raw === null ? null : decode(raw, 0, raw.length)
      if (taken === null) {
        inMessage += content.length
        continue
      }
      each!.storage_path = `${mark}:${uploads.length}`
      uploads.push(taken)
    }
  }
}

/** A message read from the queue is held as a whole, in several copies. */
function isFull(inMessage: number, length: number): boolean {
  return length > SHORT_CHARACTERS && inMessage + length > KEPT_CHARACTERS
}

/** Where the attachments of another message begin, after `from`; Infinity: nowhere. */
function listAfter(raw: Buffer, from: number): number {
  for (let at = raw.indexOf(ATTACHMENTS, from); at >= 0; at = raw.indexOf(ATTACHMENTS, at + 1)) {
    const colon = skipSpace(raw, at + ATTACHMENTS.length)
    if (raw[at - 1] === BACKSLASH || raw[colon] !== 0x3a) continue
    const list = skipSpace(raw, colon + 1)
    if (raw[list] === 0x5b) return list
  }
  return Number.POSITIVE_INFINITY
}

/** Of the string after the colon; -1: what follows is none. */
function valueStart(raw: Buffer, from: number): number {
  let at = skipSpace(raw, from)
  if (raw[at] !== 0x3a) return -1
  at = skipSpace(raw, at + 1)
  return raw[at] === QUOTE ? at + 1 : -1
}

function skipSpace(raw: Buffer, from: number): number {
  let at = from
  while (raw[at] === 0x20 || raw[at] === 0x0a || raw[at] === 0x0d || raw[at] === 0x09) at += 1
  return at
}

/** Of its closing quote; -1: there is none. */
export function stringEnd(raw: Buffer, start: number): number {
  for (let at = raw.indexOf(QUOTE, start); at >= 0; at = raw.indexOf(QUOTE, at + 1)) {
    let slashes = 0
    while (raw[at - 1 - slashes] === BACKSLASH) slashes += 1
    if (slashes % 2 === 0) return at
  }
  return -1
}

/** null: not base64, for whoever reads the message to refuse. */
function decode(raw: Buffer, start: number, end: number): InlineUpload | null {
  const isPrefixed = raw.toString('latin1', start, start + PREFIX.length) === PREFIX
  const parts: Uint8Array[] = []
  const md5 = createHash('md5')
  let sizeBytes = 0
  let waiting = ''
  let isOver = false
  for (let at = isPrefixed ? start + PREFIX.length : start; at < end; ) {
    let to = Math.min(at + PIECE, end)
    // Not between the two characters of an escape.
    while (to < end && raw[to - 1] === BACKSLASH) to += 1
    const text = plain(raw.toString('latin1', at, to))
    at = to
    if (isOver && text !== '') return null
    const padding = text.length - withoutEnd(text, '=').length
    const digits = padding === 0 ? text : text.slice(0, -padding)
    if (padding > 2 || /[^A-Za-z0-9+/]/.test(digits)) return null
    isOver = padding > 0
    waiting += digits
    const whole = isOver || at >= end ? waiting.length : waiting.length - (waiting.length % 4)
    if (isOver && (waiting.length + padding) % 4 !== 0) return null
    if (whole % 4 === 1) return null
    // Its own memory and not a slice of the pool, so that it can be handed to another thread.
    const octets = new Uint8Array(Buffer.from(waiting.slice(0, whole), 'base64'))
    waiting = waiting.slice(whole)
    if (octets.length === 0) continue
    parts.push(octets)
    md5.update(octets)
    sizeBytes += octets.length
  }
  return { parts, sizeBytes, md5: md5.digest('hex'), isPrefixed }
}

/**
 * Without the escapes that encoders make of "/" and line breaks, and without spaces. A line break as it is stays and is no
 * base64: in a JSON string it is a syntax error (RFC 8259 §7), here as in a short body.
 */
function plain(text: string): string {
  if (!/[\\ ]/.test(text)) return text
  return text.replace(/\\([nrt/])/g, (_, escaped: string) => (escaped === '/' ? '/' : '')).replace(/ +/g, '')
}
