/**
 * Files that only the service's own user may read (mode 0600), written whole or not at all: a crash leaves the old
 * content or the new, never a piece. A rename replaces a symlink planted in the place and does not follow it.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fchownSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** Text of the file, or null when there is none. Throws on any other failure. */
export function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Writes the file, replacing one that is there; durable when it returns. */
export function writePrivate(path: string, text: string): void {
  const draft = writeDraft(path, text)
  try {
    renameSync(draft, path)
  } catch (error) {
    unlinkSync(draft)
    throw error
  }
  syncPath(dirname(path))
}

/** Writes the file unless one is there; false when another was first. Of several at once exactly one gets true. */
export function createPrivate(path: string, text: string): boolean {
  const draft = writeDraft(path, text)
  try {
    // A link fails when the name is taken, where a rename would replace the other's file.
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    unlinkSync(draft)
  }
  syncPath(dirname(path))
  return true
}

/** Makes the directory with mode 0700 when it is not there; one that is keeps its mode. */
export function makePrivateDirectory(dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
}

/** Makes durable what is in the file, or which names are in the directory. */
export function syncPath(path: string): void {
  const handle = openSync(path, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

/**
 * Root, running a command beside the service, would leave a file that the service cannot read: it goes to the owner of
 * the one it replaces, else of the folder. A symlink in its place may be anybody's.
 */
function giveToOwner(file: number, path: string): void {
  if (process.geteuid?.() !== 0) return
  const there = lstatSync(path, { throwIfNoEntry: false })
  const { uid, gid } = there?.isFile() ? there : statSync(dirname(path))
  fchownSync(file, uid, gid)
}

function writeDraft(path: string, text: string): string {
  makePrivateDirectory(dirname(path))
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`)
  const file = openSync(draft, 'wx', 0o600)
  try {
    writeSync(file, text)
    giveToOwner(file, path)
    fsyncSync(file)
  } catch (error) {
    unlinkSync(draft)
    throw error
  } finally {
    closeSync(file)
  }
  return draft
}
