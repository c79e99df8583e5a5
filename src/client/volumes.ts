/** Volumes: named stores of files for attachments. Fields: docs/api.md#volume-fields. */
import type { Call, CallOptions } from './call.js'

export interface VolumeInput {
  name: string
  backend: 's3' | 'gcs' | 'azure' | 'http' | 'webdav' | 'local'
  config: Record<string, unknown>
  account_id?: string | null
  tenant_id?: string | null
}

export interface Volume {
  id: number
  name: string
  backend: string
  /** Secrets are `***`; none for a tenant that is shown a shared volume. */
  config?: Record<string, unknown>
  tenant_id?: string
  account_id?: string
}

export interface VolumeListed extends Volume {
  created_at: string
  updated_at: string
}

export interface VolumeOptions extends CallOptions {
  /** That account's volumes. */
  readonly accountId?: string
}

export const volumeCalls = (call: Call, tenantId: string | undefined) => {
  const at = (name: string) => `/volume/${encodeURIComponent(name)}`

  return {
    /** Creates the volume of this name and owner, or replaces it as a whole. */
    async saveVolume(volume: VolumeInput, options: CallOptions = {}): Promise<void> {
      const body = { ...volume, tenant_id: volume.tenant_id ?? options.tenantId ?? tenantId }
      await call({ method: 'POST', path: '/volume', body, repeatable: true }, options)
    },

    /** A tenant's own and the shared ones. */
    async listVolumes({ accountId, ...options }: VolumeOptions = {}): Promise<VolumeListed[]> {
      const { volumes } = await call<{ volumes: VolumeListed[] }>(
        { method: 'GET', path: '/volumes', query: { account_id: accountId }, repeatable: true, scoped: true },
        options,
      )
      return volumes
    },

    /** The volume that a message would use. */
    getVolume: (name: string, { accountId, ...options }: VolumeOptions = {}): Promise<Volume> =>
      call(
        { method: 'GET', path: at(name), query: { account_id: accountId }, repeatable: true, scoped: true },
        options,
      ),

    async deleteVolume(name: string, { accountId, ...options }: VolumeOptions = {}): Promise<void> {
      const query = { account_id: accountId }
      await call({ method: 'DELETE', path: at(name), query, repeatable: false, scoped: true }, options)
    },
  }
}
