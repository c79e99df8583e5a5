/**
 * Brings a backup back as the database of an instance that does not run. What is put in place is what was checked, it
 * carries the mark that holds all mail until `--release`, and it takes its name in one step: killed at any moment, this
 * leaves the old database whole, or the new one. What it replaces is kept aside.
 */
import { createReadStream, createWriteStream, existsSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { DatabaseUnavailable } from '../db/db.js'
import { lockAlone } from '../db/sqlite.js'
import { openDriver } from '../db/sqlite-driver.js'
import { loadKeys, readKeys } from '../lib/key-file.js'
import { makePrivateDirectory, readIfThere, syncPath, writePrivate } from '../lib/private-file.js'
import { hashToken } from '../lib/tokens.js'
import { CopyRefused, explainDisk } from './errors.js'
import { type BackupContents, checkIntegrity, dropContents, explainFile, FOLDER_FILES, readContents } from './file.js'
import { freeName, keepAside } from './keep-aside.js'
import { holdsAll, neededKeys } from './needed-keys.js'
import { WAITING_SQL, type Waiting, waitingFrom } from './waiting.js'

export interface RestoreTarget {
  /** Of the database. */
  readonly path: string
  /** The instance folder. */
  readonly dir: string
  /** The keys that the configuration gives, which stand above the folder's. */
  readonly keys: readonly Buffer[] | null
}

export interface Restored extends Waiting {
  readonly database: string
  /** When the backup was made, ISO 8601. */
  readonly made_at: string
  /** Of what was there before; empty for a new instance. */
  readonly kept_aside: readonly string[]
  /** False: no key at hand opens the secrets of this database, and it cannot be served before there is one. */
  readonly has_key: boolean
  /** True: the folder's config.ini differs from the backup's, and stays. */
  readonly config_differs: boolean
}

/** What the file says of itself, without checking all of it. Throws CopyRefused when it is no backup of ours. */
export async function readBackup(file: string): Promise<BackupContents> {
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true) throw new CopyRefused(`there is no file ${file}`)
  let backup: Awaited<ReturnType<typeof openDriver>> | undefined
  try {
    backup = await openDriver(file, true)
    return readContents(backup, file)
  } catch (error) {
    throw explainDisk(explainFile(error, file), `${file} cannot be read`)
  } finally {
    backup?.close()
  }
}

/** `replace`: a database that is there already may be replaced. Throws CopyRefused; the database is as it was then. */
export async function restoreBackup(
  file: string,
  target: RestoreTarget,
  { replace, now }: { readonly replace: boolean; readonly now: Date },
): Promise<Restored> {
  const { path, dir } = target
  await readBackup(file)
  if (existsSync(path) && !replace) {
    throw new CopyRefused(`${path} is there already: with --force it is kept aside and the backup takes its place`)
  }
  makePrivateDirectory(dirname(path))
  // Held to the end: no service starts in between.
  const lock = await lockAlone(path).catch(error => {
    if (!(error instanceof DatabaseUnavailable)) throw new CopyRefused((error as Error).message, { cause: error })
    throw new CopyRefused(`${path} is served by another process: stop the instance first`, { cause: error })
  })
  const draft = `${path}.restoring`
  try {
    removeDraft(draft)
    const prepared = await prepare(file, draft)
    const label = `before-restore-${now.toISOString().replace(/[-:]|\.\d+/g, '')}`
    const keys = placeFiles(dir, target.keys, prepared)
    const aside = await keepAside(path, freeName(`${path}.${label}`), () => renameSync(draft, path))
    syncPath(dirname(path))
    for (const { name, content } of keys.replaced) {
      const kept = freeName(join(dir, `${name}.${label}`))
      renameSync(join(dir, name), kept)
      writePrivate(join(dir, name), content)
      aside.push(kept)
    }
    const { contents, waiting } = prepared
    const config = readIfThere(join(dir, 'config.ini'))
    return {
      database: path,
      made_at: contents.manifest.made_at,
      kept_aside: aside,
      has_key: keys.hasKey,
      config_differs: contents.files['config.ini'] !== undefined && config !== contents.files['config.ini'],
      ...waiting,
    }
  } catch (error) {
    throw explainDisk(error, `${file} was not restored to ${path}`)
  } finally {
    removeDraft(draft)
    lock.release()
  }
}

function removeDraft(draft: string): void {
  for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(`${draft}${suffix}`, { force: true })
}

interface Prepared {
  readonly contents: BackupContents
  /** Of the keys that its secrets are sealed with: two while the key was being changed, none before one was used. */
  readonly keyChecks: readonly string[]
  /** Of the admin token that this database knows. */
  readonly tokenHash: string | null
  readonly waiting: Waiting
}

async function prepare(file: string, draft: string): Promise<Prepared> {
  await pipeline(createReadStream(file), createWriteStream(draft, { flags: 'wx', mode: 0o600 }))
  const prepared = await prepareCopy(file, draft)
  // All of it has to be in the one file that gets the name.
  if (existsSync(`${draft}-wal`)) throw new Error(`${draft} kept its log apart`)
  syncPath(draft)
  return prepared
}

async function prepareCopy(file: string, draft: string): Promise<Prepared> {
  const copy = await openDriver(draft, false)
  try {
    // A backup that somebody tried to serve has become one with a log apart.
    copy.exec('pragma journal_mode = delete; pragma synchronous = off')
    // The copy is checked and not the original: only it is known to stay as it was.
    checkIntegrity(copy, file)
    const contents = readContents(copy, file)
    dropContents(copy)
    const known = copy.prepare('select value from meta where key = ?1')
    const meta = (key: string) => (known.all(key)[0]?.value as string | undefined) ?? null
    // It was marked when it was made. One without its mark was altered, and would send at once.
    if (meta('release_needed') === null) throw new CopyRefused(`${file} has lost the mark that keeps it from sending`)
    const waiting = waitingFrom(copy.prepare(WAITING_SQL).all()[0])
    return {
      contents,
      keyChecks: neededKeys(copy),
      tokenHash: meta('admin_token_hash'),
      waiting,
    }
  } catch (error) {
    throw explainFile(error, file)
  } finally {
    copy.close()
  }
}

interface Placed {
  readonly hasKey: boolean
  /** Files that are there with another content, to be exchanged once the database is in its place. */
  readonly replaced: readonly { readonly name: string; readonly content: string }[]
}

/** What the folder lacks is there before the database is: a service started in between would make a key of its own. */
function placeFiles(
  dir: string,
  configured: readonly Buffer[] | null,
  { contents: { files }, keyChecks, tokenHash }: Prepared,
): Placed {
  const replaced: { name: string; content: string }[] = []
  const opens = (keys: readonly Buffer[] | null) => holdsAll(keys, keyChecks)
  const fits = opens(configured ?? folderKeys(dir))
  for (const name of FOLDER_FILES) {
    const content = files[name]
    if (content === undefined) continue
    const there = readIfThere(join(dir, name))
    if (there === null) writePrivate(join(dir, name), content)
    // Exchanged only for what fits this database; the operator's config.ini never.
    else if (name === 'key' && there !== content && !fits && opens(readKeys(content))) replaced.push({ name, content })
    else if (name === 'token' && there !== content && tokenHash === hashToken(content.trim()))
      replaced.push({ name, content })
  }
  return { hasKey: fits || (configured === null && files.key !== undefined && opens(readKeys(files.key))), replaced }
}

function folderKeys(dir: string): readonly Buffer[] | null {
  try {
    return loadKeys(dir)
  } catch {
    // A file that holds no key: the backup's may take its place.
    return null
  }
}
