/**
 * The entries of a delivery report (spec section 5): built when the state changes, stored in the outbox, posted
 * unchanged until acknowledged. Pure: instants come in as epoch ms and leave as whole Unix seconds.
 */
import type { Row } from '../db/db.js'
import type { Priority, RecipientState } from '../messages/message.js'
import { differ } from './recipients.js'

/** What every entry tells of its message. */
export interface EntryBase {
  readonly id: string
  readonly tenantId: string
  readonly accountId: string
  readonly priority: Priority
  readonly attempts: number
  /** All of them, or null; they enter the report only when they differ. */
  readonly recipients: readonly RecipientState[] | null
}

/** Of a row of `messages` with the columns that are named here. */
export function entryBase(row: Row, recipients: EntryBase['recipients'] = null): EntryBase {
  return {
    id: row.id as string,
    tenantId: row.tenant_id as string,
    accountId: row.account_id as string,
    priority: Number(row.priority) as Priority,
    attempts: Number(row.attempts),
    recipients,
  }
}

interface CommonFields {
  readonly id: string
  readonly tenant_id: string
  readonly account_id: string
  readonly priority: Priority
  readonly attempts: number
  readonly recipients?: readonly RecipientState[]
}

type SentEntry = CommonFields & { readonly sent_ts: number }
/** Errors and cancellations alike; `code` tells them apart. */
type ErrorEntry = CommonFields & {
  readonly error_ts: number
  readonly error: string
  readonly code: string | null
  /** An attempt ended in doubt: some server may have the message all the same. */
  readonly in_doubt?: true
}
/** `deferred_ts` is the time of the next attempt. */
type DeferredEntry = CommonFields & { readonly deferred_ts: number; readonly deferred_reason: string }
type InDoubtEntry = CommonFields & { readonly in_doubt_ts: number }
export type ReportEntry = SentEntry | ErrorEntry | DeferredEntry | InDoubtEntry

/** `sentAt`: the last acceptance. */
export function sentEntry(base: EntryBase, sentAt: number): SentEntry {
  return { id: base.id, sent_ts: seconds(sentAt), ...common(base) }
}

/** Also of a cancelled message, whose code says so. */
export function errorEntry(
  base: EntryBase,
  errorAt: number,
  error: string,
  code: string | null,
  inDoubt = false,
): ErrorEntry {
  return {
    id: base.id,
    error_ts: seconds(errorAt),
    error,
    code,
    ...(inDoubt ? { in_doubt: true } : {}),
    ...common(base),
  }
}

/** `nextAt`: when it will be tried again. `reason`: the server's words or ours. */
export function deferredEntry(base: EntryBase, nextAt: number, reason: string): DeferredEntry {
  // Rounded up: a client that looks at this second must not find it too early.
  return { id: base.id, deferred_ts: Math.ceil(nextAt / 1000), deferred_reason: reason, ...common(base) }
}

/** `at`: when it was found that a server may or may not have taken the message. */
export function inDoubtEntry(base: EntryBase, at: number): InDoubtEntry {
  return { id: base.id, in_doubt_ts: seconds(at), ...common(base) }
}

/** A thousand refused recipients with a server's longest words each would make an entry of a megabyte. */
const MAX_REPLY_CHARACTERS = 500

function common({ tenantId, accountId, priority, attempts, recipients }: EntryBase): Omit<CommonFields, 'id'> {
  const fields = { tenant_id: tenantId, account_id: accountId, priority, attempts }
  if (recipients === null || !differ(recipients)) return fields
  return {
    ...fields,
    recipients: recipients.map(({ address, status, code, reply }) => ({
      address,
      status,
      code,
      // Not between the halves of a character beyond the first plane.
      reply: reply === null ? null : reply.slice(0, MAX_REPLY_CHARACTERS).replace(/[\ud800-\udbff]$/, ''),
    })),
  }
}

function seconds(at: number): number {
  return Math.floor(at / 1000)
}
