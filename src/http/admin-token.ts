/** The admin token in the database: only its SHA-256 is there (meta key `admin_token_hash`). */
import type { Db } from '../db/db.js'
import { hashToken } from '../lib/tokens.js'

export async function readAdminTokenHash(db: Db): Promise<string | null> {
  const [row] = await db.read({ sql: "select value from meta where key = 'admin_token_hash'", params: [] })
  return (row?.value as string | undefined) ?? null
}

export async function setAdminToken(db: Db, token: string): Promise<void> {
  await db.write([
    {
      sql: `insert into meta (key, value) values ('admin_token_hash', $1)
        on conflict (key) do update set value = excluded.value`,
      params: [hashToken(token)],
    },
  ])
}

/** Sets the token unless there is one. True when this call set it: of many processes starting at once, one does. */
export async function setFirstAdminToken(db: Db, token: string): Promise<boolean> {
  const [rows] = await db.write([
    {
      sql: "insert into meta (key, value) values ('admin_token_hash', $1) on conflict (key) do nothing returning key",
      params: [hashToken(token)],
    },
  ])
  return rows!.length === 1
}
