/** What a round of the bench is given and what it answers. */
import type { Database } from './databases.js'
import type { LongQueue } from './long-queue.js'

export interface Bench {
  readonly databases: readonly Database[]
  /** Quick: a small part of everything, to see that it runs; the figures say little. */
  readonly isQuick: boolean
  /** The forms of rounds that take ten minutes and more. */
  readonly isLong: boolean
  readonly withSoak: boolean
  /** So many of a full run, or the fortieth part in a quick one. */
  count(full: number): number
  say(line: string): void
  /** Made once and shared by the rounds that need one. */
  longQueue(database: Database): Promise<LongQueue>
}

/** One round: what `--only` calls by its name. */
export interface Goal {
  readonly name: string
  run(bench: Bench): Promise<Figure[]>
}

export type Bound = { readonly atLeast: number } | { readonly atMost: number }

export interface Figure {
  /** The number of the goal; null: beside the goals. */
  readonly goal: number | null
  readonly what: string
  readonly database: Database['name']
  readonly value: number
  readonly unit: 'ratio' | 'messages/s' | 'requests/s' | 'reports/s' | 'ms' | 'MB' | 'µs' | '%' | 'times'
  /** null: no goal speaks of it. */
  readonly wanted: Bound | null
}

export function isMet({ value, wanted }: Pick<Figure, 'value' | 'wanted'>): boolean | null {
  if (wanted === null) return null
  return 'atLeast' in wanted ? value >= wanted.atLeast : value <= wanted.atMost
}
