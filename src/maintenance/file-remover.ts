/**
 * Removes files that were put out of their mails when their time is over, or what an upload left behind. A store that
 * fails is left alone for a while, longer each time, and holds up no other; its operator hears of it once.
 */
import { setMaxListeners } from 'node:events'
import { AttachmentFailure } from '../attachments/failure.js'
import type { OffloadStore } from '../attachments/offload/offloader.js'
import type { Store } from '../attachments/stores/store.js'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Step } from '../lib/loop.js'
import type { Sealer } from '../lib/sealer.js'
import {
  beginRemovals,
  forgetOffload,
  postponeRemoval,
  postponeStore,
  pruneStores,
  type StoredOffload,
  storeWorks,
} from '../offloads/store.js'

export interface FileRemoverDeps {
  readonly db: Db
  readonly sealer: Sealer
  readonly clock: Clock
  readonly log: Log
  storeOf(store: OffloadStore): Promise<Store>
}

/** Files a step removes at most. */
const CHUNK = 50
/** A store's share of a step. */
const STEP_MS = 10_000
const STORE_BACKOFF = { firstMs: 60_000, mostMs: 6 * 3600 * 1000 }
/** Until a file is tried again that its store refuses to remove, ms. */
const REFUSED_MS = 24 * 3600 * 1000
const PRUNE_EVERY_MS = 24 * 3600 * 1000

export function createFileRemover({ db, sealer, clock, log, storeOf }: FileRemoverDeps): {
  step(): Promise<Step>
  /** Breaks off what is under way. */
  stop(): void
} {
  const stopped = new AbortController()
  // Each store under way listens.
  setMaxListeners(0, stopped.signal)
  /** Stores whose failure was told. */
  const told = new Set<string>()
  let pruneAt = 0

  const tell = (digest: string, tenantId: string | null, reason: string) => {
    if (told.has(digest)) return
    told.add(digest)
    const whose = tenantId === null ? '' : ` of tenant ${tenantId}`
    log.warning(`Large files${whose} past their time cannot be removed, which is tried again: ${reason}`)
  }

  const removeFrom = async (files: readonly StoredOffload[]): Promise<void> => {
    const { digest, tenantId } = files[0]!.store
    const failed = async (error: unknown) => {
      if (!(error instanceof AttachmentFailure)) throw error
      if (stopped.signal.aborted) return
      tell(digest, tenantId, error.message)
      await postponeStore(db, digest, clock.now(), STORE_BACKOFF)
    }
    const store = await storeOf(files[0]!.store).catch(failed)
    if (store === undefined) return
    let refusals = 0
    const until = clock.monotonic() + STEP_MS
    for (const { id, path } of files) {
      try {
        await store.remove(path, stopped.signal)
      } catch (error) {
        if (!(error instanceof AttachmentFailure) || error.kind === 'transient') return failed(error)
        refusals += 1
        tell(digest, tenantId, error.message)
        await postponeRemoval(db, id, clock.now() + REFUSED_MS)
        continue
      }
      await forgetOffload(db, id)
      // The rest of a slow store's comes with the next step: others wait for this one.
      if (clock.monotonic() > until) break
    }
    if (refusals === 0) told.delete(digest)
    await storeWorks(db, digest)
  }

  return {
    async step() {
      const now = clock.now()
      const unreadable: string[] = []
      const files = await beginRemovals(db, sealer, { now, limit: CHUNK }, (digest, error) => {
        unreadable.push(digest)
        tell(digest, null, (error as Error).message)
      })
      for (const digest of new Set(unreadable)) await postponeStore(db, digest, now, STORE_BACKOFF)
      const byStore = new Map<string, StoredOffload[]>()
      for (const file of files) {
        const same = byStore.get(file.store.digest)
        if (same === undefined) byStore.set(file.store.digest, [file])
        else same.push(file)
      }
      const results = await Promise.allSettled([...byStore.values()].map(removeFrom))
      for (const each of results) if (each.status === 'rejected') throw each.reason
      if (now >= pruneAt) {
        await pruneStores(db)
        pruneAt = now + PRUNE_EVERY_MS
      }
      return { nextAt: null, again: files.length === CHUNK && !stopped.signal.aborted }
    },
    stop: () => stopped.abort(),
  }
}
