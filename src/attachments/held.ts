/**
 * The octets of an attachment while messages are made of them: small ones in memory, others in a file that has no name,
 * so that whatever ends the process leaves nothing behind. Shared by all who wait for the same content; who holds it
 * releases it, and the last one closes the file.
 */
import { randomBytes } from 'node:crypto'
import { type EventEmitter, setMaxListeners } from 'node:events'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'

export interface Held {
  readonly sizeBytes: number
  /** Hexadecimal. */
  readonly md5: string
  /** A Buffer, or what can be read as often as needed. */
  readonly content: Buffer | { readonly sizeBytes: number; open(): Readable }
  /** One more who releases it. */
  retain(): Held
  release(): void
}

export function holdBuffer(content: Buffer, md5: string): Held {
  const held: Held = { sizeBytes: content.length, md5, content, retain: () => held, release() {} }
  return held
}

/** The handle is closed by the last release. */
export function holdFile(handle: FileHandle, sizeBytes: number, md5: string): Held {
  let holders = 1
  // Each stream listens for its end: as many as there are messages with this content.
  setMaxListeners(0, handle as unknown as EventEmitter)
  const held: Held = {
    sizeBytes,
    md5,
    content: {
      sizeBytes,
      // With a start each stream reads at places of its own: many may read at once.
      open: () => handle.createReadStream({ start: 0, autoClose: false }),
    },
    retain() {
      holders += 1
      return held
    },
    release() {
      holders -= 1
      // What it was opened for is over; a failure to close would help nobody.
      if (holders === 0) void handle.close().catch(() => {})
    },
  }
  return held
}

/** A new file in `dir` that only its handle leads to. */
export async function openNameless(dir: string): Promise<FileHandle> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const path = join(dir, `.${randomBytes(12).toString('hex')}`)
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
  try {
    await unlink(path)
  } catch (error) {
    await handle.close()
    throw error
  }
  return handle
}
