/** What a database would send and tell if it were let: the figures an operator needs before `--release`. */

export interface Waiting {
  /** Messages that wait for their turn. */
  readonly waiting: number
  /** Claimed and without a result: the next start takes them for in doubt. */
  readonly in_flight: number
  /** Held in doubt until somebody decides. */
  readonly held: number
  /** Report entries nobody has acknowledged. */
  readonly reports: number
}

/** One row with the columns of Waiting; over partial indexes, so its cost does not grow with what was sent. */
export const WAITING_SQL = `select (select count(*) from messages where stage = 1)
    + (select count(*) from messages where stage = 2) as waiting,
  (select count(*) from messages where stage = 3) as in_flight,
  (select count(*) from messages where stage = 4) as held,
  (select count(*) from events where pending = 1) as reports`

export function waitingFrom(row: Record<string, unknown> | undefined): Waiting {
  const count = (name: string) => Number(row?.[name] ?? 0)
  return { waiting: count('waiting'), in_flight: count('in_flight'), held: count('held'), reports: count('reports') }
}
