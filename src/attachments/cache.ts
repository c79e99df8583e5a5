/**
 * Contents by tenant and MD5: small ones in memory, large ones in files that survive a restart and may be shared by
 * processes. Nobody but the same tenant ever gets one: knowing an MD5 must not be enough to read another's file. A file
 * is read through once before this process trusts it, and again when it was changed; one that is not what its name says
 * is removed, and fetched anew.
 */
import { createHash, randomBytes } from 'node:crypto'
import { constants, createWriteStream } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { LRUCache } from 'lru-cache'
import type { Config } from '../config.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import { type Held, holdBuffer, holdFile } from './held.js'

export interface AttachmentCache {
  /** null: it is not there, or no longer what it was. */
  get(tenantId: string, md5: string): Promise<Held | null>
  /** Keeps the content if it fits; who gave it still holds it. Never rejects: a full disk only means no cache. */
  put(tenantId: string, held: Held): Promise<void>
  /** Removes all that is the tenant's, from this process's memory and from the disk. Never rejects. */
  forget(tenantId: string): Promise<void>
  /** Removes what is past its time, what is too much and what crashes left. Once in a while. */
  sweep(): Promise<void>
  stats(): CacheStats
}

export interface CacheStats {
  readonly hits: number
  readonly misses: number
  readonly memoryBytes: number
  /** As of the last sweep and what was added since. */
  readonly diskBytes: number
}

export interface CacheDeps {
  readonly clock: Clock
  readonly log: Log
}

/** One content takes no more than this share of the memory tier. */
const LARGEST_SHARE = 4
/** A half-written file older than this belongs to a process that died. */
const ABANDONED_MS = 3_600_000
const PARTIAL = '.part-'

export function createAttachmentCache(config: Config['cache'], { clock, log }: CacheDeps): AttachmentCache {
  const { diskDir, memoryMaxBytes, diskMaxBytes } = config
  const memory =
    memoryMaxBytes === 0
      ? null
      : new LRUCache<string, Held>({
          maxSize: memoryMaxBytes,
          maxEntrySize: Math.max(1, Math.floor(memoryMaxBytes / LARGEST_SHARE)),
          sizeCalculation: held => Math.max(1, held.sizeBytes),
          ttl: config.memoryTtlMs,
          ttlResolution: 0,
          // Never 0, which means no time at all to it.
          perf: { now: () => clock.monotonic() + 1 },
        })
  /** Files this process has read through, as they were then. */
  const trusted = new Map<string, string>()
  /** When this process last used a file; others' uses show in nothing but their times. */
  const used = new Map<string, number>()
  let hits = 0
  let misses = 0
  let diskBytes = 0

  // The tenant's id could be `..` or differ in case only, where file systems do not.
  const folderOf = (tenantId: string) =>
    join(diskDir ?? '', createHash('sha256').update(tenantId).digest('hex').slice(0, 32))

  const get = async (tenantId: string, md5: string): Promise<Held | null> => {
    const found =
      memory?.get(`${tenantId} ${md5}`)?.retain() ?? (diskDir === null ? null : await fromDisk(tenantId, md5))
    if (found === null) misses += 1
    else hits += 1
    return found
  }

  const fromDisk = async (tenantId: string, md5: string): Promise<Held | null> => {
    const path = join(folderOf(tenantId), md5)
    let handle: FileHandle | null = null
    try {
      // Without O_NONBLOCK opening a FIFO waits for a writer, in one of the few threads that read files.
      handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      const opened = await handle.stat()
      if (!opened.isFile()) throw new Error('something in it is no regular file')
      const { size, mtimeMs, ino } = opened
      if (clock.now() - mtimeMs > config.diskTtlMs) {
        await remove(path)
        return null
      }
      const identity = `${ino} ${size} ${mtimeMs}`
      if (trusted.get(path) !== identity) {
        if ((await md5Of(handle)) !== md5) {
          log.warning('An attachment in the cache was damaged and is fetched again', { tenant_id: tenantId })
          await remove(path)
          return null
        }
        trusted.set(path, identity)
      }
      used.set(path, clock.now())
      const held = holdFile(handle, size, md5)
      handle = null
      return held
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        log.warning(`The attachment cache (GMP_CACHE_DISK_DIR) could not be read: ${(error as Error).message}`)
      }
      return null
    } finally {
      await handle?.close()
    }
  }

  const toDisk = async (tenantId: string, held: Held): Promise<void> => {
    const folder = folderOf(tenantId)
    const path = join(folder, held.md5)
    const partial = join(folder, `${PARTIAL}${randomBytes(8).toString('hex')}`)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    try {
      const source = Buffer.isBuffer(held.content) ? Readable.from([held.content]) : held.content.open()
      await pipeline(source, createWriteStream(partial, { mode: 0o600, flags: 'wx' }))
      await rename(partial, path)
    } catch (error) {
      await rm(partial, { force: true })
      throw error
    }
    const { size, mtimeMs, ino } = await stat(path)
    trusted.set(path, `${ino} ${size} ${mtimeMs}`)
    used.set(path, clock.now())
    diskBytes += held.sizeBytes
    if (diskBytes > diskMaxBytes) await sweep()
  }

  const remove = async (path: string) => {
    trusted.delete(path)
    used.delete(path)
    await rm(path, { force: true })
  }

  const forget = async (tenantId: string): Promise<void> => {
    for (const key of [...(memory?.keys() ?? [])]) if (key.startsWith(`${tenantId} `)) memory?.delete(key)
    if (diskDir === null) return
    const folder = folderOf(tenantId)
    for (const known of [trusted, used]) {
      for (const path of known.keys()) if (path.startsWith(folder)) known.delete(path)
    }
    try {
      // Whoever reads one has it open.
      await rm(folder, { recursive: true, force: true })
    } catch (error) {
      log.warning(`The cached attachments of a deleted tenant stay until their time: ${(error as Error).message}`)
    }
  }

  const sweep = async (): Promise<void> => {
    if (diskDir === null) return
    const now = clock.now()
    const files: { path: string; sizeBytes: number; usedAt: number }[] = []
    for (const path of await filesUnder(diskDir)) {
      const found = await stat(path).catch(() => null)
      if (found === null) continue
      const age = now - found.mtimeMs
      const isOver = path.includes(PARTIAL) ? age > ABANDONED_MS : age > config.diskTtlMs
      if (isOver) await remove(path)
      else if (!path.includes(PARTIAL)) {
        files.push({ path, sizeBytes: found.size, usedAt: used.get(path) ?? found.mtimeMs })
      }
    }
    diskBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    // Whoever reads one has it open: it stays readable until he is done.
    for (const { path, sizeBytes } of files.sort((a, b) => a.usedAt - b.usedAt)) {
      if (diskBytes <= diskMaxBytes) break
      await remove(path)
      diskBytes -= sizeBytes
    }
  }

  return {
    get,
    async put(tenantId, held) {
      try {
        const isLarge = held.sizeBytes > config.diskThresholdBytes
        if (diskDir !== null && isLarge) {
          if (held.sizeBytes <= diskMaxBytes) await toDisk(tenantId, held)
        } else if (memory !== null) {
          const content = await inMemory(held, memory.maxEntrySize)
          if (content !== null) memory.set(`${tenantId} ${held.md5}`, holdBuffer(content, held.md5))
        }
      } catch (error) {
        log.warning(`An attachment could not be cached: ${(error as Error).message}`)
      }
    },
    forget,
    sweep,
    stats: () => ({ hits, misses, memoryBytes: memory?.calculatedSize ?? 0, diskBytes }),
  }
}

async function inMemory({ content, sizeBytes }: Held, most: number): Promise<Buffer | null> {
  if (sizeBytes > most) return null
  if (Buffer.isBuffer(content)) return content
  const pieces: Buffer[] = []
  for await (const piece of content.open() as AsyncIterable<Buffer>) pieces.push(piece)
  return Buffer.concat(pieces)
}

async function md5Of(handle: FileHandle): Promise<string> {
  const md5 = createHash('md5')
  for await (const piece of handle.createReadStream({ start: 0, autoClose: false })) md5.update(piece as Buffer)
  return md5.digest('hex')
}

async function filesUnder(dir: string): Promise<string[]> {
  const folders = await readdir(dir, { withFileTypes: true }).catch(() => [])
  const paths: string[] = []
  for (const folder of folders) {
    // Only what this cache makes: the directory may hold other things.
    if (!folder.isDirectory() || !/^[0-9a-f]{32}$/.test(folder.name)) continue
    for (const name of await readdir(join(dir, folder.name)).catch(() => [])) {
      if (/^[0-9a-f]{32}$/.test(name) || name.startsWith(PARTIAL)) paths.push(join(dir, folder.name, name))
    }
  }
  return paths
}
