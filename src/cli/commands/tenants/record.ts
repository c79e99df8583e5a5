/** A tenant as the API tells it, as far as commands look at it, and the words they share. */
import type { Api } from '../../api.js'

export interface Tenant {
  readonly id: string
  readonly name?: string
  readonly active: boolean
  readonly client_base_url?: string
  readonly client_sync_path?: string
  readonly client_attachment_path?: string
  readonly client_auth?: { readonly method?: string; readonly user?: string }
  readonly rate_limits?: { readonly hourly?: number; readonly daily?: number }
  readonly large_file_config?: { readonly enabled?: boolean; readonly action?: string }
  readonly max_queued_messages?: number
  readonly suspended_batches?: readonly string[]
  readonly created_at: string
}

export function getTenant(api: Api, id: string): Promise<Tenant & { readonly ok: true }> {
  return api.call<Tenant & { readonly ok: true }>('GET', `/tenant/${encodeURIComponent(id)}`)
}

export function stateOf(tenant: Tenant): string {
  if (!tenant.active) return 'inactive'
  return tenant.suspended_batches?.includes('*') ? 'suspended' : 'active'
}

/** undefined: it has no endpoint of its own. */
export function reportsTo(tenant: Tenant): string | undefined {
  if (tenant.client_base_url === undefined) return undefined
  return `${tenant.client_base_url}${tenant.client_sync_path ?? '/mail-proxy/sync'}`
}
