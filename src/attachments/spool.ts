/**
 * Takes a body from its source to where messages can be made of it, and counts and hashes it on the way: nothing is
 * rendered, and no SMTP connection opened, before all of it is there and is what was meant.
 */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { AttachmentFailure } from './failure.js'
import { type Held, holdBuffer, holdFile, openNameless } from './held.js'
import type { StoredFile } from './stores/store.js'

export interface SpoolOptions {
  /** Where what is too large for memory lies. */
  readonly dir: string
  readonly maxBytes: number
  /** Ends the transfer. */
  readonly signal: AbortSignal
}

/** Up to this it stays in memory (spec section 6.5). */
const IN_MEMORY = 256 * 1024

/** Reads the body to its end. Throws AttachmentFailure; whatever happens the body is over. */
export async function spool({ sizeBytes, body }: StoredFile, options: SpoolOptions): Promise<Held> {
  const md5 = createHash('md5')
  const small: Buffer[] = []
  let file: FileHandle | null = null
  let octets = 0
  const stop = () => body.destroy(stopped(options.signal))
  options.signal.addEventListener('abort', stop, { once: true })
  try {
    if (options.signal.aborted) throw stopped(options.signal)
    if (sizeBytes !== null && sizeBytes > options.maxBytes) throw tooLarge(options.maxBytes, sizeBytes)
    for await (const piece of body as AsyncIterable<Buffer>) {
      octets += piece.length
      if (octets > options.maxBytes) throw tooLarge(options.maxBytes, null)
      md5.update(piece)
      if (file !== null) await writeWhole(file, piece).catch(notSpooled)
      else {
        small.push(piece)
        if (octets <= IN_MEMORY) continue
        file = await openNameless(options.dir).catch(notSpooled)
        for (const each of small.splice(0)) await writeWhole(file, each).catch(notSpooled)
      }
    }
    if (sizeBytes !== null && octets !== sizeBytes) {
      throw new AttachmentFailure(`it ended after ${octets} of ${sizeBytes} octets`, 'transient')
    }
    const digest = md5.digest('hex')
    const held = file === null ? holdBuffer(Buffer.concat(small), digest) : holdFile(file, octets, digest)
    file = null
    return held
  } finally {
    options.signal.removeEventListener('abort', stop)
    body.on('error', () => {}).destroy()
    await file?.close()
  }
}

async function writeWhole(file: FileHandle, piece: Buffer): Promise<void> {
  for (let written = 0; written < piece.length; ) {
    written += (await file.write(piece, written)).bytesWritten
  }
}

/** No source is to blame: the service's own disk is full or its directory went bad. */
function notSpooled(error: NodeJS.ErrnoException): never {
  const reason = `it cannot be kept until it is sent: GMP_SPOOL_DIR cannot be written (${error.code})`
  throw new AttachmentFailure(reason, 'transient', { cause: error })
}

function tooLarge(maxBytes: number, sizeBytes: number | null): AttachmentFailure {
  const has = sizeBytes === null ? '' : `it has ${megabytes(sizeBytes)}, and `
  return new AttachmentFailure(`${has}no more than ${megabytes(maxBytes)} are fetched`, 'permanent')
}

function megabytes(octets: number): string {
  return `${(octets / 1024 / 1024).toFixed(1)} MB`
}

function stopped({ reason }: AbortSignal): AttachmentFailure {
  return reason instanceof AttachmentFailure ? reason : new AttachmentFailure('it was stopped', 'transient')
}
