/**
 * Brings the volumes of config.ini into the database at each start: made, changed, and removed when config.ini has them
 * no more. A volume made by the API stays as it is, also where config.ini has one of the same name and owner.
 */
import type { Db } from '../db/db.js'
import type { Log } from '../lib/log.js'
import type { Sealer } from '../lib/sealer.js'
import { type ConfiguredVolume, readVolumeLines, wrong } from './config-lines.js'
import { findOwner } from './owner.js'
import { isSameContent, saveVolume, type VolumePlace } from './store.js'
import type { Volume, VolumeProblem } from './volume.js'

export interface SeedDeps {
  readonly db: Db
  readonly sealer: Sealer
  readonly log: Log
  /** Why a volume of this backend cannot work with this config; null: it can. */
  volumeProblem(backend: string, config: Readonly<Record<string, unknown>>, trusted: boolean): VolumeProblem | null
}

export interface VolumeLines {
  /** config.ini's [volumes] as written. */
  readonly lines: Readonly<Record<string, string>>
  /** What `${NAME}` in them stands for. */
  readonly variables: Readonly<Record<string, string>>
}

/** Throws ConfigError for a line that cannot be used; then nothing was changed. */
export async function seedVolumes(deps: SeedDeps, { lines, variables }: VolumeLines, now: number): Promise<void> {
  const { db, log } = deps
  const configured = readVolumes(deps, { lines, variables })
  const kept: { n: string; t: string | null; a: string | null }[] = []
  for (const volume of configured) {
    const place = await placeOf(db, volume, log)
    // No longer clear which account is meant: the one that an earlier start found keeps it.
    if (place === null) kept.push(...(await placesFromConfig(db, volume)))
    else {
      await put(deps, place, volume, now)
      kept.push({ n: place.name, t: place.tenantId, a: place.accountId })
    }
  }
  await db.write([
    {
      sql: `delete from volumes where from_config = 1 and not exists (
          select 1 from @rows($1: n text, t text, a text) g where g.n = volumes.name
            and coalesce(g.t, '') = coalesce(volumes.tenant_id, '')
            and coalesce(g.a, '') = coalesce(volumes.account_id, ''))`,
      params: [JSON.stringify(kept)],
    },
  ])
}

/** The volumes of config.ini, checked. Throws ConfigError for a line that cannot be used. */
export function readVolumes(
  { volumeProblem }: Pick<SeedDeps, 'volumeProblem'>,
  { lines, variables }: VolumeLines,
): readonly ConfiguredVolume[] {
  const configured = readVolumeLines(lines, variables)
  for (const { name, backend, config } of configured) {
    const problem = volumeProblem(backend, config, true)
    if (problem !== null) throw wrong(`volume.${name}.${problem.field}`, `cannot be used: ${problem.sentence}`)
  }
  return configured
}

async function placeOf(db: Db, { name, accountId }: ConfiguredVolume, log: Log): Promise<VolumePlace | null> {
  if (accountId === null) return { tenantId: null, accountId: null, name }
  const owner = await findOwner(db, null, accountId)
  if (owner.kind === 'found') return { tenantId: owner.tenantId, accountId: owner.accountId, name }
  // No end of the start: tenants are made through the API of a running service, and a tenant who names an account like
  // another's must not be able to stop it.
  if (owner.kind === 'none') {
    log.warning(`config.ini [volumes] volume.${name} waits: no tenant or account is called ${accountId} yet`)
  } else {
    log.error(
      `config.ini [volumes] volume.${name}.account_id is ambiguous: several tenants have an account ${accountId}; write tenant/${accountId}`,
    )
  }
  return null
}

async function placesFromConfig(db: Db, { name, accountId }: ConfiguredVolume) {
  const rows = await db.read({
    sql: 'select tenant_id from volumes where name = $1 and account_id = $2 and from_config = 1',
    params: [name, accountId],
  })
  return rows.map(row => ({ n: name, t: row.tenant_id as string, a: accountId }))
}

async function put({ db, sealer, log }: SeedDeps, place: VolumePlace, volume: ConfiguredVolume, now: number) {
  const content = {
    backend: volume.backend as Volume['backend'],
    config: volume.config,
    trusted: true,
    fromConfig: true,
  }
  const saved = await saveVolume(
    db,
    sealer,
    place,
    current => {
      if (current === null || (current.fromConfig && !isSameContent(current, content))) return content
      if (!current.fromConfig) {
        log.warning(
          `config.ini [volumes] volume.${volume.name} is not used: the API made one of that name, which stays`,
        )
      }
      return null
    },
    { now },
  )
  if (saved === 'no_owner') log.warning(`config.ini [volumes] volume.${volume.name} waits: its owner was deleted`)
}
