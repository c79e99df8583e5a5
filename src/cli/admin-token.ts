/**
 * The admin token of an instance: the database holds only its SHA-256, the token itself stands in the folder of the
 * machine where it was made. Processes that start at once on one database agree on one token.
 */
import type { Db } from '../db/db.js'
import { readAdminTokenHash, setAdminToken, setFirstAdminToken } from '../http/admin-token.js'
import { hashToken, newToken } from '../lib/tokens.js'
import { keepFirstToken, readToken, removeToken, writeToken } from './instance.js'

/** Makes the token when the database knows none, and returns it; null when there was one already. */
export async function makeFirstToken(db: Db, dir: string): Promise<string | null> {
  if ((await readAdminTokenHash(db)) !== null) return null
  // The file first: a crash between the two leaves a token the next start takes up, and not a hash nobody can meet.
  const wasMade = keepFirstToken(dir, newToken())
  const token = readToken(dir) ?? fillEmptyFile(dir)
  if (await setFirstAdminToken(db, token)) return token
  // Another process was first. Its token counts; ours stays only if both share this folder and it is the same.
  if (wasMade && (await readAdminTokenHash(db)) !== hashToken(token)) removeToken(dir)
  return null
}

/** A new token in place of the old one, which is worth nothing from now on. */
export async function replaceToken(db: Db, dir: string): Promise<string> {
  const token = newToken()
  await setAdminToken(db, token)
  writeToken(dir, token)
  return token
}

function fillEmptyFile(dir: string): string {
  const token = newToken()
  writeToken(dir, token)
  return token
}
