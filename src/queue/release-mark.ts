/**
 * The mark of a database whose waiting mail may have gone out already: restored, transferred, or found to be older than
 * its instance has known it. While it stands no process on that database sends or reports; `--release` takes it away.
 */
import type { Db, Statement } from '../db/db.js'

/** Stops all sending and reporting of every process on this database until it is released. */
export async function needRelease(db: Db, reason: string): Promise<void> {
  await db.write([needReleaseStatement(reason)])
}

/** The same, to go with other statements. A reason that stands already is told behind the new one. */
export function needReleaseStatement(reason: string): Statement {
  return {
    sql: `insert into meta (key, value) values ('release_needed', $1)
      on conflict (key) do update set value = excluded.value || '; before that: ' || meta.value`,
    params: [reason],
  }
}

/** Why nothing may be sent; null: it may. */
export async function releaseNeeded(db: Db): Promise<string | null> {
  const [row] = await db.read({ sql: "select value from meta where key = 'release_needed'", params: [] })
  return (row?.value as string | undefined) ?? null
}

export async function endRelease(db: Db): Promise<void> {
  await db.write([{ sql: "delete from meta where key = 'release_needed'", params: [] }])
}
