/**
 * Puts a large file where its recipients can fetch it, and answers the link. The same content under the same name goes
 * up once: a row of the table stands for it, written before the upload, so that whatever is left by a crash is known to
 * the one who removes files. Two who upload the same at once write the same octets to the same path.
 */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { Clock } from '../../lib/clock.js'
import type { NetworkGuard } from '../../lib/network-guard.js'
import type { AttachmentContent } from '../../mime/attachment-part.js'
import { AttachmentFailure } from '../failure.js'
import { KEYS, valuesOf } from '../stores/settings.js'
import { MAX_LINK_MS, type Store } from '../stores/store.js'
import { type LinkKeys, safeFilename, signedLink } from './link.js'
import { largeFileSettings, type Place, placeOf, problemOfLargeFiles } from './settings.js'

/** A place and whose it is: enough to open it again when the tenant has long been deleted. */
export interface OffloadStore extends Place {
  /** Tells places apart, whatever the credentials: two with the same digest hold the same files. */
  readonly digest: string
  readonly tenantId: string
  /** An admin set it. */
  readonly trusted: boolean
}

/** One file that was put out. */
export interface Offload {
  /** 128 random bits, safe in URLs. */
  readonly id: string
  /** Below the root of the store. */
  readonly path: string
  readonly isStored: boolean
  /** Epoch ms. */
  readonly expiresAt: number
}

export interface NewOffload {
  readonly filename: string
  readonly mimeType: string
  readonly md5: string
  readonly sizeBytes: number
}

/** Port: the rows of what was put out. */
export interface OffloadTable {
  /** The row of this content under this name in this store; a new one if there is none. */
  claim(store: OffloadStore, file: NewOffload, path: (id: string) => string): Promise<Offload>
  /** The upload is done, or the file is kept on. False: it was removed meanwhile. */
  keepUntil(id: string, expiresAt: number): Promise<boolean>
}

export interface LargeFile {
  readonly filename: string
  readonly mimeType?: string
  readonly sizeBytes: number
  /** Hexadecimal; absent: it is reckoned. */
  readonly md5?: string
  readonly content: AttachmentContent
}

/** Whose file it is, and where he wants large ones. */
export interface OffloadOwner {
  readonly tenantId: string
  readonly config: Readonly<Record<string, unknown>>
  readonly trusted: boolean
}

export interface FileLinkMade {
  readonly url: string
  /** Epoch ms. */
  readonly until: number
}

export interface OffloaderDeps {
  readonly clock: Clock
  readonly table: OffloadTable
  readonly linkKeys: LinkKeys
  readonly guard: NetworkGuard
  storeOf(store: OffloadStore): Promise<Store>
}

export interface Offloader {
  /** Throws AttachmentFailure whose reason names the file. */
  offload(file: LargeFile, owner: OffloadOwner, signal: AbortSignal): Promise<FileLinkMade>
}

/** Times a file may be taken away by its removal while it is uploaded. */
const MOST_TRIES = 3

export function createOffloader({ clock, table, linkKeys, guard, storeOf }: OffloaderDeps): Offloader {
  /** What this process is putting out, by content. It covers the look at the row, or some would upload once more. */
  const flights = new Map<string, { readonly done: Promise<Offload>; readonly signal: AbortSignal }>()

  const put = async (file: LargeFile, owner: OffloadOwner, signal: AbortSignal): Promise<FileLinkMade> => {
    const { ttlMs, publicBaseUrl } = largeFileSettings(owner.config)!
    const place = storeFor(owner, guard)
    const store = await storeOf(place)
    const md5 = file.md5 ?? (await md5Of(file.content, signal))
    const key = JSON.stringify([place.digest, md5, file.filename])
    const row = await joinFlight(key, () => settle({ ...file, md5 }, place, store, ttlMs, signal), signal)
    return linkTo(row, store, file.filename, publicBaseUrl)
  }

  /** Waits for the same work of another message, or does it. */
  const joinFlight = async (key: string, work: () => Promise<Offload>, signal: AbortSignal): Promise<Offload> => {
    for (let other = flights.get(key); other !== undefined; other = flights.get(key)) {
      try {
        return await orStopped(other.done, signal)
      } catch (error) {
        // Given up by the message it was for, it says nothing about ours.
        if (signal.aborted || !other.signal.aborted) throw error
      }
    }
    const done = work().finally(() => flights.delete(key))
    flights.set(key, { done, signal })
    return done
  }

  /** The row of the file, which is in its store and stays there for half of its time at least. */
  const settle = async (
    file: LargeFile & { readonly md5: string },
    place: OffloadStore,
    store: Store,
    ttlMs: number,
    signal: AbortSignal,
  ): Promise<Offload> => {
    const { filename, md5, sizeBytes, content } = file
    const mimeType = cleanType(file.mimeType)
    const open = () => (Buffer.isBuffer(content) ? Readable.from([content], { objectMode: false }) : content.open())
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      const row = await table.claim(
        place,
        { filename, mimeType, md5, sizeBytes },
        id => `${id}/${safeFilename(filename)}`,
      )
      const now = clock.now()
      if (row.isStored && row.expiresAt - now >= ttlMs / 2) return row
      if (!row.isStored) await store.put({ path: row.path, filename, mimeType, sizeBytes, open }, signal)
      const expiresAt = now + ttlMs
      if (await table.keepUntil(row.id, expiresAt)) return { ...row, isStored: true, expiresAt }
      // Removed while it went up: what we wrote afterwards must not lie there for ever.
      if (!row.isStored) await store.remove(row.path, signal)
    }
    throw new AttachmentFailure('it was removed again and again', 'transient')
  }

  const linkTo = async (
    { id, path, expiresAt }: Offload,
    store: Store,
    filename: string,
    base: string | null,
  ): Promise<FileLinkMade> => {
    if (base !== null) {
      const expires = Math.floor(expiresAt / 1000)
      const link = { id, filename: path.slice(id.length + 1), expires }
      return { url: signedLink(base, link, linkKeys.current()), until: expires * 1000 }
    }
    const until = Math.min(expiresAt, clock.now() + MAX_LINK_MS)
    const url = await store.link(path, filename, until)
    if (url === null) {
      const reason = 'its store makes no links with these credentials: large_file_config.public_base_url is missing'
      throw new AttachmentFailure(reason, 'permanent')
    }
    return { url, until }
  }

  return {
    async offload(file, owner, signal) {
      try {
        return await put(file, owner, signal)
      } catch (error) {
        if (!(error instanceof AttachmentFailure)) throw error
        const reason = `Attachment upload failed for ${file.filename}: ${error.message}`
        throw new AttachmentFailure(reason, error.kind, { cause: error })
      }
    },
  }
}

/** The place of the owner's config. Throws AttachmentFailure that names the setting which is wrong. */
export function storeFor({ tenantId, config, trusted }: OffloadOwner, guard: NetworkGuard): OffloadStore {
  const problem = problemOfLargeFiles(config, { guard: trusted ? null : guard })
  const place = placeOf(config)
  if (problem !== null || typeof place === 'string') {
    throw new AttachmentFailure(`large_file_config.${problem ?? `storage_url ${place}`}`, 'permanent')
  }
  return { ...place, tenantId, trusted, digest: placeDigest(place, tenantId, trusted) }
}

/** Credentials may change and the place stays; a connection string of Azure names its account among them. */
function placeDigest({ backend, config }: Place, tenantId: string, trusted: boolean): string {
  const values = valuesOf(backend, config)
  const location = Object.entries(KEYS[backend])
    .filter(([, { kind }]) => kind !== 'secret' && kind !== 'object')
    .map(([name]) => [name, values.get(name) ?? null])
  const account = String(values.get('connection_string') ?? '')
    .split(';')
    .filter(part => /^(AccountName|BlobEndpoint|EndpointSuffix)=/i.test(part))
  return createHash('sha256')
    .update(JSON.stringify([tenantId, trusted, backend, location, account]))
    .digest('hex')
}

async function md5Of(content: AttachmentContent, signal: AbortSignal): Promise<string> {
  const hash = createHash('md5')
  if (Buffer.isBuffer(content)) return hash.update(content).digest('hex')
  for await (const piece of content.open() as AsyncIterable<Buffer>) {
    if (signal.aborted) throw stopped()
    hash.update(piece)
  }
  return hash.digest('hex')
}

/** The result, or a failure as soon as the signal says so. */
function orStopped<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(stopped())
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

function stopped(): AttachmentFailure {
  return new AttachmentFailure('it was stopped', 'transient')
}

/** It becomes a header field of the store's answers. */
function cleanType(mimeType: string | undefined): string {
  const type = mimeType ?? ''
  return /^[\w!#$&^.+-]{1,100}\/[\w!#$&^.+-]{1,100}$/.test(type) ? type : 'application/octet-stream'
}
