/** Between the tenants table and the record: snake_case to camelCase, 0/1 to booleans, secrets sealed and opened. */
import type { Row } from '../db/db.js'
import { type SealedPlace, sealedColumn } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'
import type { ClientAuth, LargeFileConfig, Tenant } from './tenant.js'

/** What a change writes, with the types of @rows; suspension has its own statement. */
export const TENANT_FIELDS = [
  'name text',
  'active smallint',
  'client_base_url text',
  'client_sync_path text',
  'client_attachment_path text',
  'client_auth text',
  'endpoint_trusted smallint',
  'large_file_config text',
  'large_files_trusted smallint',
  'rate_hourly bigint',
  'rate_daily bigint',
  'max_queued_messages bigint',
  'attachment_root text',
  'signing_secrets text',
  'updated_at bigint',
] as const

export function tenantRow(tenant: Tenant, sealer: Sealer): Record<string, string | number | null> {
  const { id, clientAuth, signingSecrets, largeFileConfig } = tenant
  return {
    id,
    name: tenant.name,
    active: tenant.active ? 1 : 0,
    client_base_url: tenant.clientBaseUrl,
    client_sync_path: tenant.clientSyncPath,
    client_attachment_path: tenant.clientAttachmentPath,
    client_auth: clientAuth === null ? null : sealer.seal(JSON.stringify(clientAuth), authContext(id)),
    endpoint_trusted: tenant.endpointTrusted ? 1 : 0,
    large_file_config:
      largeFileConfig === null ? null : sealer.seal(JSON.stringify(largeFileConfig), largeFilesContext(id)),
    large_files_trusted: tenant.largeFilesTrusted ? 1 : 0,
    rate_hourly: tenant.rateHourly,
    rate_daily: tenant.rateDaily,
    max_queued_messages: tenant.maxQueuedMessages,
    attachment_root: tenant.attachmentRoot,
    signing_secrets:
      signingSecrets.length === 0 ? null : sealer.seal(JSON.stringify(signingSecrets), signingContext(id)),
    created_at: tenant.createdAt,
    updated_at: tenant.updatedAt,
  }
}

/** Throws when a secret cannot be opened with this process's key. */
export function tenantFrom(row: Row, sealer: Sealer): Tenant {
  const id = row.id as string
  const opened = <T>(sealed: unknown, context: string): T | null =>
    sealed === null ? null : (JSON.parse(sealer.open(sealed as string, context)) as T)
  return {
    id,
    name: row.name as string | null,
    active: Number(row.active) === 1,
    clientBaseUrl: row.client_base_url as string | null,
    clientSyncPath: row.client_sync_path as string | null,
    clientAttachmentPath: row.client_attachment_path as string | null,
    clientAuth: opened<ClientAuth>(row.client_auth, authContext(id)),
    endpointTrusted: Number(row.endpoint_trusted) === 1,
    largeFileConfig: opened<LargeFileConfig>(row.large_file_config, largeFilesContext(id)),
    largeFilesTrusted: Number(row.large_files_trusted) === 1,
    rateHourly: numberOrNull(row.rate_hourly),
    rateDaily: numberOrNull(row.rate_daily),
    maxQueuedMessages: numberOrNull(row.max_queued_messages),
    attachmentRoot: row.attachment_root as string | null,
    signingSecrets: opened<string[]>(row.signing_secrets, signingContext(id)) ?? [],
    suspendedBatches: JSON.parse(row.suspended_batches as string) as string[],
    createdAt: Number(row.created_at),
    updatedAt: Number(row.updated_at),
  }
}

/** Where tenants have sealed values. */
export const SEALED_IN_TENANTS: readonly SealedPlace[] = [
  sealedIn('client_auth', authContext),
  sealedIn('large_file_config', largeFilesContext),
  sealedIn('signing_secrets', signingContext),
]

function sealedIn(column: string, context: (id: string) => string): SealedPlace {
  return sealedColumn({ table: 'tenants', key: 'id', first: '', column }, [], row => context(row.at as string))
}

function authContext(id: string): string {
  return `tenant:${id}:client_auth`
}

function largeFilesContext(id: string): string {
  return `tenant:${id}:large_file_config`
}

function signingContext(id: string): string {
  return `tenant:${id}:signing_secrets`
}

function numberOrNull(value: unknown): number | null {
  return value === null ? null : Number(value)
}
