/** An account on the wire: what a client may give, what it gets back. Passwords only ever go in. */
import type { Static } from 'typebox'
import type { Account, AccountPause } from '../accounts/account.js'
import { ACCOUNT_DEFAULTS, type AccountPatch } from '../accounts/store.js'
import { MASK } from './mask.js'
import { OAuthInfo, OAuthPayload, oauthInfo, oauthPatch } from './oauth-record.js'
import { AnyId, Flag, Given, Int, Line, Matching, NewId, Nullable } from './schemas.js'
import { Type } from './type.js'
import { isoTime, unixSeconds, withoutNulls } from './wire-time.js'

const Host = Matching(
  '^[^\\s\\u0000-\\u001f\\u007f-\\u009f/@?#\\\\]+$',
  'Input should be the name or IP address of a server, without spaces, / @ ? # \\ and control characters',
  { minLength: 1, maxLength: 253, description: 'Name or IP address of the server' },
)
const Port = Int(1, 65_535)
const Limit = Given(Int(0, 1_000_000_000, { description: 'null or 0: no limit' }))

export const AccountPayload = Type.Object(
  {
    id: NewId,
    tenant_id: Given(AnyId),
    host: Given(Host),
    port: Given(Port),
    user: Given(Line(320)),
    password: Given(Line(4096)),
    auth_method: Given(Type.Union([Type.Literal('password'), Type.Literal('oauth2')])),
    oauth2: Given(OAuthPayload),
    use_tls: Given(Flag),
    tls_verify: Given(Flag),
    limit_per_minute: Limit,
    limit_per_hour: Limit,
    limit_per_day: Limit,
    limit_behavior: Given(Type.Union([Type.Literal('defer'), Type.Literal('error'), Type.Literal('reject')])),
    ttl: Given(Int(0, 86_400)),
    max_connections: Given(Int(1, 1000)),
    max_messages_per_connection: Given(Int(1, 1_000_000)),
    max_recipients_per_transaction: Given(Int(1, 100_000)),
    batch_size: Given(Int(0, 100_000)),
    is_default: Given(Flag),
    in_doubt: Given(Type.Union([Type.Literal('retry'), Type.Literal('hold')])),
    on_pause_timeout: Given(Type.Union([Type.Literal('error'), Type.Literal('hold')])),
    is_pec_account: Given(Flag),
    imap_host: Given(Host),
    imap_port: Given(Port),
    imap_user: Given(Line(320)),
    imap_password: Given(Line(4096)),
    imap_ssl: Given(Flag),
  },
  { title: 'Account' },
)

const Pause = Type.Object({
  kind: Type.String({ description: 'manual: an operator said so; failure: the server refused the account' }),
  since_ts: Type.Integer(),
  reason: Type.String({ description: "The server's words, or the operator's" }),
  code: Type.Optional(Type.String()),
  next_probe_ts: Type.Optional(Type.Integer()),
  probes: Type.Integer(),
})

export const AccountInfo = Type.Object(
  {
    id: Type.String(),
    tenant_id: Type.String(),
    host: Type.String(),
    port: Type.Integer(),
    user: Type.Optional(Type.String()),
    auth_method: Type.String(),
    oauth2: Type.Optional(OAuthInfo),
    use_tls: Type.Optional(Type.Boolean()),
    tls_verify: Type.Boolean(),
    limit_per_minute: Type.Optional(Type.Integer()),
    limit_per_hour: Type.Optional(Type.Integer()),
    limit_per_day: Type.Optional(Type.Integer()),
    limit_behavior: Type.String(),
    ttl: Type.Integer(),
    max_connections: Type.Integer(),
    max_messages_per_connection: Type.Integer(),
    max_recipients_per_transaction: Type.Integer(),
    batch_size: Type.Optional(Type.Integer()),
    is_default: Type.Boolean(),
    in_doubt: Type.String(),
    on_pause_timeout: Type.String(),
    is_pec_account: Type.Boolean(),
    imap_host: Type.Optional(Type.String()),
    imap_port: Type.Integer(),
    imap_user: Type.Optional(Type.String()),
    imap_ssl: Type.Optional(Type.Boolean()),
    paused: Type.Boolean(),
    pause: Type.Optional(Pause),
    created_at: Type.String(),
    updated_at: Type.String(),
  },
  { title: 'AccountInfo' },
)

/** null sets an optional field back, and the others to their default. `stored`: the record there is, if oauth2 is given. */
export function accountPatch(given: Static<typeof AccountPayload>, stored: Account | null): AccountPatch {
  const or = <T>(value: T | null | undefined, fallback: T): T | undefined => (value === null ? fallback : value)
  return {
    // A host cannot be taken away.
    host: given.host ?? undefined,
    port: or(given.port, ACCOUNT_DEFAULTS.port),
    user: given.user,
    password: given.password === MASK ? undefined : given.password,
    authMethod: or(given.auth_method, ACCOUNT_DEFAULTS.authMethod),
    oauth2: oauthPatch(given.oauth2, stored?.oauth2 ?? null),
    useTls: given.use_tls,
    tlsVerify: or(given.tls_verify, ACCOUNT_DEFAULTS.tlsVerify),
    limitPerMinute: noZero(given.limit_per_minute),
    limitPerHour: noZero(given.limit_per_hour),
    limitPerDay: noZero(given.limit_per_day),
    limitBehavior:
      given.limit_behavior === 'reject' ? 'error' : or(given.limit_behavior, ACCOUNT_DEFAULTS.limitBehavior),
    ttlSeconds: or(given.ttl, ACCOUNT_DEFAULTS.ttlSeconds),
    maxConnections: or(given.max_connections, ACCOUNT_DEFAULTS.maxConnections),
    maxMessagesPerConnection: or(given.max_messages_per_connection, ACCOUNT_DEFAULTS.maxMessagesPerConnection),
    maxRecipientsPerTransaction: or(given.max_recipients_per_transaction, ACCOUNT_DEFAULTS.maxRecipientsPerTransaction),
    batchSize: noZero(given.batch_size),
    isDefault: or(given.is_default, ACCOUNT_DEFAULTS.isDefault),
    inDoubt: or(given.in_doubt, ACCOUNT_DEFAULTS.inDoubt),
    onPauseTimeout: or(given.on_pause_timeout, ACCOUNT_DEFAULTS.onPauseTimeout),
    isPecAccount: or(given.is_pec_account, ACCOUNT_DEFAULTS.isPecAccount),
    imapHost: given.imap_host,
    imapPort: given.imap_port,
    imapUser: given.imap_user,
    imapPassword: given.imap_password === MASK ? undefined : given.imap_password,
    imapSsl: given.imap_ssl,
  }
}

export function accountInfo(account: Account): Static<typeof AccountInfo> {
  return withoutNulls({
    id: account.id,
    tenant_id: account.tenantId,
    host: account.host,
    port: account.port,
    user: account.user,
    auth_method: account.authMethod,
    oauth2: account.oauth2 === null ? null : oauthInfo(account.oauth2),
    use_tls: account.useTls,
    tls_verify: account.tlsVerify,
    limit_per_minute: account.limitPerMinute,
    limit_per_hour: account.limitPerHour,
    limit_per_day: account.limitPerDay,
    limit_behavior: account.limitBehavior,
    ttl: account.ttlSeconds,
    max_connections: account.maxConnections,
    max_messages_per_connection: account.maxMessagesPerConnection,
    max_recipients_per_transaction: account.maxRecipientsPerTransaction,
    batch_size: account.batchSize,
    is_default: account.isDefault,
    in_doubt: account.inDoubt,
    on_pause_timeout: account.onPauseTimeout,
    is_pec_account: account.isPecAccount,
    imap_host: account.imapHost,
    // The predecessor says 993 also where nothing was set.
    imap_port: account.imapPort ?? 993,
    imap_user: account.imapUser,
    imap_ssl: account.imapSsl,
    paused: account.pause !== null,
    pause: account.pause === null ? null : pauseInfo(account.pause),
    created_at: isoTime(account.createdAt),
    updated_at: isoTime(account.updatedAt),
  }) as Static<typeof AccountInfo>
}

export function pauseInfo(pause: AccountPause): Static<typeof Pause> {
  return withoutNulls({
    kind: pause.kind,
    since_ts: unixSeconds(pause.since),
    reason: pause.reason,
    code: pause.code,
    next_probe_ts: pause.probeAt === null ? null : unixSeconds(pause.probeAt),
    probes: pause.probes,
  }) as Static<typeof Pause>
}

export const PauseBody = Type.Object({ tenant_id: Given(AnyId), reason: Type.Optional(Nullable(Line(500))) })

function noZero(value: number | null | undefined): number | null | undefined {
  return value === 0 ? null : value
}
