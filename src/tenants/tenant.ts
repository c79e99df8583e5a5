/** A tenant: an organisation with its own accounts, messages, reports and API key. Secrets are open here only. */
import type { HttpAuth } from '../lib/http-auth.js'

export type ClientAuth = HttpAuth

/** Names as on the wire. */
export type LargeFileConfig = Readonly<Record<string, unknown>>

export interface Tenant {
  readonly id: string
  readonly name: string | null
  /** false: submission refused, the queue waits, reports still go. */
  readonly active: boolean
  readonly clientBaseUrl: string | null
  readonly clientSyncPath: string | null
  readonly clientAttachmentPath: string | null
  readonly clientAuth: ClientAuth | null
  /** True while an admin set client_base_url last: it may then be a private address (spec section 9). */
  readonly endpointTrusted: boolean
  /** As given; attachments/offload reads it. */
  readonly largeFileConfig: LargeFileConfig | null
  /** True while an admin set its storage_url and storage_config last: what the machine may reach, they may. */
  readonly largeFilesTrusted: boolean
  /** Transactions per sliding window over all the tenant's accounts; null: no limit. */
  readonly rateHourly: number | null
  readonly rateDaily: number | null
  readonly maxQueuedMessages: number | null
  readonly attachmentRoot: string | null
  /** Standard Webhooks secrets, up to two during rotation. */
  readonly signingSecrets: readonly string[]
  /** Batch codes that wait; ['*']: everything does. */
  readonly suspendedBatches: readonly string[]
  readonly createdAt: number
  readonly updatedAt: number
}
