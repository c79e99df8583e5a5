/** Between the accounts table and the record: snake_case to camelCase, 0/1 to booleans, secrets sealed and opened. */
import type { Row } from '../db/db.js'
import { type SealedPlace, sealedColumn } from '../db/key-fence.js'
import type { Sealer } from '../lib/sealer.js'
import type { Account, AccountPause, AccountTrial } from './account.js'

/** What a change of settings writes, with the types of @rows; the pause has its own statements. */
export const ACCOUNT_FIELDS = [
  'host text',
  'port bigint',
  'username text',
  'password text',
  'auth_method text',
  'oauth2 text',
  'oauth2_trusted smallint',
  'use_tls smallint',
  'tls_verify smallint',
  'limit_per_minute bigint',
  'limit_per_hour bigint',
  'limit_per_day bigint',
  'limit_behavior text',
  'ttl_seconds bigint',
  'max_connections bigint',
  'max_messages_per_connection bigint',
  'max_recipients_per_transaction bigint',
  'batch_size bigint',
  'is_default smallint',
  'in_doubt text',
  'on_pause_timeout text',
  'host_trusted smallint',
  'is_pec_account smallint',
  'imap_host text',
  'imap_port bigint',
  'imap_user text',
  'imap_password text',
  'imap_ssl smallint',
  'updated_at bigint',
] as const

export type AccountSettings = Omit<Account, 'key' | 'pause' | 'trial'>

export function accountRow(account: AccountSettings, sealer: Sealer): Record<string, string | number | null> {
  const { tenantId, id, password, oauth2 } = account
  return {
    tenant_id: tenantId,
    id,
    host: account.host,
    port: account.port,
    username: account.user,
    password: password === null ? null : sealer.seal(password, passwordContext(tenantId, id)),
    auth_method: account.authMethod,
    oauth2: oauth2 === null ? null : sealer.seal(JSON.stringify(oauth2), oauth2Context(tenantId, id)),
    oauth2_trusted: flag(account.oauth2Trusted),
    use_tls: flag(account.useTls),
    tls_verify: flag(account.tlsVerify),
    limit_per_minute: account.limitPerMinute,
    limit_per_hour: account.limitPerHour,
    limit_per_day: account.limitPerDay,
    limit_behavior: account.limitBehavior,
    ttl_seconds: account.ttlSeconds,
    max_connections: account.maxConnections,
    max_messages_per_connection: account.maxMessagesPerConnection,
    max_recipients_per_transaction: account.maxRecipientsPerTransaction,
    batch_size: account.batchSize,
    is_default: flag(account.isDefault),
    in_doubt: account.inDoubt,
    on_pause_timeout: account.onPauseTimeout,
    host_trusted: flag(account.hostTrusted),
    is_pec_account: flag(account.isPecAccount),
    imap_host: account.imapHost,
    imap_port: account.imapPort,
    imap_user: account.imapUser,
    imap_password: account.imapPassword,
    imap_ssl: flag(account.imapSsl),
    created_at: account.createdAt,
    updated_at: account.updatedAt,
  }
}

/** Throws when the password or the OAuth settings cannot be opened with this process's key. The IMAP password stays sealed. */
export function accountFrom(row: Row, sealer: Sealer): Account {
  const tenantId = row.tenant_id as string
  const id = row.id as string
  return {
    key: Number(row.key),
    tenantId,
    id,
    host: row.host as string,
    port: Number(row.port),
    user: row.username as string | null,
    password: row.password === null ? null : sealer.open(row.password as string, passwordContext(tenantId, id)),
    authMethod: row.auth_method as Account['authMethod'],
    oauth2: row.oauth2 === null ? null : JSON.parse(sealer.open(row.oauth2 as string, oauth2Context(tenantId, id))),
    oauth2Trusted: Number(row.oauth2_trusted) === 1,
    useTls: boolOrNull(row.use_tls),
    tlsVerify: Number(row.tls_verify) === 1,
    limitPerMinute: numberOrNull(row.limit_per_minute),
    limitPerHour: numberOrNull(row.limit_per_hour),
    limitPerDay: numberOrNull(row.limit_per_day),
    limitBehavior: row.limit_behavior as Account['limitBehavior'],
    ttlSeconds: Number(row.ttl_seconds),
    maxConnections: Number(row.max_connections),
    maxMessagesPerConnection: Number(row.max_messages_per_connection),
    maxRecipientsPerTransaction: Number(row.max_recipients_per_transaction),
    batchSize: numberOrNull(row.batch_size),
    isDefault: Number(row.is_default) === 1,
    inDoubt: row.in_doubt as Account['inDoubt'],
    onPauseTimeout: row.on_pause_timeout as Account['onPauseTimeout'],
    hostTrusted: Number(row.host_trusted) === 1,
    pause: pauseFrom(row),
    trial: trialFrom(row),
    createdAt: Number(row.created_at),
    updatedAt: Number(row.updated_at),
    isPecAccount: Number(row.is_pec_account) === 1,
    imapHost: row.imap_host as string | null,
    imapPort: numberOrNull(row.imap_port),
    imapUser: row.imap_user as string | null,
    imapPassword: row.imap_password as string | null,
    imapSsl: boolOrNull(row.imap_ssl),
  }
}

export function sealImapPassword(sealer: Sealer, tenantId: string, id: string, password: string): string {
  return sealer.seal(password, imapPasswordContext(tenantId, id))
}

/** Where accounts have sealed values. */
export const SEALED_IN_ACCOUNTS: readonly SealedPlace[] = [
  sealedIn('password', passwordContext),
  sealedIn('oauth2', oauth2Context),
  sealedIn('imap_password', imapPasswordContext),
]

function sealedIn(column: string, context: (tenantId: string, id: string) => string): SealedPlace {
  return sealedColumn(
    // A change of the record carries the IMAP password over as it read it: it must find that it read an older version.
    { table: 'accounts', key: 'key', first: 0, column, alsoSet: 'updated_at = updated_at + 1' },
    ['tenant_id', 'id'],
    row => context(row.tenant_id as string, row.id as string),
  )
}

export function pauseFrom(row: Row): AccountPause | null {
  if (row.pause_kind === null) return null
  return {
    kind: row.pause_kind as AccountPause['kind'],
    since: Number(row.pause_since),
    reason: row.pause_reason as string,
    code: row.pause_code as string | null,
    probeAt: numberOrNull(row.probe_at),
    probes: Number(row.probes),
  }
}

function trialFrom(row: Row): AccountTrial | null {
  if (row.pause_kind !== null || row.pause_since === null) return null
  return { since: Number(row.pause_since), probes: Number(row.probes), resumedAt: Number(row.probe_at) }
}

function passwordContext(tenantId: string, id: string): string {
  return `account:${tenantId}/${id}:password`
}

function oauth2Context(tenantId: string, id: string): string {
  return `account:${tenantId}/${id}:oauth2`
}

function imapPasswordContext(tenantId: string, id: string): string {
  return `account:${tenantId}/${id}:imap_password`
}

function flag(value: boolean | null): number | null {
  return value === null ? null : value ? 1 : 0
}

function boolOrNull(value: unknown): boolean | null {
  return value === null ? null : Number(value) === 1
}

function numberOrNull(value: unknown): number | null {
  return value === null ? null : Number(value)
}
