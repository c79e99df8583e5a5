/**
 * Sealed values in the database, while the key that seals them may be replaced. The check value of that key stands in
 * meta (`key_check`); whoever replaces it writes that row first. A unit with secrets brings the fence along, which undoes
 * it when its key is not that one. So nothing sealed with a replaced key is ever committed after the replacement, also not by
 * a process that was frozen meanwhile, and what has to be sealed anew can be found by looking once.
 */
import type { Sealer } from '../lib/sealer.js'
import { type Db, type Row, SealingKeyChanged, type Statement } from './db.js'

/** Fails its unit with SealingKeyChanged when another key than this one seals now. */
export function keyFence(keyCheck: string): Statement {
  return {
    // The row stays locked until the unit is committed, for those who replace the key and for nobody else.
    sql: `with current as @materialized (select value from meta where key = 'key_check' @for_share)
      insert into key_fence (never) select null from current where value <> $1`,
    params: [keyCheck],
  }
}

/** Whether a statement failed on the fence, by the database's words: "… key_fence.never" and "… of relation "key_fence" …". */
export function isKeyFence(message: string): boolean {
  return /\bkey_fence\b/.test(message)
}

/** Writes a unit with sealed values. `unit` seals, and is asked again when the key was replaced meanwhile. */
export async function writeSealed(db: Db, sealer: Sealer, unit: () => readonly Statement[]): Promise<Row[][]> {
  return sealedAnew(sealer, () => db.write([...unit(), keyFence(sealer.keyCheck)]))
}

/** The same for writers that bring the fence themselves. */
export async function sealedAnew<T>(sealer: Sealer, write: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await write()
    } catch (error) {
      if (!(error instanceof SealingKeyChanged)) throw error
      await sealer.renew()
    }
  }
}

export interface SealedValue {
  readonly sealed: string
  readonly context: string
}

/** A column with sealed values, for who seals them anew. */
export interface SealedPlace {
  readonly table: string
  /** Its primary key, of a type of which `first` is below every value. */
  readonly key: string
  readonly first: number | ''
  readonly column: string
  /** The next rows behind $1 by that key: `at`, `text` (null: nothing sealed) and what `values` looks at. */
  readonly page: string
  values(row: Row): readonly SealedValue[]
  /** Set beside the column. */
  readonly alsoSet?: string
}

/** Rows looked at in one statement. */
export const SEALED_PAGE = 200

/** A column whose whole text is sealed. `beside`: columns that the context is made of. */
export function sealedColumn(
  place: Pick<SealedPlace, 'table' | 'key' | 'first' | 'column' | 'alsoSet'>,
  beside: readonly string[],
  context: (row: Row) => string,
): SealedPlace {
  const { table, key, column } = place
  const columns = [`${key} as at`, `${column} as text`, ...beside]
  return {
    ...place,
    page: `select ${columns.join(', ')} from ${table} where ${key} > $1 order by ${key} limit ${SEALED_PAGE}`,
    values: row => [{ sealed: row.text as string, context: context(row) }],
  }
}
