/**
 * The entries of a delivery report (spec section 5), as they are stored in the outbox and later posted unchanged.
 * Pure: instants come in as epoch ms and leave as Unix seconds; the caller stores `JSON.stringify(entry)`.
 */
import type { Priority, RecipientState } from '../messages/message.js'

/** What every entry tells of its message. */
export interface ReportSubject {
  readonly id: string
  readonly tenantId: string
  readonly accountId: string
  readonly priority: Priority
  readonly attempts: number
  /** All recipients; they enter the report only when they ended differently. */
  readonly recipients?: readonly RecipientState[] | null
}

interface CommonFields {
  readonly id: string
  readonly tenant_id: string
  readonly account_id: string
  readonly priority: Priority
  readonly attempts: number
  readonly recipients?: readonly RecipientState[]
}

export type SentEntry = CommonFields & { readonly sent_ts: number }
/** Errors and cancellations alike; `code` tells them apart. */
export type ErrorEntry = CommonFields & {
  readonly error_ts: number
  readonly error: string
  readonly code: string | null
}
/** `deferred_ts` is the time of the next attempt. */
export type DeferredEntry = CommonFields & { readonly deferred_ts: number; readonly deferred_reason: string | null }
export type InDoubtEntry = CommonFields & { readonly in_doubt_ts: number }
export type ReportEntry = SentEntry | ErrorEntry | DeferredEntry | InDoubtEntry

/** A message whose last acceptance was at `sentAt` (epoch ms). */
export function sentEntry(subject: ReportSubject, sentAt: number): SentEntry {
  return { id: subject.id, sent_ts: unixSeconds(sentAt), ...common(subject) }
}

/** A message that ended without any acceptance at `errorAt` (epoch ms), or was cancelled then. */
export function errorEntry(
  subject: ReportSubject,
  errorAt: number,
  failure: { readonly error: string; readonly code: string | null },
): ErrorEntry {
  return {
    id: subject.id,
    error_ts: unixSeconds(errorAt),
    error: failure.error,
    code: failure.code,
    ...common(subject),
  }
}

/** A message that waits until `dueAt` (epoch ms), with the server's words or ours. */
export function deferredEntry(subject: ReportSubject, dueAt: number, reason: string | null): DeferredEntry {
  return { id: subject.id, deferred_ts: unixSeconds(dueAt), deferred_reason: reason, ...common(subject) }
}

/** A message found at `foundAt` (epoch ms) to have lost its process between the final dot and the reply. */
export function inDoubtEntry(subject: ReportSubject, foundAt: number): InDoubtEntry {
  return { id: subject.id, in_doubt_ts: unixSeconds(foundAt), ...common(subject) }
}

function common({ tenantId, accountId, priority, attempts, recipients }: ReportSubject): Omit<CommonFields, 'id'> {
  const fields = { tenant_id: tenantId, account_id: accountId, priority, attempts }
  if (recipients == null || !differ(recipients)) return fields
  return {
    ...fields,
    recipients: recipients.map(({ address, status, code, reply }) => ({
      address,
      status,
      code,
      reply: reply === null ? null : reply.slice(0, MAX_REPLY_CHARACTERS),
    })),
  }
}

/** A thousand refused recipients with a server's longest words each would make an entry of a megabyte. */
const MAX_REPLY_CHARACTERS = 500

/** Acceptances that differ only in the server's words (a queue id each) are the same outcome. */
function differ([first, ...others]: readonly RecipientState[]): boolean {
  if (first === undefined) return false
  return others.some(
    other =>
      other.status !== first.status ||
      other.code !== first.code ||
      (other.status !== 'accepted' && other.reply !== first.reply),
  )
}

function unixSeconds(epochMs: number): number {
  return Math.floor(epochMs / 1000)
}
