/**
 * What the HTTP house needs from the rest of the service. The composition root (service.ts) supplies it; tests supply
 * a small one. Whatever blocks or may fail is a promise, the rest are facts of this process that cost nothing to ask.
 */
import type { Account } from '../accounts/account.js'
import type { LinkedPath } from '../attachments/offload/link.js'
import type { StoredFile } from '../attachments/stores/store.js'
import type { Config } from '../config.js'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { LoopProgress } from '../lib/loop.js'
import type { Sealer } from '../lib/sealer.js'
import type { Wake } from '../lib/wake.js'
import type { LimitUse } from '../limits/use.js'
import type { Accepted } from '../messages/accept.js'
import type { AccountBacklog } from '../queue/backlog.js'
import type { KeptContents } from '../queue/kept-contents.js'
import type { WorkerLease } from '../queue/lease.js'
import type { ReportBacklog } from '../reports/backlog.js'
import type { SyncTest } from '../reports/test-endpoint.js'
import type { KeyState } from '../sealing/rotate.js'
import type { Tenant } from '../tenants/tenant.js'
import type { Tracer } from '../tracing/tracer.js'
import type { KnownVolumes } from '../volumes/known.js'
import type { VolumeProblem } from '../volumes/volume.js'

export interface HttpDeps {
  readonly config: Config
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly sealer: Sealer
  readonly wake: Wake
  readonly tracer: Tracer
  readonly version: string
  /** When this process started, epoch ms. */
  readonly startedAt: number
  status(): ProcessStatus
  /** Database reachable, migrations applied, not draining. Never rejects. */
  ready(): Promise<Readiness>
  /** The Prometheus text exposition, version 0.0.4. */
  metricsText(): Promise<string>
  /** What became of a submission. */
  accepted(outcome: Pick<Accepted, 'queued' | 'rejected'>): void
  /** Free space of the database's disk as last measured; null where it cannot be told (a remote database). */
  freeDiskMb(): number | null
  /** When the account's rules let it send next, epoch ms; null: they do now; Infinity: never. */
  nextOpening(accountKey: number, now: number): number | null | Promise<number | null>
  /**
   * Connects and logs in as a delivery would, without a message. Never rejects for what the server answered, but with
   * too_many_requests when many tests of the tenant are under way.
   */
  probeAccount(account: Account): Promise<AccountTest>
  /** The loops of this process; touches no database. */
  loops(): readonly LoopProgress[]
  diagnostics(): Promise<Diagnostics>
  /** Calls the tenant's report endpoint with an empty report. Rejects as probeAccount does. */
  testSync(tenant: Tenant): Promise<SyncTest>
  /** Large files that were put out of their mails. */
  readonly files: LinkedFiles
  /** Contents that this process claims itself; absent or null: it keeps none. */
  readonly keptContents?: KeptContents | null
  readonly sealingKey: SealingKey
  /** Which volumes messages may name. */
  readonly knownVolumes: KnownVolumes
  /** A tenant was deleted: what this process keeps of it beside the database goes too. Never rejects. */
  tenantDeleted(id: string): Promise<void>
  /** Why a volume of this backend cannot work with this config; null: it can. */
  volumeProblem(backend: string, config: Readonly<Record<string, unknown>>, trusted: boolean): VolumeProblem | null
}

/** The key that seals secrets, and its change. */
export interface SealingKey {
  state(): Promise<KeyState>
  /** Begins the change to the newest key or goes on with it, for a moment. Rejects with command_failed. */
  rotate(): Promise<KeyState>
}

export interface LinkedFiles {
  isSigned(path: LinkedPath, signature: string): boolean
  /** null: there is none, or not any more. */
  find(id: string): Promise<LinkedFile | null>
}

export interface LinkedFile {
  /** As the link has it. */
  readonly pathName: string
  readonly filename: string
  readonly mimeType: string
  readonly sizeBytes: number
  /** Where the store itself hands it out until `expiresAt` (epoch ms) at most; null: it does not. Throws AttachmentFailure. */
  redirect(expiresAt: number): Promise<string | null>
  /** Throws AttachmentFailure. */
  open(signal: AbortSignal): Promise<StoredFile>
}

export interface ProcessStatus {
  /** The whole scheduler's switch (suspend and activate without tenant). */
  readonly schedulerActive: boolean
  /** Why nothing is sent before an operator releases the database; null: nothing is in the way. */
  readonly releaseNeeded: string | null
  /** True once a stop was asked for: nothing new is accepted. */
  readonly draining: boolean
}

export interface Readiness {
  readonly ok: boolean
  /** What is missing, in sentences without secrets. */
  readonly problems: readonly string[]
}

/** Instants in epoch ms. */
export interface Diagnostics {
  readonly now: number
  readonly database: {
    readonly dialect: string
    readonly roundTripMs: number
    /** How far the database's clock is ahead of this process's. */
    readonly aheadMs: number
  }
  readonly workers: readonly WorkerLease[]
  readonly backlog: readonly (AccountBacklog & {
    readonly limits: readonly LimitUse[]
    /** When the account's rules let it send next; null: they do now; Infinity: never. */
    readonly opensAt: number | null
  })[]
  readonly reports: readonly ReportBacklog[]
}

export interface AccountTest {
  readonly ok: boolean
  /** The SMTP conversation, secrets masked. */
  readonly conversation: readonly string[]
  readonly error?: string
}
