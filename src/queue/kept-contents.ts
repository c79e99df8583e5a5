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

interface Entry {
  readonly kept: KeptContent
  readonly size: number
  /** Monotonic. */
  readonly since: number
}

/** `monotonic` in ms. */
export function createKeptContents(monotonic: () => number): KeptContents {
  /** In the order of their numbers. */
  const entries = new Map<number, Entry>()
  // Above the numbers of what is not kept, and away from those of other processes.
  let next = 2 ** 50 + randomInt(2 ** 47)
  let total = 0
  /** Before that, monotonic, the first must not leave; who comes after it was kept later. */
  let keepsUntil = Number.NEGATIVE_INFINITY

  const take = (submission: number): KeptContent | undefined => {
    const entry = entries.get(submission)
    if (entry === undefined) return undefined
    entries.delete(submission)
    total -= entry.size
    return entry.kept
  }

  const makeRoom = (size: number, now: number): boolean => {
    // As a rule without a look at the first, which the map finds behind the places of thousands that have left: 2 µs.
    if (total + size <= MOST) return true
    if (now < keepsUntil) return false
    for (const [number, { since }] of entries) {
      keepsUntil = since + KEEPS_MS
      if (now < keepsUntil) return false
      take(number)
      if (total + size <= MOST) break
    }
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
      entries.set(number, { kept: { content, envelope, trace }, size, since: now })
      total += size
      return number
    },
    take,
    numbers() {
      const [oldest] = entries.keys()
      return [oldest ?? next, next - 1]
    },
  }
}
