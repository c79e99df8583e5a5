/**
 * The files that were put out of their mails, in the database. A row stands before its upload begins and goes after its
 * file is gone, so at every instant each file that may lie somewhere is known here, with what it takes to get there.
 */
import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { NewOffload, Offload, OffloadStore } from '../attachments/offload/offloader.js'
import { type Db, type Row, rowsParam, type Statement } from '../db/db.js'
import { type SealedPlace, sealedColumn, writeSealed } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'

/** A file and the store it lies in. */
export interface StoredOffload extends Offload {
  readonly filename: string
  readonly mimeType: string
  readonly sizeBytes: number
  readonly store: OffloadStore
}

/** Time an upload has before its file counts as left behind by a crash, ms. */
const UPLOAD_MS = 6 * 3600 * 1000

/** The row of this content under this name in this store, a new one if there is none; see OffloadTable. */
export async function claimOffload(
  db: Db,
  sealer: Sealer,
  store: OffloadStore,
  file: NewOffload,
  path: (id: string) => string,
  now: number,
): Promise<Offload> {
  for (;;) {
    const known = await findContent(db, store, file)
    const current = await isCurrent(db, sealer, store)
    if (known !== null && current) return known
    const id = randomBytes(16).toString('base64url')
    await writeSealed(db, sealer, () => [
      ...(current ? [] : [saveStore(store, sealer)]),
      insert(id, path(id), store, file, now),
    ])
  }
}

/** Uploaded, or kept on: it is there until then at least. False: its removal has begun. */
export async function keepOffload(db: Db, id: string, expiresAt: number): Promise<boolean> {
  const [rows] = await db.write([
    {
      sql: `update offloads set state = 'stored',
          expires_at = case when state = 'stored' and expires_at > $2 then expires_at else $2 end
        where id = $1 and state <> 'removing' returning id`,
      params: [id, expiresAt],
    },
  ])
  return rows!.length === 1
}

/** One that can be fetched; null: there is none, or not yet, or not any more. */
export async function findOffload(db: Db, sealer: Sealer, id: string): Promise<StoredOffload | null> {
  const [row] = await db.read({ sql: `${WITH_STORE} where o.id = $1 and o.state = 'stored'`, params: [id] })
  return row === undefined ? null : storedFrom(row, sealer)
}

/**
 * Files past their time in stores that may be tried, oldest first; from here on nobody gets a link to them. One whose
 * store cannot be opened with this process's key is told to `onUnreadable` and left out.
 */
export async function beginRemovals(
  db: Db,
  sealer: Sealer,
  { now, limit }: { readonly now: number; readonly limit: number },
  onUnreadable: (digest: string, error: unknown) => void,
): Promise<StoredOffload[]> {
  // Two instances may remove the same file: the second finds nothing, which is no failure.
  const [rows] = await db.write([
    {
      sql: `update offloads set state = 'removing' where id in (
          select o.id from offloads o join offload_stores s on s.digest = o.store
          where o.expires_at <= $1 and s.retry_at <= $1 order by o.expires_at limit $2)
        returning id`,
      params: [now, limit],
    },
  ])
  if (rows!.length === 0) return []
  const ids = rowsParam(rows!.map(({ id }) => ({ i: id })))
  const full = await db.read({
    sql: `${WITH_STORE} where o.id in (select g.i from @rows($1: i text) g) order by o.expires_at`,
    params: [ids],
  })
  return full.flatMap(row => {
    try {
      return [storedFrom(row, sealer)]
    } catch (error) {
      onUnreadable(row.store as string, error)
      return []
    }
  })
}

/** The file is gone. */
export async function forgetOffload(db: Db, id: string): Promise<void> {
  await db.write([{ sql: "delete from offloads where id = $1 and state = 'removing'", params: [id] }])
}

/** This file could not be removed: others of its store come before it. */
export async function postponeRemoval(db: Db, id: string, until: number): Promise<void> {
  await db.write([
    { sql: "update offloads set expires_at = $2 where id = $1 and state = 'removing'", params: [id, until] },
  ])
}

/** The store failed: nothing of it is tried for a while, twice as long each time. */
export async function postponeStore(
  db: Db,
  digest: string,
  now: number,
  { firstMs, mostMs }: { readonly firstMs: number; readonly mostMs: number },
): Promise<void> {
  const doublings = Math.ceil(Math.log2(mostMs / firstMs))
  const waits = Array.from({ length: doublings + 1 }, (_, n) => Math.min(mostMs, firstMs * 2 ** n))
  const wait = waits.map((ms, n) => `when ${n} then ${ms}`).join(' ')
  await db.write([
    {
      sql: `update offload_stores set failures = failures + 1, retry_at = cast($2 as bigint) + (case failures ${wait} else ${mostMs} end)
        where digest = $1`,
      params: [digest, now],
    },
  ])
}

/** It answers again. */
export async function storeWorks(db: Db, digest: string): Promise<void> {
  await db.write([
    {
      sql: 'update offload_stores set failures = 0, retry_at = 0 where digest = $1 and failures > 0',
      params: [digest],
    },
  ])
}

/** Removes stores in which nothing lies any more. */
export async function pruneStores(db: Db): Promise<void> {
  await db.write([
    {
      sql: 'delete from offload_stores where not exists (select 1 from offloads o where o.store = offload_stores.digest)',
      params: [],
    },
  ])
}

/** Where stores have sealed values. */
export const SEALED_IN_OFFLOADS: readonly SealedPlace[] = [
  sealedColumn({ table: 'offload_stores', key: 'digest', first: '', column: 'settings' }, [], row =>
    contextOf(row.at as string),
  ),
]

const WITH_STORE = `select o.id, o.path, o.filename, o.mime_type, o.size, o.expires_at, o.state,
  o.store, s.tenant_id, s.settings from offloads o join offload_stores s on s.digest = o.store`

async function findContent(db: Db, { digest }: OffloadStore, { md5, filename }: NewOffload): Promise<Offload | null> {
  const [row] = await db.read({
    sql: `select id, path, state, expires_at from offloads
      where store = $1 and md5 = $2 and filename = $3 and state <> 'removing'`,
    params: [digest, md5, filename],
  })
  return row === undefined ? null : offloadFrom(row)
}

/** What stands there opens the store as well as what we have: credentials may have changed since. */
async function isCurrent(db: Db, sealer: Sealer, store: OffloadStore): Promise<boolean> {
  const [row] = await db.read({ sql: 'select settings from offload_stores where digest = $1', params: [store.digest] })
  if (row === undefined) return false
  try {
    return isDeepStrictEqual(settingsFrom(row.settings, store.digest, sealer), settingsOf(store))
  } catch {
    // Altered: what we have takes its place.
    return false
  }
}

function saveStore(store: OffloadStore, sealer: Sealer): Statement {
  const { digest, tenantId } = store
  return {
    sql: `insert into offload_stores (digest, tenant_id, settings) values ($1, $2, $3)
      on conflict (digest) do update set settings = excluded.settings, retry_at = 0, failures = 0`,
    params: [digest, tenantId, sealer.seal(JSON.stringify(settingsOf(store)), contextOf(digest))],
  }
}

/** Nothing when the content stands there already, or when the store has just been pruned: the caller looks again. */
function insert(id: string, path: string, { digest }: OffloadStore, file: NewOffload, now: number): Statement {
  const { filename, mimeType, md5, sizeBytes } = file
  return {
    sql: `insert into offloads (id, store, path, filename, mime_type, md5, size, created_at, expires_at, state)
      select $1, digest, $3, $4, $5, $6, $7, $8, $9, 'uploading' from offload_stores where digest = $2
      on conflict (store, md5, filename) where state <> 'removing' do nothing`,
    params: [id, digest, path, filename, mimeType, md5, sizeBytes, now, now + UPLOAD_MS],
  }
}

function offloadFrom(row: Row): Offload {
  return {
    id: row.id as string,
    path: row.path as string,
    isStored: row.state === 'stored',
    expiresAt: Number(row.expires_at),
  }
}

function storedFrom(row: Row, sealer: Sealer): StoredOffload {
  const digest = row.store as string
  return {
    ...offloadFrom(row),
    filename: row.filename as string,
    mimeType: row.mime_type as string,
    sizeBytes: Number(row.size),
    store: { ...settingsFrom(row.settings, digest, sealer), digest, tenantId: row.tenant_id as string },
  }
}

type Settings = Pick<OffloadStore, 'backend' | 'config' | 'trusted'>

function settingsOf({ backend, config, trusted }: OffloadStore): Settings {
  return { backend, config, trusted }
}

function settingsFrom(sealed: unknown, digest: string, sealer: Sealer): Settings {
  return JSON.parse(sealer.open(sealed as string, contextOf(digest))) as Settings
}

function contextOf(digest: string): string {
  return `offload-store:${digest}:settings`
}
