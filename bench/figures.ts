/** Figures in few words. */
import type { Bound, Figure } from './bench.js'
import type { Database } from './databases.js'
import { quantile } from './times.js'

export const figure = (
  goal: number | null,
  database: Database,
  what: string,
  value: number,
  unit: Figure['unit'],
  wanted: Bound | null = null,
): Figure => ({ goal, database: database.name, what, value, unit, wanted })

/** p50 and p99 of durations in ms, each with its bound. */
export function latencies(
  goal: number | null,
  database: Database,
  what: string,
  times: readonly number[],
  wanted: { readonly p50?: Bound; readonly p99?: Bound } = {},
): Figure[] {
  return [
    figure(goal, database, `${what}: p50`, quantile(times, 0.5), 'ms', wanted.p50),
    figure(goal, database, `${what}: p99`, quantile(times, 0.99), 'ms', wanted.p99),
  ]
}
