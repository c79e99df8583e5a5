/** A message as the API tells it, as far as commands look at it, and the words they share. */

export interface MessageRecord {
  readonly id: string
  readonly tenant_id: string
  readonly tenant_name?: string
  readonly account_id: string
  readonly status: string
  readonly priority: number
  readonly subject?: string
  readonly batch_code?: string
  readonly deferred_ts?: number
  readonly deferred_reason?: string
  readonly sent_ts?: number
  readonly error_ts?: number
  readonly error?: string
  readonly code?: string
  readonly reported_ts?: number
  readonly attempts: number
  readonly recipients?: readonly Recipient[]
  readonly created_at: string
  readonly message?: Submitted
}

export interface Recipient {
  readonly address: string
  readonly status: string
  readonly code: string | null
  readonly reply: string | null
}

export interface Submitted {
  readonly from?: string
  readonly to?: readonly string[]
  readonly cc?: readonly string[]
  readonly bcc?: readonly string[]
  readonly reply_to?: string
  readonly return_path?: string
  readonly message_id?: string
  readonly content_type?: string
  readonly body?: string
  readonly body_text?: string
  readonly body_html?: string
  readonly expires_ts?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly attachments?: readonly Attachment[]
}

export interface Attachment {
  readonly filename: string
  readonly fetch_mode: string
  readonly storage_path?: string
  readonly mime_type?: string
  readonly content_id?: string
}

/** What GET /messages/{id} adds. */
export interface WholeMessage extends MessageRecord {
  readonly waiting_for?: string | null
  readonly waiting_detail?: string
  readonly next_attempt_ts?: number | null
  readonly attempt_log?: readonly Attempt[]
  readonly history?: readonly HistoryEntry[]
}

export interface Attempt {
  readonly n?: number
  readonly started_ts?: number
  readonly duration_ms?: number
  readonly remote?: string | null
  readonly replies?: readonly { readonly address: string; readonly code: string | null; readonly text: string | null }[]
  readonly final?: { readonly code: string; readonly text: string } | null
  readonly error?: string | null
}

export interface HistoryEntry {
  readonly event_type: string
  readonly event_ts: number
  readonly description?: string
  readonly reported_ts?: number
}

export const PRIORITIES = ['immediate', 'high', 'medium', 'low'] as const
export const STATUSES = ['pending', 'deferred', 'sending', 'sent', 'error', 'cancelled', 'in_doubt'] as const

/** It is still to go, or to be decided by somebody. */
export function isOpen({ status }: Pick<MessageRecord, 'status'>): boolean {
  return status !== 'sent' && status !== 'error' && status !== 'cancelled'
}

export function messagePath(id: string): string {
  return `/messages/${encodeURIComponent(id)}`
}
