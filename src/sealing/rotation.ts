/**
 * The record of a change of the sealing key (meta `key_rotation`): from which key to which, and how far the stored
 * secrets have been sealed anew. It stays when it is done, to tell that the old key may go.
 */
import type { Db, Statement } from '../db/db.js'

export interface Rotation {
  /** Ids of the keys, and their check values. */
  readonly fromId: string
  readonly from: string
  readonly toId: string
  readonly to: string
  /** Epoch ms; null: not done yet. */
  readonly startedAt: number
  readonly finishedAt: number | null
  /** Which of the places (places.ts) is being gone through, and behind which of its rows; null: from its first. */
  readonly place: number
  readonly after: number | string | null
  /** Values sealed anew, and values that no key at hand opens, which stay as they are. */
  readonly resealed: number
  readonly unreadable: number
}

/** Null: the key has never been changed. */
export async function readRotation(db: Db): Promise<{ readonly rotation: Rotation; readonly text: string } | null> {
  const [row] = await db.read({ sql: "select value from meta where key = 'key_rotation'", params: [] })
  return row === undefined ? null : { rotation: JSON.parse(row.value as string) as Rotation, text: row.value as string }
}

/** The check value of the key that seals now; null: nothing was ever sealed. */
export async function readKeyCheck(db: Db): Promise<string | null> {
  const [row] = await db.read({ sql: "select value from meta where key = 'key_check'", params: [] })
  return (row?.value as string | undefined) ?? null
}

/** Progress, unless somebody else has recorded some: who was faster has done the same. */
export function recordProgress(next: Rotation, before: string): Statement {
  return {
    sql: "update meta set value = $1 where key = 'key_rotation' and value = $2",
    params: [JSON.stringify(next), before],
  }
}
