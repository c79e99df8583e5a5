/** Puts a new database in the place of an old one, which is kept under another name: one of them is there at any moment. */
import { existsSync, linkSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { SqliteCode, sqliteCode } from '../db/sqlite-code.js'
import { openDriver } from '../db/sqlite-driver.js'
import { syncPath } from '../lib/private-file.js'
import { CopyRefused } from './errors.js'

/** The name, or with a number after it where that is taken. */
export function freeName(name: string): string {
  for (let n = 1; ; n += 1) {
    const candidate = n === 1 ? name : `${name}-${n}`
    if (!existsSync(candidate)) return candidate
  }
}

/** The caller holds the lock of `path`. `replace` renames the new one over it. Answers what was kept, and where. */
export async function keepAside(path: string, aside: string, replace: () => void): Promise<string[]> {
  if (!existsSync(path)) {
    // A log without its database would be taken for the new one's.
    const orphan = existsSync(`${path}-wal`) ? [`${aside}-wal`] : []
    for (const kept of orphan) renameSync(`${path}-wal`, kept)
    replace()
    return orphan
  }
  // To open a damaged database may cost it its log.
  const hasLog = existsSync(`${path}-wal`)
  if (hasLog) linkSync(`${path}-wal`, `${aside}-wal`)
  let isWhole = true
  try {
    isWhole = await foldLog(path)
  } finally {
    if (isWhole) rmSync(`${aside}-wal`, { force: true })
  }
  linkSync(path, aside)
  // The old one must have its new name for good before it loses the other.
  syncPath(dirname(path))
  if (!isWhole) rmSync(`${path}-wal`, { force: true })
  rmSync(`${path}-shm`, { force: true })
  try {
    replace()
  } catch (error) {
    // A second name of a database that goes on would look like a copy of it.
    if (isWhole) rmSync(aside)
    throw error
  }
  // Of the old one's doubts the new one must know nothing; until here they were still its own.
  const prefix = `${basename(path)}-doubt.`
  for (const name of readdirSync(dirname(path)).filter(each => each.startsWith(prefix))) {
    renameSync(join(dirname(path), name), `${aside}-doubt.${name.slice(prefix.length)}`)
  }
  return [aside]
}

/** Brings the write-ahead log into the file, so that one file is all of it. False: the database cannot be opened. */
async function foldLog(path: string): Promise<boolean> {
  let old: Awaited<ReturnType<typeof openDriver>> | undefined
  try {
    old = await openDriver(path, false)
    old.exec('pragma busy_timeout = 2000')
    // Not prepared: one driver closes no connection whose statements are still known.
    old.exec('pragma wal_checkpoint(truncate)')
  } catch (error) {
    // Anything else says that it is broken, which is why a backup is wanted.
    if (sqliteCode(error) === SqliteCode.busy) throw inUse(path)
    return false
  } finally {
    old?.close()
  }
  // Whoever is the last to close it removes the log: it is still there, so somebody else would write into it.
  if (existsSync(`${path}-wal`)) throw inUse(path)
  return true
}

function inUse(path: string): CopyRefused {
  return new CopyRefused(`another command has ${path} open: try again when it has ended`)
}
