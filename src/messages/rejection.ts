/** Why a submitted message is not taken: the code for a program, the sentence for a person. */
import type { EnqueueAnswer } from '../queue/enqueue.js'
import type { RefusalCode } from './fields.js'
import type { Destination } from './resolve.js'

export type RejectionCode =
  | RefusalCode
  | 'attachment_source_unavailable'
  | 'volume_not_found'
  | 'unauthorized'
  | 'tenant_not_found'
  | 'tenant_inactive'
  | 'account_not_found'
  | 'already_sent'
  | 'in_progress'
  | 'quota_exceeded'

export interface Rejection {
  /** Place among the request's messages, from 0: what names a message that has no id. */
  readonly index: number
  readonly id: string | null
  /** A sentence for a person. */
  readonly reason: string
  readonly code: RejectionCode
  readonly field?: string
}

/** Of a rejection, beside which message it is. */
type Words = Omit<Rejection, 'index' | 'id'>

export const FOREIGN: Words = {
  reason: 'Token not authorized for this tenant',
  code: 'unauthorized',
  field: 'tenant_id',
}

/** null: it may go there. */
export function refusalOf(destination: Destination | null, accountId: string | null): Words | null {
  if (destination === null) return { reason: 'tenant not found', code: 'tenant_not_found', field: 'tenant_id' }
  if (!destination.active) return { reason: 'tenant is inactive', code: 'tenant_inactive', field: 'tenant_id' }
  if (destination.account !== null) return null
  return { reason: sayAccount(destination, accountId), code: 'account_not_found', field: 'account_id' }
}

/** Begins in the predecessor's words where there were such. */
function sayAccount({ tenantId, hasAccounts }: Destination, accountId: string | null): string {
  if (accountId !== null) return `account not found for tenant: '${accountId}'`
  return hasAccounts
    ? "name account_id or set is_default on one of the tenant's accounts"
    : `account not found for tenant: '${tenantId}' has none`
}

/** `most`: how many messages its tenant may have waiting. */
export function sayAnswer(answer: Exclude<EnqueueAnswer, 'queued'>, most: number | null): Words {
  switch (answer) {
    case 'already_sent':
      return { reason: 'already sent', code: 'already_sent' }
    case 'in_progress':
      return { reason: 'being sent right now', code: 'in_progress' }
    case 'quota_exceeded':
      return { reason: `quota exceeded: at most ${most} messages may wait`, code: 'quota_exceeded' }
    default:
      return answer satisfies never
  }
}
