/**
 * Files below a directory of this machine; only an admin's volume may be one. Links on the way are resolved first and may
 * not lead out. Only regular files are read: a FIFO or device would hold or feed the sender for ever.
 */
import { createHash, randomBytes } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rmdir,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { join, sep } from 'node:path'
import type { Readable } from 'node:stream'
import { AttachmentFailure } from '../failure.js'
import { segmentsOf } from './path.js'
import type { Settings } from './settings.js'
import type { NewFile, Store, StoreAccess } from './store.js'
import { call, receive, send } from './transfer.js'

export function openLocal(settings: Settings, access: StoreAccess): Store {
  const root = settings.required('root')
  return {
    get: (path, signal) => receive(access, signal, () => told(() => read(root, path))),
    put: (file, signal) => send(access, signal, file, (body, watched) => told(() => write(root, file, body, watched))),
    remove: (path, signal) => call(access, signal, () => told(() => remove(root, path))),
    link: async () => null,
    close() {},
  }
}

async function read(root: string, path: string) {
  const place = await resolved(root, path)
  // Without O_NONBLOCK opening a FIFO waits for a writer, in a thread that no signal reaches.
  const handle = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const opened = await handle.stat()
    if (!opened.isFile()) throw permanent('it is no regular file')
    await stillThere(root, place, opened)
    return { sizeBytes: opened.size, body: createReadStream('', { fd: handle, autoClose: true }) }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Written beside its place and renamed, so that nobody finds half a file. */
async function write(root: string, file: NewFile, body: () => Readable, signal: AbortSignal): Promise<void> {
  const segments = relative(file.path)
  const name = segments.pop()!
  const directory = await madeDirectory(root, segments)
  const part = join(directory, `${partsOf(name)}${randomBytes(8).toString('hex')}.part`)
  const handle = await open(part, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o640)
  try {
    await writeFile(handle, body(), { signal })
    await handle.sync()
    await handle.close()
    await rename(part, join(directory, name))
  } catch (error) {
    await handle.close().catch(() => {})
    await unlink(part).catch(() => {})
    throw error
  }
  await syncDirectory(directory)
}

/** Of a link the link itself goes, not what it leads to. */
async function remove(root: string, path: string): Promise<void> {
  const segments = relative(path)
  const name = segments.pop()!
  try {
    const directory = segments.length === 0 ? await realpath(root) : await resolved(root, segments.join('/'))
    await unlink(join(directory, name)).catch(unlessGone)
    // What a crash left of writing it.
    const parts = (await readdir(directory)).filter(each => each.startsWith(partsOf(name)) && each.endsWith('.part'))
    for (const each of parts) await unlink(join(directory, each)).catch(unlessGone)
    // Made for this file, as in an object store where there are no directories; one with other files stays.
    if (segments.length > 0) await rmdir(directory).catch(() => {})
  } catch (error) {
    unlessGone(error)
  }
}

function unlessGone(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}

/** How the names begin under which a file is written; its own may be as long as the file system lets it. */
function partsOf(name: string): string {
  return `.${createHash('sha256').update(name).digest('hex').slice(0, 16)}.`
}

function relative(path: string): string[] {
  if (path.startsWith('/')) throw permanent('its path is absolute')
  return segmentsOf(path)
}

async function resolved(root: string, path: string): Promise<string> {
  const base = await realpath(root)
  const place = await realpath(join(base, ...relative(path)))
  if (!isWithin(base, place)) throw permanent('its path leads out of the directory')
  return place
}

/** What was opened is what lies at the place now: a directory on the way was not exchanged for a link meanwhile. */
async function stillThere(root: string, place: string, opened: { dev: number; ino: number }): Promise<void> {
  const now = await realpath(place)
  const { dev, ino } = await stat(now)
  if (!isWithin(await realpath(root), now) || dev !== opened.dev || ino !== opened.ino) {
    throw new AttachmentFailure('it was exchanged while it was opened', 'transient')
  }
}

async function madeDirectory(root: string, segments: readonly string[]): Promise<string> {
  const base = await realpath(root).catch((error: NodeJS.ErrnoException) => {
    // A disk that is not mounted: neither made here, where the files would vanish under it, nor the message's fault.
    if (error.code !== 'ENOENT') throw error
    throw new AttachmentFailure('the directory of the store is not there', 'transient', { cause: error })
  })
  let directory = base
  for (const segment of segments) {
    const next = join(directory, segment)
    await mkdir(next, { mode: 0o750 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
    directory = await realpath(next)
    if (!isWithin(base, directory)) throw permanent('its path leads out of the directory')
  }
  return directory
}

function isWithin(base: string, place: string): boolean {
  return place === base || place.startsWith(base.endsWith(sep) ? base : base + sep)
}

async function syncDirectory(directory: string): Promise<void> {
  let handle: FileHandle | undefined
  try {
    handle = await open(directory, constants.O_RDONLY)
    await handle.sync()
  } catch {
    // Some file systems sync no directories; the file itself is on the disk.
  } finally {
    await handle?.close()
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EISDIR: 'it is no regular file',
  ENXIO: 'it is no regular file',
  EACCES: 'this service may not read or write it',
  EPERM: 'this service may not read or write it',
  ELOOP: 'its path goes round in links',
  ENAMETOOLONG: 'its name is too long',
}

/** Without the paths that the texts of Node's errors hold. A full disk and the like may pass. */
async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const reason = REASONS[String((error as NodeJS.ErrnoException).code)]
    if (reason === undefined) throw error
    throw new AttachmentFailure(reason, 'permanent', { cause: error })
  }
}

function permanent(reason: string): AttachmentFailure {
  return new AttachmentFailure(reason, 'permanent')
}
