/**
 * A large body as JSON with its `messages` split off and the long contents of their attachments taken out as octets. What
 * comes out means the same as the body parsed as a whole.
 */
import type { InlineUpload } from '../messages/message.js'
import { parseJson } from './parse-json.js'
import { takeFromMessages, takeUploads } from './take-uploads.js'

export interface LargeBody {
  readonly value: unknown
  readonly messages: readonly unknown[]
  readonly uploads: InlineUpload[]
}

/** Throws InvalidJson. `mark`: for the places of what is taken out, see takeUploads; null: nothing is split off. */
export function readLarge(raw: Buffer, mark: string | null): LargeBody {
  if (mark === null) return { value: parseJson(raw), messages: [], uploads: [] }
  const read = readTaken(raw, mark) ?? readWhole(raw)
  takeFromMessages(read.messages, mark, read.uploads)
  return read
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
