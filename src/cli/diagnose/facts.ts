/** What a diagnosis knows, as the API and the machine told it. Times in Unix seconds unless the name says ms. */

import type { State } from '../running.js'

export interface Facts {
  readonly instance: string
  readonly warnings: readonly string[]
  readonly process: ProcessFacts
  readonly database: DatabaseFacts
  /** null: the service or its database could not be asked, and `unasked` says why. */
  readonly service: ServiceFacts | null
  readonly unasked: string | null
  readonly accountTests: readonly AccountTest[]
  readonly syncTests: readonly SyncTest[]
  /** False: nothing was connected to. */
  readonly isNetworkTested: boolean
}

export interface ProcessFacts {
  readonly state: State
  readonly pid: number | null
  readonly url: string | null
  /** Of the service that answers, and of this program. */
  readonly version: string | null
  readonly ownVersion: string
}

export interface DatabaseFacts {
  readonly shown: string
  readonly dialect: 'sqlite' | 'postgres'
  readonly exists: boolean
  /** Why it cannot be opened; null: it can, or does not exist yet. */
  readonly problem: string | null
  readonly schema: { readonly current: number; readonly latest: number } | null
  /** SQLite's quick_check: ['ok'], or what is wrong; null: not done, as for a large file. */
  readonly integrity: readonly string[] | null
  readonly sizeMb: number | null
  readonly walMb: number | null
  readonly freeMb: number | null
  readonly minFreeMb: number
}

export interface ServiceFacts {
  readonly status: Status
  readonly diagnostics: Diagnostics
  /** Empty for a process that does not run. */
  readonly loops: readonly LoopFacts[]
  readonly accounts: readonly Account[]
  readonly tenants: readonly Tenant[]
}

export interface Status {
  readonly scheduler_active: boolean
  readonly release_needed?: string
  readonly draining: boolean
  readonly pending_messages: number
  readonly version: string
}

export interface Diagnostics {
  readonly now_ts: number
  /** Loops run only on run-now. */
  readonly test_mode: boolean
  /** Tenants without an endpoint of their own report to one of the service. */
  readonly global_endpoint: boolean
  readonly database: { readonly round_trip_ms: number; readonly ahead_ms: number }
  readonly workers: readonly { readonly holder: string; readonly started_ts: number; readonly left_ms: number }[]
  readonly queue: readonly AccountQueue[]
  readonly reports: readonly TenantReports[]
}

export interface LoopFacts {
  readonly name: string
  readonly interval_ms: number
  readonly steps: number
  readonly idle_ms: number
  readonly running_ms: number | null
  readonly failures: number
  readonly last_error: string | null
}

export interface AccountQueue {
  readonly tenant_id: string
  readonly account_id: string
  readonly ready: number
  readonly ready_by_age: Readonly<Record<string, number>>
  readonly oldest_due_ts: number | null
  readonly waiting: number
  readonly next_due_ts: number | null
  readonly sending: number
  readonly orphaned: number
  readonly in_doubt: number
  readonly opens_ts: number | null
  readonly never_opens: boolean
  readonly limits: readonly {
    readonly of: string
    readonly window_seconds: number
    readonly limit: number
    readonly used: number
    readonly next_free_ts: number | null
  }[]
}

export interface TenantReports {
  readonly tenant_id: string
  readonly pending: number
  readonly oldest_ts: number
  readonly failures: number
  readonly retry_ts: number | null
  readonly last_sync_ts: number | null
}

export interface Account {
  readonly id: string
  readonly tenant_id: string
  readonly host: string
  readonly port: number
  readonly pause?: { readonly kind: string; readonly reason: string; readonly next_probe_ts?: number }
}

export interface Tenant {
  readonly id: string
  readonly active: boolean
  readonly client_base_url?: string
  readonly suspended_batches?: readonly string[]
}

export interface AccountTest {
  readonly tenant_id: string
  readonly account_id: string
  readonly ok: boolean
  readonly error: string | null
}

export interface SyncTest {
  readonly tenant_id: string
  readonly ok: boolean
  readonly url: string | null
  readonly error: string | null
  readonly duration_ms: number
}
