/** Why a backup, a restore or a transfer was not made, in one sentence for a person; nothing was changed. */
export class CopyRefused extends Error {
  override name = 'CopyRefused'
}

/** The same words for what the disk says; any other error as it is. `what`: what could not be done, with its place. */
export function explainDisk(error: unknown, what: string): unknown {
  const { code, errcode, message } = error as { code?: string; errcode?: number; message?: string }
  // SQLite's primary codes: 13 FULL, 8 READONLY, 14 CANTOPEN, 10 IOERR.
  const primary = errcode === undefined ? null : errcode & 0xff
  if (code === 'ENOSPC' || code === 'EDQUOT' || primary === 13) {
    return new CopyRefused(`${what}: the disk is full`, { cause: error })
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || primary === 8) {
    return new CopyRefused(`${what}: this user may not write there, or not read the source`, { cause: error })
  }
  if (code === 'ENOENT' || code === 'ENOTDIR') return new CopyRefused(`${what}: no such directory`, { cause: error })
  if (primary === 10 || primary === 14 || code === 'EIO')
    return new CopyRefused(`${what}: ${message}`, { cause: error })
  return error
}
