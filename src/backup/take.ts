/**
 * Takes a backup of a SQLite database while the service serves it: one snapshot, written beside its final name, checked,
 * synced and only then given that name. The copy is marked at once, so that it sends nothing before `--release`,
 * however it comes back.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { LATEST_SCHEMA } from '../db/migrate.js'
import { openDriver, type SqliteConnection } from '../db/sqlite-driver.js'
import { readKeys } from '../lib/key-file.js'
import { syncPath } from '../lib/private-file.js'
import { needReleaseStatement } from '../queue/release-mark.js'
import { CopyRefused, explainDisk } from './errors.js'
import { type BackupContents, checkIntegrity, writeContents } from './file.js'
import { holdsAll, neededKeys } from './needed-keys.js'
import { WAITING_SQL, type Waiting, waitingFrom } from './waiting.js'

export interface TakeOptions {
  /** Bytes that have to stay free on the database's disk: below, the service accepts no mail. */
  readonly reserveBytes: number
}

export interface Taken extends Waiting {
  readonly file: string
  readonly size_bytes: number
  /** Of messages, ended ones included. */
  readonly messages: number
}

/** `from`: the database. Throws CopyRefused when `to` exists, there is no room, or it cannot be written. */
export async function takeBackup(
  from: string,
  to: string,
  contents: BackupContents,
  { reserveBytes }: TakeOptions,
): Promise<Taken> {
  const dir = dirname(to)
  if (!existsSync(dir) || !statSync(dir).isDirectory()) {
    throw new CopyRefused(`the backup ${to} was not made: no such directory`)
  }
  const draft = join(dir, `.${basename(to)}.${randomBytes(6).toString('hex')}${DRAFT}`)
  try {
    if (existsSync(to)) throw exists(to)
    removeAbandoned(dir)
    closeSync(openSync(draft, 'wx', 0o600))
    await copySnapshot(from, draft, reserveBytes)
    const { waiting, messages } = await finish(draft, contents)
    syncPath(draft)
    nameIt(draft, to)
    return { file: to, size_bytes: statSync(to).size, messages, ...waiting }
  } catch (error) {
    throw explainDisk(error, `the backup ${to} was not made`)
  } finally {
    for (const suffix of ['', '-journal']) rmSync(`${draft}${suffix}`, { force: true })
  }
}

const DRAFT = '.mail-proxy-partial'
/** A draft nobody has written to for so long belongs to a process that was killed, ms. */
const ABANDONED_MS = 3_600_000

function removeAbandoned(dir: string): void {
  for (const name of readdirSync(dir).filter(each =>
    /^\..+\.[0-9a-f]{12}\.mail-proxy-partial(-journal)?$/.test(each),
  )) {
    const path = join(dir, name)
    if (Date.now() - statSync(path).mtimeMs > ABANDONED_MS) rmSync(path, { force: true })
  }
}

/**
 * VACUUM INTO reads in one transaction, which under WAL holds up no writer. SQLite's backup API would begin anew with
 * each commit of the service, or hold the same transaction and copy the free pages too.
 */
async function copySnapshot(from: string, draft: string, reserveBytes: number): Promise<void> {
  const source = await openDriver(from, true)
  try {
    source.exec('pragma busy_timeout = 5000')
    checkOurs(source, from)
    checkRoom(source, from, dirname(draft), reserveBytes)
    source.prepare('vacuum into ?1').all(draft)
  } finally {
    source.close()
  }
}

function checkOurs(source: SqliteConnection, from: string): void {
  const [tables] = source
    .prepare("select count(*) as n from sqlite_master where type = 'table' and name in ('meta', 'messages', 'events')")
    .all()
  if (Number(tables?.n) !== 3) throw new CopyRefused(`${from} holds no tables of mail-proxy yet`)
  const schema = Number(source.prepare("select value from meta where key = 'schema_version'").all()[0]?.value)
  if (schema > LATEST_SCHEMA) {
    throw new CopyRefused(
      `${from} has schema ${schema}, newer than this version knows (${LATEST_SCHEMA}): take the backup with the newer version`,
    )
  }
}

function checkRoom(source: SqliteConnection, from: string, dir: string, reserveBytes: number): void {
  const pragma = (name: string) => Number(Object.values(source.prepare(`pragma ${name}`).all()[0] ?? {})[0] ?? 0)
  const needed = (pragma('page_count') - pragma('freelist_count')) * pragma('page_size')
  const { bavail, bsize } = statfsSync(dir)
  const sameDisk = statSync(dir).dev === statSync(from).dev
  if (bavail * bsize >= needed + (sameDisk ? reserveBytes : 0)) return
  const have = `${dir} has ${megabytes(bavail * bsize)} MB free and the backup takes up to ${megabytes(needed)} MB`
  const reserve = sameDisk
    ? `, and ${megabytes(reserveBytes)} MB (GMP_MIN_FREE_MB) must stay free or the service takes no mail`
    : ''
  throw new CopyRefused(`${have}${reserve}: make room, or name a file on another disk`)
}

async function finish(draft: string, contents: BackupContents): Promise<{ waiting: Waiting; messages: number }> {
  const copy = await openDriver(draft, false)
  try {
    // One file in the end, with nothing beside it; it is synced as a whole.
    copy.exec('pragma journal_mode = delete; pragma synchronous = off; begin')
    const mark = needReleaseStatement(
      `it was restored from the backup of ${contents.manifest.made_at}, and what waits in it may have been sent since`,
    )
    copy.prepare(mark.sql.replace(/\$(\d)/g, '?$1')).all(...mark.params)
    // The doubt journal does not travel. An epoch that no start has makes every claim of the snapshot one in doubt.
    copy.exec("update leases set epoch = 'backup'")
    writeContents(copy, contents)
    copy.exec('commit')
    checkIntegrity(copy, draft)
    checkKeys(copy, contents)
    const [row] = copy.prepare(WAITING_SQL).all()
    const [all] = copy.prepare('select count(*) as n from messages').all()
    return { waiting: waitingFrom(row), messages: Number(all?.n) }
  } finally {
    copy.close()
  }
}

/** The key file was read before the snapshot was taken: the key may have been changed in between. */
function checkKeys(copy: SqliteConnection, { files: { key } }: BackupContents): void {
  if (key === undefined || holdsAll(readKeys(key), neededKeys(copy))) return
  throw new CopyRefused(
    'the backup was not made: the key file does not hold the key that this database needs. The key was changed meanwhile: try again; or the configuration gives the keys to the service: run this with the same GMP_ENCRYPTION_KEY',
  )
}

/** A link fails when the name is taken, where a rename would replace the other's file. */
function nameIt(draft: string, to: string): void {
  try {
    linkSync(draft, to)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EEXIST' || existsSync(to)) throw exists(to)
    // Disks for exchange and some network shares know no links.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error
    renameSync(draft, to)
  }
  syncPath(dirname(to))
}

function exists(to: string): CopyRefused {
  return new CopyRefused(`${to} is there already: name another file, or move it away`)
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024)
}
