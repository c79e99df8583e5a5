/** The entries of a delivery report (spec section 5), built when the state changes and kept until acknowledged. */
import type { Priority, RecipientState } from '../messages/message.js'

export interface EntryBase {
  readonly id: string
  readonly tenantId: string
  readonly accountId: string
  readonly priority: Priority
  readonly attempts: number
  /** Only when they differ. */
  readonly recipients: readonly RecipientState[] | null
}

/** As posted: snake_case, instants in whole Unix seconds. */
export type ReportEntry = Readonly<Record<string, unknown>> & { readonly id: string }

export function sentEntry(base: EntryBase, sentAt: number): ReportEntry {
  return entry(base, { sent_ts: seconds(sentAt) })
}

/** Also of a cancelled message, whose code says so. */
export function errorEntry(base: EntryBase, errorAt: number, error: string, code: string | null): ReportEntry {
  return entry(base, { error_ts: seconds(errorAt), error, code })
}

/** `nextAt`: when it will be tried again. */
export function deferredEntry(base: EntryBase, nextAt: number, reason: string): ReportEntry {
  // Rounded up: a client that looks at this second must not find it too early.
  return entry(base, { deferred_ts: Math.ceil(nextAt / 1000), deferred_reason: reason })
}

export function inDoubtEntry(base: EntryBase, at: number): ReportEntry {
  return entry(base, { in_doubt_ts: seconds(at) })
}

function entry({ id, tenantId, accountId, priority, attempts, recipients }: EntryBase, what: object): ReportEntry {
  const common = { tenant_id: tenantId, account_id: accountId, priority, attempts }
  return recipients === null ? { id, ...what, ...common } : { id, ...what, ...common, recipients }
}

function seconds(at: number): number {
  return Math.floor(at / 1000)
}
