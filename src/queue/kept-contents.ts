/**
 * Contents of messages that this process has accepted and not yet claimed, so that their claim need not bring them back
 * from the database thread: it leaves out what stands under these numbers. Each submission has a number of its own, which
 * its row carries. The row of one that was submitted again carries another, so no content but its own is ever found.
 */
import { randomInt } from 'node:crypto'
import type { Content, Envelope, Message } from '../messages/message.js'

/** What a claim would have read. */
export interface KeptContent {
  readonly content: Content
  readonly envelope: Envelope
  readonly trace: string | null
}

export interface KeptContents {
  /** The number under which it is kept, and which its row has to carry; null: it is not. `size`: of its content, characters. */
  keep(message: Message, size: number): number | null
  /** Hands it out, and keeps it no longer. */
  take(submission: number): KeptContent | undefined
  /** What is kept has a number from the first to the second. */
  numbers(): readonly [number, number]
}

/** Characters of all together, with what comes to each: 4,400 messages of 2 KB. Outside Latin-1 memory takes twice as much. */
const MOST = 12_000_000
/** Characters of one, content and envelope. */
const MOST_OF_ONE = 16 * 1024
/** What the objects of one take beside its characters, bytes. */
const EACH = 700
/** Who was accepted first is claimed first, so only what has waited for so long leaves to make room, ms. */
const KEEPS_MS = 10_000
/** Numbers from the first that is kept to the last. One that so many have passed waits for something else than they: it leaves. */
const PLACES = 2 ** 15

interface Entry {
  readonly kept: KeptContent
  readonly size: number
  /** Monotonic. */
  readonly since: number
}

/** `monotonic` in ms. */
export function createKeptContents(monotonic: () => number): KeptContents {
  // By number modulo its length. A Map that much comes into and leaves is made anew again and again, and what its old tables
  // held lives until the next full collection (docs/decisions/0053).
  const entries = new Array<Entry | undefined>(PLACES)
  // Above the numbers of what is not kept, and away from those of other processes.
  let next = 2 ** 50 + randomInt(2 ** 47)
  /** The first that is kept; `next` where none is. */
  let first = next
  let total = 0

  const take = (submission: number): KeptContent | undefined => {
    if (!(submission >= first && submission < next)) return undefined
    const place = submission % PLACES
    const entry = entries[place]
    if (entry === undefined) return undefined
    entries[place] = undefined
    total -= entry.size
    while (first < next && entries[first % PLACES] === undefined) first += 1
    return entry.kept
  }

  const makeRoom = (size: number, now: number): boolean => {
    while (total + size > MOST) {
      if (now - entries[first % PLACES]!.since < KEEPS_MS) return false
      take(first)
    }
    if (next - first === PLACES) take(first)
    return true
  }

  return {
    keep({ content, envelope, trace = null }, contentSize) {
      const now = monotonic()
      const characters = envelope.to.reduce((sum, { length }) => sum + length, contentSize + envelope.from.length)
      const size = characters + EACH
      // What has attachments waits for them, which takes longer than to read it; and their credentials are sealed in it.
      if (content.attachments !== undefined || characters > MOST_OF_ONE || !makeRoom(size, now)) return null
      const number = next++
      entries[number % PLACES] = { kept: { content, envelope, trace }, size, since: now }
      total += size
      return number
    },
    take,
    numbers: () => [first, next - 1],
  }
}
