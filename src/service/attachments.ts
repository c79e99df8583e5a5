/**
 * Wires the fetching of attachments (volumes, their stores, the cache, the spool) and the putting out of large ones, for
 * the composition root.
 */

import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AttachmentCache, createAttachmentCache } from '../attachments/cache.js'
import { type AttachmentFetcher, createAttachmentFetcher } from '../attachments/fetch.js'
import { createHttpSource } from '../attachments/http-source.js'
import { isSigned, type LinkKeys } from '../attachments/offload/link.js'
import { createOffloader, type Offloader, type OffloadStore, storeFor } from '../attachments/offload/offloader.js'
import { openStore } from '../attachments/stores/open-store.js'
import type { Store } from '../attachments/stores/store.js'
import type { Config } from '../config.js'
import type { Db } from '../db/db.js'
import type { LinkedFiles } from '../http/deps.js'
import type { Clock } from '../lib/clock.js'
import { makeDirectory, refuseOther } from '../lib/directory.js'
import { authorizationOf, type HttpAuth } from '../lib/http-auth.js'
import { createKept } from '../lib/kept.js'
import type { Log } from '../lib/log.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import type { Sealer } from '../lib/sealer.js'
import { originOf } from '../lib/url.js'
import { attachmentAuthContext } from '../messages/attachment-auth.js'
import { claimOffload, findOffload, keepOffload } from '../offloads/store.js'
import { openUpload } from '../queue/uploads.js'
import { getTenant } from '../tenants/store.js'
import type { Tenant } from '../tenants/tenant.js'
import { listVolumes, resolveVolumes } from '../volumes/store.js'
import type { Volume } from '../volumes/volume.js'

export interface AttachmentDeps {
  readonly db: Db
  readonly sealer: Sealer
  readonly clock: Clock
  readonly log: Log
  readonly guard: NetworkGuard
  /** Signs links to files. */
  readonly linkKeys: LinkKeys
}

export interface Attachments {
  readonly fetcher: AttachmentFetcher
  readonly cache: AttachmentCache
  readonly spoolDir: string
  readonly offloader: Offloader
  /** What links to files lead to. */
  readonly files: LinkedFiles
  /** With the credentials that its tenant has for it now, else with those it was filled with. */
  offloadStore(store: OffloadStore): Promise<Store>
  /** The store of a volume, opened once for each version of it. */
  storeOf(volume: Volume): Promise<Store>
  /** Origins of the tenant's HTTP volumes that an admin has set. */
  volumeOrigins(tenantId: string): Promise<readonly string[]>
  /** A volume was changed by this process. */
  forgetOrigins(): void
  close(): Promise<void>
}

/** Stores kept open. */
const MOST_STORES = 200
/** How long a list of trusted origins holds when another process changes a volume. */
const ORIGINS_MS = 1_000

export function createAttachments(config: Config, deps: AttachmentDeps): Attachments {
  const { db, sealer, clock, log, guard, linkKeys } = deps
  const { timeoutMs } = config.attachments
  const spoolDir = config.attachments.spoolDir ?? join(config.instance.dir ?? tmpdir(), 'spool')
  makeDirectory(spoolDir, 'GMP_SPOOL_DIR')
  if (config.cache.diskDir !== null) makeDirectory(config.cache.diskDir, 'GMP_CACHE_DISK_DIR')
  if (config.attachments.baseDir !== null) refuseOther(config.attachments.baseDir, 'GMP_ATTACHMENT_BASE_DIR')
  const cache = createAttachmentCache(config.cache, { clock, log })
  const http = createHttpSource(guard, timeoutMs)
  const stores = createKept<Store>(MOST_STORES, store => store.close())
  let origins = new Map<string, { readonly until: number; readonly list: readonly string[] }>()

  /** Opened now, so that a wrong config shows, and anew by the next call when it had to go meanwhile. */
  const opened = async (key: string, open: () => Promise<Store>): Promise<Store> => {
    await stores.during(key, open, async () => {})
    return {
      get: (path, signal) => stores.reading(key, open, store => store.get(path, signal)),
      put: (file, signal) => stores.during(key, open, store => store.put(file, signal)),
      remove: (path, signal) => stores.during(key, open, store => store.remove(path, signal)),
      link: (path, filename, expiresAt) => stores.during(key, open, store => store.link(path, filename, expiresAt)),
      // Others use it too.
      close() {},
    }
  }

  const storeOf = (volume: Volume): Promise<Store> =>
    opened(`${volume.key} ${volume.updatedAt}`, () =>
      openStore(volume.backend, volume.config, {
        guard: volume.trusted ? null : guard,
        ambient: volume.trusted,
        timeoutMs,
      }),
    )

  const openPlace = (store: OffloadStore): Promise<Store> => {
    const { backend, config, trusted } = store
    const version = createHash('sha256').update(JSON.stringify(config)).digest('hex')
    return opened(`offload ${store.digest} ${version}`, () =>
      openStore(backend, config, { guard: trusted ? null : guard, ambient: trusted, timeoutMs }),
    )
  }

  const offloadStore = async (store: OffloadStore): Promise<Store> => {
    // One whose secrets cannot be opened counts as gone.
    const tenant = await getTenant(db, sealer, store.tenantId).catch(() => null)
    return openPlace((tenant === null ? null : samePlace(tenant, store, guard)) ?? store)
  }

  const offloader = createOffloader({
    clock,
    linkKeys,
    guard,
    table: {
      claim: (store, file, path) => claimOffload(db, sealer, store, file, path, clock.now()),
      keepUntil: (id, expiresAt) => keepOffload(db, id, expiresAt),
    },
    storeOf: openPlace,
  })

  const files: LinkedFiles = {
    isSigned: (path, signature) => isSigned(path, signature, linkKeys.all()),
    async find(id) {
      const found = await findOffload(db, sealer, id)
      if (found === null) return null
      const { path, filename, mimeType, sizeBytes } = found
      const store = () => offloadStore(found.store)
      return {
        pathName: path.slice(id.length + 1),
        filename,
        mimeType,
        sizeBytes,
        redirect: async expiresAt => (await store()).link(path, filename, expiresAt),
        open: async signal => (await store()).get(path, signal),
      }
    },
  }

  const volumeOriginsNow = async (tenantId: string): Promise<readonly string[]> => {
    const volumes = await listVolumes(db, sealer, { tenantId, accountId: null })
    return volumes.filter(each => each.trusted).flatMap(originsOf)
  }

  const fetcher = createAttachmentFetcher({
    config: config.attachments,
    cache,
    http,
    spoolDir,
    async volumeOf(tenantId, accountId, name) {
      return (await resolveVolumes(db, sealer, [{ tenantId, accountId, name }]))[0] ?? null
    },
    storeOf,
    localStore: root =>
      opened(`root ${root}`, () => openStore('local', { root }, { guard: null, ambient: true, timeoutMs })),
    volumeOriginsNow,
    openUpload: id => openUpload(db, id),
    authorizationOf(tenantId, sealed) {
      return authorizationOf(JSON.parse(sealer.open(String(sealed), attachmentAuthContext(tenantId))) as HttpAuth)
    },
  })

  return {
    fetcher,
    cache,
    spoolDir,
    offloader,
    files,
    offloadStore,
    storeOf,
    async volumeOrigins(tenantId) {
      const now = clock.monotonic()
      const known = origins.get(tenantId)
      if (known !== undefined && known.until > now) return known.list
      // What is forgotten while we read is not remembered: the answer goes into the map of when we asked.
      const remembered = origins
      const list = await volumeOriginsNow(tenantId)
      if (remembered.size > MOST_STORES) remembered.clear()
      remembered.set(tenantId, { until: now + ORIGINS_MS, list })
      return list
    },
    forgetOrigins() {
      origins = new Map()
    },
    async close() {
      await http.close()
      await stores.close()
    },
  }
}

/** The store as the tenant's config has it now; null: that is another place, or cannot be used. */
function samePlace(tenant: Tenant, store: OffloadStore, guard: NetworkGuard): OffloadStore | null {
  const { id: tenantId, largeFileConfig: config, largeFilesTrusted: trusted } = tenant
  if (config === null) return null
  try {
    const current = storeFor({ tenantId, config, trusted }, guard)
    return current.digest === store.digest ? current : null
  } catch {
    return null
  }
}

function originsOf({ backend, config }: Volume): string[] {
  if (backend !== 'http' && backend !== 'webdav') return []
  const url = config.base_url ?? config.url
  const origin = originOf(typeof url === 'string' ? url : null)
  return origin === null ? [] : [origin]
}
