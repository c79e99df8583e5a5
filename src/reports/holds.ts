/**
 * Messages of one tenant whose entries are stepped over for a while, so that the entries of other messages behind them
 * go on. Kept in memory: a restart forgets it and finds out again. A hold is on the message, not on the entry, so that
 * its later entries do not overtake.
 */
import { backoffMs } from './pace.js'

/** More is no exception but the rule, and then the tenant as a whole has to wait. */
const MAX_HOLDS = 1_000

export interface Holds {
  readonly size: number
  /** The client named the message in `error`: it comes again in a common batch. False when there is no room. */
  refuse(seq: number, now: number): boolean
  /** The message failed alone: it comes again alone. False when there is no room. */
  setAside(seq: number, now: number): boolean
  /** Messages that a common batch must leave out now. */
  excluded(now: number): number[]
  /** A message set aside whose time has come, the longest waiting first; null: none. */
  due(now: number): number | null
  /** When the next hold ends, epoch ms; null: there is none. */
  nextAt(): number | null
  release(seqs: readonly number[]): void
  /** These are all messages that a common batch may hold now: others whose time has come have no entries any more. */
  keepOnly(seqs: readonly number[], now: number): void
  /** One set aside went through after all: those that failed alone but once were probably not to blame either. */
  pardon(): void
}

interface Hold {
  readonly kind: 'refused' | 'aside'
  readonly failures: number
  readonly retryAt: number
}

export function createHolds(random: () => number): Holds {
  const holds = new Map<number, Hold>()

  function put(seq: number, kind: Hold['kind'], now: number): boolean {
    const known = holds.get(seq)
    if (known === undefined && holds.size >= MAX_HOLDS) return false
    const failures = (known?.kind === kind ? known.failures : 0) + 1
    holds.set(seq, { kind, failures, retryAt: now + backoffMs(failures, random) })
    return true
  }

  return {
    get size() {
      return holds.size
    },
    refuse: (seq, now) => put(seq, 'refused', now),
    setAside: (seq, now) => put(seq, 'aside', now),
    excluded(now) {
      const seqs: number[] = []
      for (const [seq, { kind, retryAt }] of holds) if (kind === 'aside' || retryAt > now) seqs.push(seq)
      return seqs
    },
    due(now) {
      let first: { seq: number; retryAt: number } | null = null
      for (const [seq, { kind, retryAt }] of holds) {
        if (kind === 'aside' && retryAt <= now && (first === null || retryAt < first.retryAt)) first = { seq, retryAt }
      }
      return first?.seq ?? null
    },
    nextAt() {
      let next: number | null = null
      for (const { retryAt } of holds.values()) next = Math.min(next ?? retryAt, retryAt)
      return next
    },
    release(seqs) {
      for (const seq of seqs) holds.delete(seq)
    },
    keepOnly(seqs, now) {
      const left = new Set(seqs)
      for (const [seq, { kind, retryAt }] of holds) {
        if (kind === 'refused' && retryAt <= now && !left.has(seq)) holds.delete(seq)
      }
    },
    pardon() {
      for (const [seq, { kind, failures }] of holds) if (kind === 'aside' && failures === 1) holds.delete(seq)
    },
  }
}
