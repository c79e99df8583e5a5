/**
 * The attachments of one message as octets: from the cache, from a fetch that is under way for another message, or from
 * their source. All of it is there, counted and compared with its MD5, before anything is rendered.
 */

import { isAbsolute, join, relative } from 'node:path'
import { Readable } from 'node:stream'
import type { Config } from '../config.js'
import { orAborted } from '../lib/or-aborted.js'
import { urlOf } from '../lib/url.js'
import type { AttachmentRef } from '../messages/message.js'
import type { RenderedAttachment } from '../mime/attachment-part.js'
import type { Volume } from '../volumes/volume.js'
import type { AttachmentCache } from './cache.js'
import { AttachmentFailure } from './failure.js'
import type { Held } from './held.js'
import type { HttpEndpoint, HttpSource } from './http-source.js'
import { spool } from './spool.js'
import { failureOf, isHostRefused } from './stores/failure-of.js'
import type { Store, StoredFile } from './stores/store.js'
import { discard } from './stores/transfer.js'

/** Of whom and for whom is fetched. */
export interface FetchContext {
  readonly tenantId: string
  readonly accountId: string
  /** Where `endpoint` attachments are asked for; null: the tenant has no such place. */
  readonly endpoint: HttpEndpoint | null
  /** Origins that an admin has set for this tenant: their addresses are not judged. */
  readonly trustedOrigins: readonly string[]
  /** The Authorization header for URLs of the tenant's own origin that bring none. */
  readonly ownAuthorization: { readonly origin: string; readonly value: string } | null
  /** The directory a tenant's own submissions may read; null: all of the base directory. */
  readonly attachmentRoot: string | null
}

export interface FetchDeps {
  readonly config: Config['attachments']
  readonly cache: AttachmentCache
  readonly http: HttpSource
  readonly spoolDir: string
  /** The volume that the name means to this account; null: none. */
  volumeOf(tenantId: string, accountId: string, name: string): Promise<Volume | null>
  /** Opened, and kept by whoever opens it. */
  storeOf(volume: Volume): Promise<Store>
  localStore(root: string): Promise<Store>
  /** Origins of the tenant's volumes that an admin has set, as the database has them now. */
  volumeOriginsNow(tenantId: string): Promise<readonly string[]>
  /** A large content that came inside its message. */
  openUpload(id: number): Readable
  /** The Authorization header of an attachment's own credentials, which are sealed; null: it wants none. */
  authorizationOf(tenantId: string, sealed: unknown): string | null
}

export interface FetchedAttachment extends RenderedAttachment {
  readonly sizeBytes: number
  /** Hexadecimal, where it was reckoned on the way. */
  readonly md5?: string
}

export interface Fetched {
  readonly attachments: readonly FetchedAttachment[]
  /** To be called once the mail is sent or given up. */
  release(): void
}

export interface AttachmentFetcher {
  /** Throws AttachmentFailure whose reason names the file. */
  fetch(refs: readonly AttachmentRef[], context: FetchContext, signal: AbortSignal): Promise<Fetched>
}

/** Fetches of one message at once (spec section 6.5). */
const AT_ONCE = 3

export function createAttachmentFetcher(deps: FetchDeps): AttachmentFetcher {
  const { config, cache } = deps
  const flights = new Map<string, Flight>()

  const fetchOne = async (ref: AttachmentRef, context: FetchContext, signal: AbortSignal): Promise<Held> => {
    const { contentMd5 } = ref
    const key = keyOf(ref, context)
    if (contentMd5 === undefined) return joinFlight(key, () => fromSource(ref, context), signal)
    const known = await cache.get(context.tenantId, contentMd5)
    if (known !== null) return known
    const work = async (flightSignal: AbortSignal) => {
      const held = await fromSource(ref, context)(flightSignal)
      if (held.md5 !== contentMd5) {
        held.release()
        throw new AttachmentFailure(`its MD5 should be ${contentMd5} and is ${held.md5}`, 'permanent')
      }
      await cache.put(context.tenantId, held)
      return held
    }
    return joinFlight(key, () => work, signal)
  }

  /** Joins the fetch that is under way for this key, or begins one. It ends when nobody waits for it any more. */
  const joinFlight = async (
    key: string,
    work: () => (signal: AbortSignal) => Promise<Held>,
    signal: AbortSignal,
  ): Promise<Held> => {
    let flight = flights.get(key)
    if (flight === undefined) {
      const begun = beginFlight(work(), () => {
        if (flights.get(key) === begun) flights.delete(key)
      })
      flight = begun
      flights.set(key, begun)
    }
    return board(flight, signal)
  }

  const fromSource = (ref: AttachmentRef, context: FetchContext) => async (signal: AbortSignal) => {
    const { fetchMode } = ref
    const timeoutMs = (fetchMode === 'base64' ? undefined : config.timeoutMsBySource[fetchMode]) ?? config.timeoutMs
    const maxBytes = (fetchMode === 'base64' ? undefined : config.maxBytesBySource[fetchMode]) ?? config.maxBytes
    const late = AbortSignal.timeout(timeoutMs)
    const ended = AbortSignal.any([signal, late])
    try {
      const file = await orAborted(open(ref, context, ended), ended, ({ body }) => discard(body))
      return await spool(file, { dir: deps.spoolDir, maxBytes, signal: ended })
    } catch (error) {
      if (late.aborted && !signal.aborted) {
        throw new AttachmentFailure(`not fetched within ${timeoutMs / 1000} s`, 'transient', { cause: error })
      }
      throw failureOf(error, timeoutMs)
    }
  }

  const open = async (ref: AttachmentRef, context: FetchContext, signal: AbortSignal): Promise<StoredFile> => {
    const { storagePath } = ref
    switch (ref.fetchMode) {
      case 'base64':
        return { sizeBytes: null, body: Readable.from([Buffer.from(storagePath, 'base64')]) }
      case 'endpoint':
        if (context.endpoint === null) throw permanent('the tenant has no client_base_url to ask it from')
        return deps.http.ask(context.endpoint, storagePath, signal)
      case 'http_url': {
        const url = urlOf(storagePath)
        if (url === null) throw permanent('it is no URL')
        return getUrl(url, headersFor(ref, url, context), context, signal)
      }
      case 'filesystem':
        return openFile(ref, context, signal)
      case 'volume':
        return openInVolume(storagePath, context, signal)
      default:
        return ref.fetchMode satisfies never
    }
  }

  /** What the guard refuses is final: it must not be by a list from before another instance made the volume. */
  const getUrl = async (
    url: URL,
    headers: Record<string, string>,
    { tenantId, trustedOrigins }: FetchContext,
    signal: AbortSignal,
  ): Promise<StoredFile> => {
    try {
      return await deps.http.get(url, trustedOrigins, headers, signal)
    } catch (error) {
      if (!isHostRefused(error)) throw error
      const fresh = (await deps.volumeOriginsNow(tenantId)).filter(each => !trustedOrigins.includes(each))
      if (fresh.length === 0) throw error
      return deps.http.get(url, [...trustedOrigins, ...fresh], headers, signal)
    }
  }

  const headersFor = (ref: AttachmentRef, url: URL, context: FetchContext): Record<string, string> => {
    const { ownAuthorization } = context
    const value =
      ref.auth !== undefined
        ? deps.authorizationOf(context.tenantId, ref.auth)
        : ownAuthorization?.origin === url.origin
          ? ownAuthorization.value
          : null
    return value === null ? {} : { authorization: value }
  }

  /**
   * What is the same for two messages of one fetch: tenant, place, credentials, and the MD5 it is to have. The MD5 alone
   * is not enough: the failure of one place would be that of another, which has the file.
   */
  const keyOf = (ref: AttachmentRef, { tenantId, accountId }: FetchContext): string => {
    const { fetchMode, storagePath, isTenants, contentMd5 } = ref
    // An account may have a volume of its own under the same name; all else is its tenant's.
    const account = fetchMode === 'volume' ? accountId : null
    const place = [fetchMode, storagePath, isTenants ?? null, credentialsOf(ref, tenantId)]
    return JSON.stringify([tenantId, account, contentMd5 ?? null, ...place])
  }

  /** Opened: each message has them sealed in another way. null: the tenant's, where they are due. */
  const credentialsOf = ({ auth }: AttachmentRef, tenantId: string): unknown => {
    if (auth === undefined) return null
    try {
      return deps.authorizationOf(tenantId, auth) ?? 'none'
    } catch {
      // The fetch tells of it.
      return auth
    }
  }

  const openFile = async (ref: AttachmentRef, { attachmentRoot }: FetchContext, signal: AbortSignal) => {
    if (config.baseDir === null) throw permanent('GMP_ATTACHMENT_BASE_DIR is not set')
    const root = ref.isTenants === true && attachmentRoot !== null ? attachmentRoot : config.baseDir
    const path = isAbsolute(ref.storagePath) ? relative(root, ref.storagePath) : ref.storagePath
    const store = await deps.localStore(root)
    return store.get(path, signal)
  }

  const openInVolume = async (location: string, { tenantId, accountId }: FetchContext, signal: AbortSignal) => {
    const colon = location.indexOf(':')
    const name = location.slice(0, colon)
    const volume = colon < 0 ? null : await deps.volumeOf(tenantId, accountId, name)
    if (volume === null) throw permanent(`there is no volume ${name}`)
    const store = await deps.storeOf(volume)
    return store.get(location.slice(colon + 1), signal)
  }

  return {
    async fetch(refs, context, signal) {
      const held: Held[] = []
      const release = () => {
        for (const each of held.splice(0)) each.release()
      }
      try {
        const attachments = await inTurns(refs, AT_ONCE, async ref => {
          const { filename, mimeType, contentId, upload } = ref
          if (upload !== undefined) {
            const content = { sizeBytes: upload.sizeBytes, open: () => deps.openUpload(upload.id) }
            return { filename, mimeType, contentId, content, sizeBytes: upload.sizeBytes }
          }
          if (ref.fetchMode === 'base64') {
            const content = Buffer.from(ref.storagePath, 'base64')
            return { filename, mimeType, contentId, content, sizeBytes: content.length }
          }
          const each = await fetchOne(ref, context, signal).catch(error => {
            throw named(error, filename)
          })
          held.push(each)
          return { filename, mimeType, contentId, content: each.content, sizeBytes: each.sizeBytes, md5: each.md5 }
        })
        return { attachments, release }
      } catch (error) {
        release()
        throw error
      }
    },
  }
}

/** One fetch that many may wait for. */
interface Flight {
  readonly result: Promise<Held>
  readonly abort: AbortController
  /** Nobody else may board. */
  readonly close: () => void
  waiting: number
}

function beginFlight(work: (signal: AbortSignal) => Promise<Held>, close: () => void): Flight {
  const abort = new AbortController()
  const result = work(abort.signal)
  // Whoever waits hears of a failure; with nobody left it must not count as unhandled.
  result.then(close, close)
  return { result, abort, close, waiting: 0 }
}

async function board(flight: Flight, signal: AbortSignal): Promise<Held> {
  flight.waiting += 1
  let isOver = false
  const leave = () => {
    flight.waiting -= 1
    if (flight.waiting > 0) return
    flight.close()
    flight.abort.abort()
    // The flight's own hold; those who got the content have theirs.
    flight.result.then(held => held.release()).catch(() => {})
  }
  try {
    return await new Promise<Held>((resolve, reject) => {
      const stop = () => {
        isOver = true
        reject(new AttachmentFailure('it was stopped', 'transient'))
      }
      if (signal.aborted) return stop()
      signal.addEventListener('abort', stop, { once: true })
      flight.result
        .then(held => {
          if (!isOver) resolve(held.retain())
        }, reject)
        .finally(() => signal.removeEventListener('abort', stop))
    })
  } finally {
    leave()
  }
}

async function inTurns<T, R>(items: readonly T[], most: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length)
  let next = 0
  const worker = async () => {
    for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i]!)
  }
  const workers = Array.from({ length: Math.min(most, items.length) }, worker)
  try {
    await Promise.all(workers)
  } finally {
    // One failed: the others end before what they hold is released.
    next = items.length
    await Promise.allSettled(workers)
  }
  return results
}

/** The predecessor's words. */
function named(error: unknown, filename: string): AttachmentFailure {
  const { kind, message } =
    error instanceof AttachmentFailure ? error : { kind: 'transient' as const, message: 'internal error' }
  return new AttachmentFailure(`Attachment fetch failed for ${filename}: ${message}`, kind, { cause: error })
}

function permanent(reason: string): AttachmentFailure {
  return new AttachmentFailure(reason, 'permanent')
}

/** Of the tenant's own submissions: below the base directory unless an admin said otherwise. */
export function tenantRoot(baseDir: string, tenantId: string, attachmentRoot: string | null): string {
  if (attachmentRoot === null) return join(baseDir, tenantId)
  return isAbsolute(attachmentRoot) ? attachmentRoot : join(baseDir, attachmentRoot)
}
