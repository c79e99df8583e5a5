import { SqliteCode, sqliteCode } from '../db/sqlite-code.js'

/** Why a backup, a restore or a transfer was not made, in one sentence for a person; nothing was changed. */
export class CopyRefused extends Error {
  override name = 'CopyRefused'
}

/** The same words for what the disk says; any other error as it is. `what`: what could not be done, with its place. */
export function explainDisk(error: unknown, what: string): unknown {
  const { code, message } = error as { code?: string; message?: string }
  const sqlite = sqliteCode(error)
  if (code === 'ENOSPC' || code === 'EDQUOT' || sqlite === SqliteCode.full) {
    return new CopyRefused(`${what}: the disk is full`, { cause: error })
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || sqlite === SqliteCode.readOnly) {
    return new CopyRefused(`${what}: this user may not write there, or not read the source`, { cause: error })
  }
  if (code === 'ENOENT' || code === 'ENOTDIR') return new CopyRefused(`${what}: no such directory`, { cause: error })
  if (sqlite === SqliteCode.ioError || sqlite === SqliteCode.cannotOpen || code === 'EIO')
    return new CopyRefused(`${what}: ${message}`, { cause: error })
  return error
}
