/** A tenant on the wire: what may be given and by whom, what comes back with its secrets masked. */

import type { Static } from 'typebox'
import { placeOf, problemOfLargeFiles } from '../attachments/offload/settings.js'
import { AppError } from '../lib/errors.js'
import { readHttpAuth } from '../lib/http-auth.js'
import { createNetworkGuard } from '../lib/network-guard.js'
import { signingKey } from '../lib/signing-secret.js'
import { urlOf } from '../lib/url.js'
import type { ClientAuthPatch, GivenSecret, TenantPatch } from '../tenants/change.js'
import { KEEP } from '../tenants/keep.js'
import type { LargeFileConfig, Tenant } from '../tenants/tenant.js'
import { MASK, maskQuery, maskSecrets } from './mask.js'
import { Flag, Given, Int, Line, Matching, NewId } from './schemas.js'
import { Type } from './type.js'
import { unlessMasked, wrongField } from './validate.js'
import { auditedConfig } from './volume-record.js'
import { isoTime, withoutNulls } from './wire-time.js'

const Auth = Type.Object({
  method: Given(Type.Union([Type.Literal('none'), Type.Literal('bearer'), Type.Literal('basic')])),
  token: Given(Line(4096)),
  user: Given(Line(1000)),
  password: Given(Line(4096)),
})

const closed = { additionalProperties: false }

/** '' is not set: old clients send all their fields. */
const LargeFiles = Type.Object(
  {
    enabled: Given(Flag),
    max_size_mb: Given(Type.Number({ exclusiveMinimum: 0, maximum: 1_000_000 })),
    storage_url: Given(
      Matching(
        '^(?:(?:s3|gs|az|file)://[^\\s\\u0000-\\u001f\\u007f-\\u009f]+)?$',
        'Input should be an s3://, gs://, az:// or file:// URL',
        {
          maxLength: 2000,
        },
      ),
    ),
    // Links in mails begin with it: nothing that would end it there, and what is added to it stays its path.
    public_base_url: Given(
      Matching(
        '^(?:https?://[^\\s\\u0000-\\u001f\\u007f-\\u009f"\'<>`{}|^\\\\?#@/]+(?:/[^\\s\\u0000-\\u001f\\u007f-\\u009f"\'<>`{}|^\\\\?#]*)?)?$',
        'Input should be an http:// or https:// URL without a user, query or fragment',
        { maxLength: 2000 },
      ),
    ),
    file_ttl_days: Given(Int(1, 36_500)),
    storage_config: Given(
      Type.Record(Type.String({ maxLength: 64 }), Type.Unknown(), {
        description: 'Credentials and the like of the store; the bucket stands in storage_url',
      }),
    ),
    action: Given(Type.Union([Type.Literal('warn'), Type.Literal('reject'), Type.Literal('rewrite')])),
    lifespan_after_download_days: Type.Optional(Type.Unknown({ description: 'Of old clients; ignored' })),
  },
  closed,
)

const fields = {
  name: Given(Line(255)),
  client_auth: Given(Auth),
  client_base_url: Given(Line(2000)),
  client_sync_path: Given(Line(1000)),
  client_attachment_path: Given(Line(1000)),
  rate_limits: Given(
    Type.Object({ hourly: Given(Int(0, 1_000_000_000)), daily: Given(Int(0, 1_000_000_000)) }, closed),
  ),
  large_file_config: Given(LargeFiles),
  active: Given(Flag),
  max_queued_messages: Given(Int(0)),
  attachment_root: Given(Line(4096)),
  signing_secrets: Given(Type.Array(Line(1000), { maxItems: 2, description: 'Standard Webhooks secrets; write-only' })),
}

export const TenantPayload = Type.Object({ id: NewId, ...fields }, { title: 'Tenant' })
export const TenantUpdate = Type.Object(fields, { title: 'TenantUpdate' })
export type TenantFields = Static<typeof TenantUpdate>

export const TenantInfo = Type.Object(
  {
    id: Type.String(),
    name: Type.Optional(Type.String()),
    client_auth: Type.Optional(Type.Unknown()),
    client_base_url: Type.Optional(Type.String()),
    client_sync_path: Type.Optional(Type.String()),
    client_attachment_path: Type.Optional(Type.String()),
    rate_limits: Type.Optional(Type.Unknown()),
    large_file_config: Type.Optional(Type.Unknown()),
    active: Type.Boolean(),
    max_queued_messages: Type.Optional(Type.Integer()),
    attachment_root: Type.Optional(Type.String()),
    suspended_batches: Type.Optional(Type.Array(Type.String())),
    created_at: Type.String(),
    updated_at: Type.String(),
  },
  { title: 'TenantInfo' },
)

export function tenantInfo(tenant: Tenant): Static<typeof TenantInfo> {
  const { rateHourly: hourly, rateDaily: daily, suspendedBatches } = tenant
  return withoutNulls({
    id: tenant.id,
    name: tenant.name,
    client_auth: maskSecrets(tenant.clientAuth),
    client_base_url: tenant.clientBaseUrl,
    client_sync_path: maskQuery(tenant.clientSyncPath),
    client_attachment_path: maskQuery(tenant.clientAttachmentPath),
    rate_limits: hourly === null && daily === null ? null : withoutNulls({ hourly, daily }),
    large_file_config: maskSecrets(tenant.largeFileConfig),
    active: tenant.active,
    max_queued_messages: tenant.maxQueuedMessages,
    attachment_root: tenant.attachmentRoot,
    suspended_batches: suspendedBatches.length === 0 ? null : [...suspendedBatches],
    created_at: isoTime(tenant.createdAt),
    updated_at: isoTime(tenant.updatedAt),
  }) as Static<typeof TenantInfo>
}

/**
 * null sets a field back, a masked secret keeps the one there is. `stored`: the record there is. Throws 422 for what cannot
 * work.
 */
export function tenantPatch(given: TenantFields, stored: Tenant | null): TenantPatch {
  const { rate_limits: rates, signing_secrets: secrets } = given
  return {
    name: given.name,
    active: given.active === null ? true : given.active,
    clientBaseUrl: httpUrl(given.client_base_url),
    clientSyncPath: path('client_sync_path', given.client_sync_path, stored?.clientSyncPath),
    clientAttachmentPath: path('client_attachment_path', given.client_attachment_path, stored?.clientAttachmentPath),
    clientAuth: given.client_auth == null ? given.client_auth : clientAuth(given.client_auth),
    largeFileConfig: largeFileConfig(given.large_file_config),
    rateHourly: rates == null ? rates : noZero(rates.hourly),
    rateDaily: rates == null ? rates : noZero(rates.daily),
    maxQueuedMessages: given.max_queued_messages === 0 ? null : given.max_queued_messages,
    attachmentRoot: given.attachment_root,
    signingSecrets: secrets === null ? [] : secrets?.map(signingSecret),
  }
}

/** Fields of the record that are the admin's, with their names on the wire. */
const RESERVED = [
  ['active', 'active'],
  ['rateHourly', 'rate_limits'],
  ['rateDaily', 'rate_limits'],
  ['maxQueuedMessages', 'max_queued_messages'],
  ['attachmentRoot', 'attachment_root'],
] as const

/** What a tenant's own key may change (spec section 2); naming the rest with the value it has is no change. */
export function refuseForeignFields(patch: TenantPatch, before: Tenant): void {
  const differs = RESERVED.filter(([field]) => patch[field] !== undefined && patch[field] !== before[field])
  if (differs.length > 0) {
    const names = [...new Set(differs.map(([, name]) => name))]
    throw new AppError('forbidden', `Admin token required to change ${names.join(', ')}`, {
      details: { admin_fields: names },
    })
  }
}

/** As PUT has it: null is not given. */
export function withoutGivenNulls(given: TenantFields): TenantFields {
  return withoutNulls(given) as TenantFields
}

function largeFileConfig(given: TenantFields['large_file_config']): TenantPatch['largeFileConfig'] {
  if (given == null) return given
  const { lifespan_after_download_days: _, ...config } = given
  const { storage_config: store, public_base_url: base } = config
  if (base != null && base !== '' && urlOf(base) === null) {
    throw wrongField('large_file_config.public_base_url', 'Input should be an http:// or https:// URL')
  }
  if (store == null) return config
  if (JSON.stringify(store).length > MOST_STORE_CONFIG) {
    throw wrongField('large_file_config.storage_config', `should have at most ${MOST_STORE_CONFIG} characters`)
  }
  return { ...config, storage_config: masksKept(store) }
}

const MOST_STORE_CONFIG = 64 * 1024

function masksKept(value: unknown): unknown {
  if (value === MASK) return KEEP
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, masksKept(each)]))
}

/** What the command log says of a large_file_config: of what its store does not know nothing but the name. */
export function auditedLargeFiles(given: NonNullable<TenantFields['large_file_config']>): Record<string, unknown> {
  const place = placeOf(given)
  const backend = typeof place === 'string' ? '' : place.backend
  return {
    ...given,
    storage_config: given.storage_config == null ? null : auditedConfig(backend, given.storage_config),
  }
}

/** For the store of tenants, which judges a config by whoever set its store. */
export function largeFilesProblem(config: LargeFileConfig, trusted: boolean): string | null {
  return problemOfLargeFiles(config, { guard: trusted ? null : ANY_GUARD })
}

/** Only that there is one counts here; which addresses it lets through is seen when the store is used. */
const ANY_GUARD = createNetworkGuard({ allowPrivate: false, allowed: [] })

function clientAuth(given: Static<typeof Auth>): ClientAuthPatch {
  const read = readHttpAuth(given)
  if (!read.ok) throw wrongField(`client_auth.${read.field}`, read.problem)
  const { auth } = read
  if (auth.method === 'bearer' && auth.token === MASK) return { ...auth, token: KEEP }
  if (auth.method === 'basic' && auth.password === MASK) return { ...auth, password: KEEP }
  return auth
}

function signingSecret(given: string, index: number): GivenSecret {
  if (given === MASK) return KEEP
  if (signingKey(given) === null) {
    throw wrongField(`signing_secrets.${index}`, 'Input should be whsec_ and base64 of 24 to 64 random bytes')
  }
  return given
}

function httpUrl(given: string | null | undefined): string | null | undefined {
  if (given == null) return given
  if (given === '') return null
  const url = urlOf(given)
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw wrongField('client_base_url', 'Input should be an http:// or https:// URL', 'url_parsing')
  }
  if (url.username !== '' || url.password !== '')
    throw wrongField('client_base_url', 'credentials belong into client_auth')
  if (url.search !== '' || url.hash !== '')
    throw wrongField('client_base_url', 'a query or fragment cannot be extended by a path')
  return given
}

/** Would lead out of the base URL's own path (RFC 3986 §5.2.4); parsers read %2e as a dot. */
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i

/** A path is appended to the base URL: anything else could turn into another host (`@evil`, `.evil`, `:1`). */
function path(
  field: string,
  given: string | null | undefined,
  stored: string | null = null,
): string | null | undefined {
  if (given == null) return given
  if (given === '') return null
  if (unlessMasked(field, given, stored) === undefined) return undefined
  // As a URL parser reads it, which takes a backslash for a slash.
  if (!given.startsWith('/') || /[\s\\]/.test(given)) {
    throw wrongField(field, 'Input should be a path that starts with /, without spaces and backslashes')
  }
  if (DOT_SEGMENT.test(given.split(/[?#]/, 1)[0]!))
    throw wrongField(field, 'a path must not have the segments . and ..')
  return given
}

function noZero(value: number | null | undefined): number | null | undefined {
  return value === 0 ? null : value
}
