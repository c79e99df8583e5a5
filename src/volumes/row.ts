/** Between the volumes table and the record: the whole config is sealed, bound to its owner and name. */
import type { Row } from '../db/db.js'
import { type SealedPlace, sealedColumn } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'
import type { Volume } from './volume.js'

/** What a change writes, with the types of @rows. */
export const VOLUME_FIELDS = [
  'backend text',
  'config text',
  'trusted smallint',
  'from_config smallint',
  'updated_at bigint',
] as const

export function volumeRow(volume: Omit<Volume, 'key'>, sealer: Sealer): Record<string, string | number | null> {
  return {
    tenant_id: volume.tenantId,
    account_id: volume.accountId,
    name: volume.name,
    backend: volume.backend,
    config: sealer.seal(JSON.stringify(volume.config), configContext(volume)),
    trusted: volume.trusted ? 1 : 0,
    from_config: volume.fromConfig ? 1 : 0,
    created_at: volume.createdAt,
    updated_at: volume.updatedAt,
  }
}

/** Throws when the config cannot be opened with this process's key. */
export function volumeFrom(row: Row, sealer: Sealer): Volume {
  const place = placeFrom(row)
  return {
    ...place,
    key: Number(row.key),
    backend: row.backend as Volume['backend'],
    config: JSON.parse(sealer.open(row.config as string, configContext(place))) as Record<string, unknown>,
    trusted: Number(row.trusted) === 1,
    fromConfig: Number(row.from_config) === 1,
    createdAt: Number(row.created_at),
    updatedAt: Number(row.updated_at),
  }
}

export function placeFrom(row: Row): Pick<Volume, 'tenantId' | 'accountId' | 'name'> {
  return {
    tenantId: row.tenant_id as string | null,
    accountId: row.account_id as string | null,
    name: row.name as string,
  }
}

/** Where volumes have sealed values. */
export const SEALED_IN_VOLUMES: readonly SealedPlace[] = [
  sealedColumn({ table: 'volumes', key: 'key', first: 0, column: 'config' }, ['tenant_id', 'account_id', 'name'], row =>
    configContext(placeFrom(row)),
  ),
]

// No id and no name holds a slash, so every place has its own context.
function configContext({ tenantId, accountId, name }: Pick<Volume, 'tenantId' | 'accountId' | 'name'>): string {
  return `volume:${tenantId ?? ''}/${accountId ?? ''}/${name}:config`
}
