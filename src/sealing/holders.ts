/**
 * Which sealing keys each process on a PostgreSQL has (table key_holders), so that none is replaced by one that some process
 * could not open. On SQLite there is one process.
 */
import type { Db, Statement } from '../db/db.js'

export interface KeyHolder {
  /** Host and process. */
  readonly holder: string
  /** Ids. */
  readonly keys: readonly string[]
  /** How long ago it said so, ms. */
  readonly ageMs: number
}

/** One that has not said so for this long has ended, or is frozen: the fence keeps what it writes then out. ms */
const GONE_MS = 90_000

/** Says it, and looks in the same unit which key seals: nobody changes that in between. Null: nothing was ever sealed. */
export async function sayKeys(
  db: Db,
  { id, holder, keys }: { readonly id: number; readonly holder: string; readonly keys: readonly string[] },
  now: number,
): Promise<string | null> {
  const [rows] = await db.write([
    { sql: "select value from meta where key = 'key_check' @for_share", params: [] },
    {
      sql: `insert into key_holders (id, holder, keys, seen_at) values ($1, $2, $3, @now($4))
        on conflict (id) do update set keys = excluded.keys, seen_at = excluded.seen_at`,
      params: [id, holder, ` ${keys.join(' ')} `, now],
    },
    { sql: 'delete from key_holders where seen_at < @now($1) - $2', params: [now, GONE_MS * 10] },
  ])
  return (rows![0]?.value as string | undefined) ?? null
}

export function forgetHolder(id: number): Statement {
  return { sql: 'delete from key_holders where id = $1', params: [id] }
}

/** The processes that live, by name. */
export async function listHolders(db: Db, now: number): Promise<readonly KeyHolder[]> {
  const rows = await db.read({
    sql: `select holder, keys, @now($1) - seen_at as age from key_holders where seen_at > @now($1) - $2 order by holder, id`,
    params: [now, GONE_MS],
  })
  return rows.map(row => ({
    holder: row.holder as string,
    keys: String(row.keys).trim().split(' '),
    ageMs: Number(row.age),
  }))
}

/** SQL: some process that lives lacks the key; $time and $key are the parameters now and ` <id> `. */
export function someoneLacks(time: string, key: string): string {
  return `exists (select 1 from key_holders where seen_at > @now(${time}) - ${GONE_MS} and keys not like '%' || ${key} || '%')`
}
