/**
 * A large body as JSON with its `messages` split off and the long contents of their attachments taken out as octets. What
 * comes out means the same as the body parsed as a whole.
 */
import type { InlineUpload } from '../messages/message.js'
import { InvalidJson, parseJson } from './parse-json.js'
import { stringEnd, takeFromMessages, takeUploads } from './take-uploads.js'

export interface LargeBody {
  readonly value: unknown
  readonly messages: readonly unknown[]
  readonly uploads: InlineUpload[]
}

/**
 * Values of a body, keys not counted: each may cost a hundred octets once it is read, and be two in the text. 10,000 messages
 * have 200 each.
 */
const MOST_VALUES = 2_000_000
/** Of one message, and of all that is no message: the event loop reads it in one piece. 10,000 recipients are as many. */
const MOST_AT_ONCE = 100_000

/** Throws InvalidJson. `mark`: for the places of what is taken out, see takeUploads; null: nothing is split off. */
export function readLarge(raw: Buffer, mark: string | null): LargeBody {
  if (countValues(raw, MOST_VALUES) > MOST_VALUES) throw tooMany('The body', MOST_VALUES)
  const read = mark === null ? { value: parseJson(raw), messages: [], uploads: [] } : readMessages(raw, mark)
  if (valuesLeft(read.value, MOST_AT_ONCE) < 0) {
    throw tooMany(mark === null ? 'The body' : 'The body beside its messages', MOST_AT_ONCE)
  }
  for (const [index, message] of read.messages.entries()) {
    if (valuesLeft(message, MOST_AT_ONCE) < 0) throw tooMany(`messages[${index}]`, MOST_AT_ONCE)
  }
  return read
}

function readMessages(raw: Buffer, mark: string): LargeBody {
  const read = readTaken(raw, mark) ?? readWhole(raw)
  takeFromMessages(read.messages, mark, read.uploads)
  return read
}

function tooMany(what: string, most: number): InvalidJson {
  return new InvalidJson(`${what} has more than ${most} values`, 0)
}

/** In the text, before memory is spent on them: one more than there are commas and openings outside strings. */
function countValues(raw: Buffer, most: number): number {
  let count = 1
  for (let at = 0; at < raw.length && count <= most; at += 1) {
    const octet = raw[at]
    if (octet === QUOTE) {
      const end = stringEnd(raw, at + 1)
      if (end < 0) return count
      at = end
    } else if (octet === COMMA || octet === BRACKET || octet === BRACE) count += 1
  }
  return count
}

const QUOTE = 0x22
const COMMA = 0x2c
const BRACKET = 0x5b
const BRACE = 0x7b

/** What is left of `most` after the value and all that is in it; below 0: it has more. */
function valuesLeft(value: unknown, most: number): number {
  let left = most - 1
  if (typeof value !== 'object' || value === null) return left
  for (const each of Array.isArray(value) ? value : Object.values(value)) {
    if (left < 0) return left
    left = valuesLeft(each, left)
  }
  return left
}

function readWhole(raw: Buffer): LargeBody {
  const value = parseJson(raw)
  const uploads: InlineUpload[] = []
  return { value, messages: takeMessages(value), uploads }
}

/** With its long contents taken out; null: there are none, or the body has to be judged as it came. */
function readTaken(raw: Buffer, mark: string): LargeBody | null {
  const { rest, uploads } = takeUploads(raw, mark)
  if (uploads.length === 0) return null
  try {
    const value = parseJson(rest)
    const messages = takeMessages(value)
    // Fewer: something else is called storage_path, a header perhaps.
    return marksIn(messages, mark) === uploads.length ? { value, messages, uploads } : null
  } catch {
    // Told with its place in the whole body.
    return null
  }
}

/** How many attachments have their content taken out. */
function marksIn(messages: readonly unknown[], mark: string): number {
  let count = 0
  for (const message of messages) {
    const attachments = (message as { attachments?: unknown } | null)?.attachments
    if (!Array.isArray(attachments)) continue
    for (const each of attachments as ({ storage_path?: unknown } | null)[]) {
      if (typeof each?.storage_path === 'string' && each.storage_path.startsWith(mark)) count += 1
    }
  }
  return count
}

function takeMessages(value: unknown): readonly unknown[] {
  if (typeof value !== 'object' || value === null) return []
  const body = value as { messages?: unknown }
  if (!Array.isArray(body.messages)) return []
  const { messages } = body
  body.messages = []
  return messages
}
