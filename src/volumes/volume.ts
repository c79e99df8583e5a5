/** A volume: a named attachment store, `name:path`, shared or one tenant's or one account's. */
import type { Backend } from '../attachments/stores/store.js'

/** Why a volume cannot work. */
export interface VolumeProblem {
  readonly field: 'backend' | 'config'
  /** Names the key at fault and repeats no value: some are secrets. */
  readonly sentence: string
}

export interface Volume {
  readonly key: number
  /** null: shared by all tenants. */
  readonly tenantId: string | null
  /** null: all accounts of its tenant. */
  readonly accountId: string | null
  readonly name: string
  readonly backend: Backend
  /** As given, secrets open; sealed as a whole where it is stored. Never leaves the process unmasked. */
  readonly config: Readonly<Record<string, unknown>>
  /** False: set with a tenant's key. Then no local files, no credentials of the machine, and the network guard judges. */
  readonly trusted: boolean
  /** Stands in config.ini; kept in step with it at each start. */
  readonly fromConfig: boolean
  readonly createdAt: number
  readonly updatedAt: number
}
