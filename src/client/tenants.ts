/** Tenants and their API keys; but for reading and changing one's own record, the admin's. Fields: docs/api.md#tenant-fields. */
import type { Call, CallOptions } from './call.js'
import type { HttpAuth } from './messages.js'

export interface LargeFileConfig {
  enabled?: boolean | null
  max_size_mb?: number | null
  storage_url?: string | null
  public_base_url?: string | null
  file_ttl_days?: number | null
  storage_config?: Record<string, unknown> | null
  action?: 'warn' | 'reject' | 'rewrite' | null
}

export interface TenantFields {
  name?: string | null
  client_auth?: HttpAuth | null
  client_base_url?: string | null
  client_sync_path?: string | null
  client_attachment_path?: string | null
  rate_limits?: { hourly?: number | null; daily?: number | null } | null
  large_file_config?: LargeFileConfig | null
  active?: boolean | null
  max_queued_messages?: number | null
  attachment_root?: string | null
  /** Up to two, each `whsec_` and base64 of 24 to 64 bytes; never shown. */
  signing_secrets?: readonly string[] | null
}

export interface TenantInput extends TenantFields {
  id: string
}

/** Secrets are `***`. */
export interface Tenant {
  id: string
  name?: string
  client_auth?: unknown
  client_base_url?: string
  client_sync_path?: string
  client_attachment_path?: string
  rate_limits?: unknown
  large_file_config?: unknown
  active: boolean
  max_queued_messages?: number
  attachment_root?: string
  suspended_batches?: string[]
  created_at: string
  updated_at: string
}

export interface SyncStatus {
  id: string
  name?: string
  active: boolean
  client_base_url?: string
  last_sync_ts?: number
  next_sync_due: boolean
  in_dnd: boolean
}

export interface SyncTest {
  /** It answered as one that acknowledges reports. */
  ok: boolean
  url?: string
  duration_ms: number
  error?: string
}

export interface KeyOptions extends CallOptions {
  /** Unix seconds at which the new key ends. */
  readonly expiresAt?: number
  /** For how long the keys before it go on working. 0. */
  readonly overlapSeconds?: number
}

export const tenantCalls = (call: Call) => {
  const at = (id: string) => `/tenant/${encodeURIComponent(id)}`

  return {
    /** A new tenant's API key, told this once; null for one that was there, whose fields given change. */
    async saveTenant(tenant: TenantInput, options?: CallOptions): Promise<{ apiKey: string | null }> {
      // A repeat would find the tenant there and answer no key.
      const answer = await call<{ api_key?: string }>(
        { method: 'POST', path: '/tenant', body: tenant, repeatable: false },
        options,
      )
      return { apiKey: answer.api_key ?? null }
    },

    async listTenants(filter: { activeOnly?: boolean } = {}, options?: CallOptions): Promise<Tenant[]> {
      const { tenants } = await call<{ tenants: Tenant[] }>(
        { method: 'GET', path: '/tenants', query: { active_only: filter.activeOnly }, repeatable: true },
        options,
      )
      return tenants
    },

    /** When each tenant's endpoint was last called, and whether it is due. */
    listSyncStatus: (options?: CallOptions): Promise<{ tenants: SyncStatus[]; sync_interval_seconds: number }> =>
      call({ method: 'GET', path: '/tenants/sync-status', repeatable: true }, options),

    getTenant: (id: string, options?: CallOptions): Promise<Tenant> =>
      call({ method: 'GET', path: at(id), repeatable: true }, options),

    /** Changes the fields given; null is not given. */
    async updateTenant(id: string, fields: TenantFields, options?: CallOptions): Promise<void> {
      await call({ method: 'PUT', path: at(id), body: fields, repeatable: true }, options)
    },

    /** Calls the tenant's report endpoint with an empty report and tells how it answered. */
    testSync: (id: string, options?: CallOptions): Promise<SyncTest> =>
      call({ method: 'POST', path: `${at(id)}/test-sync`, body: {}, repeatable: true, atLeastMs: 90_000 }, options),

    /** With its accounts, messages, rules and reports, also those still owed. */
    async deleteTenant(id: string, options?: CallOptions): Promise<void> {
      await call({ method: 'DELETE', path: at(id), repeatable: false }, options)
    },

    /** A new API key; those before it end at once, or after the overlap. */
    async createApiKey(id: string, { expiresAt, overlapSeconds, ...options }: KeyOptions = {}): Promise<string> {
      const body = { expires_at: expiresAt, overlap_seconds: overlapSeconds }
      // A repeat would leave a key in force that nobody was told.
      const answer = await call<{ api_key: string }>(
        { method: 'POST', path: `${at(id)}/api-key`, body, repeatable: false },
        options,
      )
      return answer.api_key
    },

    /** Ends all keys of the tenant. */
    async revokeApiKeys(id: string, options?: CallOptions): Promise<void> {
      await call({ method: 'DELETE', path: `${at(id)}/api-key`, repeatable: true }, options)
    },

    /** Ends all keys of the tenant but the one made last: what ends a rotation before its overlap does. */
    async revokeOldApiKeys(id: string, options?: CallOptions): Promise<void> {
      await call(
        { method: 'DELETE', path: `${at(id)}/api-key`, query: { keep_newest: true }, repeatable: true },
        options,
      )
    },
  }
}
