/**
 * Volumes in the database. For a message of tenant T and account A the volume `name` is that of (T, A), else of T, else
 * the shared one. A change writes only over the record it was made from (by `updated_at`), so that what it was decided
 * upon is what it replaces.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Db, rowsParam, type Statement } from '../db/db.js'
import { writeSealed } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'
import { placeFrom, VOLUME_FIELDS, volumeFrom, volumeRow } from './row.js'
import type { Volume } from './volume.js'

/** Whose it is. No tenant: shared; no account: all accounts of the tenant. */
export type VolumeOwner = Pick<Volume, 'tenantId' | 'accountId'>
/** One volume there is or could be. */
export type VolumePlace = Pick<Volume, 'tenantId' | 'accountId' | 'name'>
export type VolumeContent = Pick<Volume, 'backend' | 'config' | 'trusted' | 'fromConfig'>

/** A name as a message of this tenant and account uses it. */
export interface WantedVolume {
  /** null: only the shared one is meant. */
  readonly tenantId: string | null
  readonly accountId: string | null
  readonly name: string
}

/** no_owner: there is no such tenant, or no such account of it. */
export type SavedVolume = 'created' | 'changed' | 'unchanged' | 'no_owner'

/**
 * Creates or replaces the volume of this place. `decide` sees what stands there, may throw, may be asked again, and
 * answers null to leave all as it is.
 */
export async function saveVolume(
  db: Db,
  sealer: Sealer,
  place: VolumePlace,
  decide: (current: Volume | null) => VolumeContent | null,
  { now }: { readonly now: number },
): Promise<SavedVolume> {
  for (;;) {
    const current = await findVolume(db, sealer, place)
    const content = decide(current)
    if (content === null) return 'unchanged'
    if (current !== null) {
      // Always later than before: it tells one version of the record from the next.
      const next = { ...current, ...content, updatedAt: Math.max(now, current.updatedAt + 1) }
      const [rows] = await writeSealed(db, sealer, () => [replace(next, current, sealer)])
      if (rows!.length === 1) return 'changed'
      continue
    }
    const made = { ...pick(place), ...content, createdAt: now, updatedAt: now }
    const [rows] = await writeSealed(db, sealer, () => [insert(made, sealer)])
    if (rows!.length === 1) return 'created'
    // Nothing inserted: the owner is not there, or somebody was faster and the volume is.
    if (!(await ownerExists(db, place))) return 'no_owner'
  }
}

/** The same store, whoever set it. */
export function isSameContent(
  a: Pick<VolumeContent, 'backend' | 'config'>,
  b: Pick<VolumeContent, 'backend' | 'config'>,
): boolean {
  return a.backend === b.backend && isDeepStrictEqual(a.config, b.config)
}

/** Exactly the volume of this place. Throws when its config cannot be opened. */
export async function findVolume(db: Db, sealer: Sealer, place: VolumePlace): Promise<Volume | null> {
  const [row] = await db.read({ sql: `select * from volumes where ${AT_PLACE}`, params: placeParams(place) })
  return row === undefined ? null : volumeFrom(row, sealer)
}

/** Every place where a volume of this name stands, whoever's. */
export async function placesOfName(db: Db, name: string): Promise<VolumePlace[]> {
  const rows = await db.read({ sql: 'select * from volumes where name = $1 order by key', params: [name] })
  return rows.map(placeFrom)
}

/**
 * By name. null: all there are. Of an owner: what is its own and what is shared; a tenant's own are all its accounts',
 * an account's own also those of its whole tenant.
 */
export async function listVolumes(db: Db, sealer: Sealer, owner: VolumeOwner | null): Promise<Volume[]> {
  const rows = await db.read({
    sql: `select * from volumes ${owner === null ? '' : `where tenant_id is null or ${ownedBy(owner)}`}
      order by name, coalesce(tenant_id, ''), coalesce(account_id, '')`,
    params: owner === null ? [] : [owner.tenantId, owner.accountId].filter(id => id !== null),
  })
  return rows.map(row => volumeFrom(row, sealer))
}

/** False when nothing stood there. */
export async function deleteVolume(db: Db, place: VolumePlace): Promise<boolean> {
  const [rows] = await db.write([
    { sql: `delete from volumes where ${AT_PLACE} returning key`, params: placeParams(place) },
  ])
  return rows!.length === 1
}

/**
 * The volume of each, own before shared, in the order asked, in one query; null: there is none that it may use. Configs
 * come open, so this is for delivery; what only asks whether there is one uses known.ts. Throws when a config cannot be
 * opened with this process's key.
 */
export async function resolveVolumes(
  db: Db,
  sealer: Sealer,
  wanted: readonly WantedVolume[],
): Promise<(Volume | null)[]> {
  if (wanted.length === 0) return []
  const rows = await db.read({
    sql: `select g.i, v.* from ${WANTED} g join volumes v on v.key = (
        select o.key from volumes o where ${USABLE} order by o.tenant_id is null, o.account_id is null limit 1)`,
    params: [wantedParam(wanted)],
  })
  const found = new Map(rows.map(row => [Number(row.i), volumeFrom(row, sealer)]))
  return wanted.map((_, i) => found.get(i) ?? null)
}

/** Whether there is one that it may use, for each in order. */
export async function volumesExist(db: Db, wanted: readonly WantedVolume[]): Promise<boolean[]> {
  if (wanted.length === 0) return []
  const rows = await db.read({
    sql: `select g.i from ${WANTED} g where exists (select 1 from volumes o where ${USABLE})`,
    params: [wantedParam(wanted)],
  })
  const found = new Set(rows.map(row => Number(row.i)))
  return wanted.map((_, i) => found.has(i))
}

function ownedBy({ tenantId, accountId }: VolumeOwner): string {
  if (tenantId === null) return '1 = 0'
  return accountId === null ? 'tenant_id = $1' : '(tenant_id = $1 and (account_id is null or account_id = $2))'
}

const WANTED = '@rows($1: i bigint, t text, a text, n text)'
const USABLE = `o.name = g.n
  and (o.tenant_id is null or (o.tenant_id = g.t and (o.account_id is null or o.account_id = g.a)))`

function wantedParam(wanted: readonly WantedVolume[]): string {
  return rowsParam(wanted.map(({ tenantId: t, accountId: a, name: n }, i) => ({ i, t, a, n })))
}

const AT_PLACE = `name = $1 and coalesce(tenant_id, '') = $2 and coalesce(account_id, '') = $3`

function placeParams({ name, tenantId, accountId }: VolumePlace): string[] {
  return [name, tenantId ?? '', accountId ?? '']
}

function pick({ tenantId, accountId, name }: VolumePlace): VolumePlace {
  return { tenantId, accountId, name }
}

async function ownerExists(db: Db, { tenantId, accountId }: VolumeOwner): Promise<boolean> {
  if (tenantId === null) return true
  const statement =
    accountId === null
      ? { sql: 'select 1 from tenants where id = $1', params: [tenantId] }
      : { sql: 'select 1 from accounts where tenant_id = $1 and id = $2', params: [tenantId, accountId] }
  return (await db.read(statement)).length === 1
}

const ALL_FIELDS = ['tenant_id text', 'account_id text', 'name text', ...VOLUME_FIELDS, 'created_at bigint']
const nameOf = (field: string) => field.split(' ')[0]

function insert(volume: Omit<Volume, 'key'>, sealer: Sealer): Statement {
  const names = ALL_FIELDS.map(nameOf)
  return {
    sql: `insert into volumes (${names.join(', ')})
      select ${names.map(name => `g.${name}`).join(', ')} from @rows($1: ${ALL_FIELDS.join(', ')}) g
      where (g.tenant_id is null or exists (select 1 from tenants t where t.id = g.tenant_id))
        and (g.account_id is null
          or exists (select 1 from accounts a where a.tenant_id = g.tenant_id and a.id = g.account_id))
      on conflict do nothing returning key`,
    params: [rowsParam([volumeRow(volume, sealer)])],
  }
}

function replace(volume: Volume, before: Volume, sealer: Sealer): Statement {
  const sets = VOLUME_FIELDS.map(nameOf).map(name => `${name} = g.${name}`)
  return {
    sql: `update volumes set ${sets.join(', ')} from @rows($1: ${VOLUME_FIELDS.join(', ')}) g
      where volumes.key = $2 and volumes.updated_at = $3 returning volumes.key`,
    params: [rowsParam([volumeRow(volume, sealer)]), before.key, before.updatedAt],
  }
}
