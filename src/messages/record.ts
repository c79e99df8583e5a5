/** The border between stored rows and the wire's message record (spec section 2). Secrets and base64 stay behind. */
import type { Row } from '../db/db.js'
import type { AttachmentRef, Content, RecipientState } from './message.js'
import { pkOf } from './pk.js'

/** What a record is made of; join tenants t and accounts a (both left). */
export const RECORD_COLUMNS = `m.seq, m.tenant_id, t.name as tenant_name, m.id, m.account_id, m.status, m.priority,
  m.batch_code, m.expires_at, m.attempts, m.deferred_ts, m.deferred_reason, m.sent_at, m.error_at, m.error, m.code,
  m.recipients, m.reported_at, m.created_at, m.updated_at, a.is_pec_account`

export const RECORD_TABLES = `messages m left join tenants t on t.id = m.tenant_id
  left join accounts a on a.key = m.account_key`

export type StoredContent = Content

/** Instants in Unix seconds, created_at and updated_at in ISO 8601 UTC. Absent values are left out. */
export interface MessageRecord {
  pk: string
  id: string
  tenant_id: string
  tenant_name?: string
  account_id: string
  status: string
  priority: number
  subject?: string
  batch_code?: string
  deferred_ts?: number
  deferred_reason?: string
  sent_ts?: number
  error_ts?: number
  error?: string
  code?: string
  reported_ts?: number
  attempts: number
  recipients?: RecipientState[]
  is_pec: boolean
  created_at: string
  updated_at: string
  message?: Record<string, unknown>
  message_omitted?: boolean
}

/** null content: not read, because it is long; the record says so. `subject` is then what was read of it. */
export function toRecord(row: Row, content: StoredContent | null, subject?: string): MessageRecord {
  const seq = Number(row.seq)
  const createdAt = Number(row.created_at)
  return {
    pk: pkOf(createdAt, seq),
    id: row.id as string,
    tenant_id: row.tenant_id as string,
    tenant_name: textOf(row.tenant_name),
    account_id: row.account_id as string,
    status: row.status as string,
    priority: Number(row.priority),
    subject: content?.subject ?? subject,
    batch_code: textOf(row.batch_code),
    // Rounded up, like in reports: never too early for who looks at this second.
    deferred_ts: row.deferred_ts === null ? undefined : Math.ceil(Number(row.deferred_ts) / 1000),
    deferred_reason: textOf(row.deferred_reason),
    // Kept from the first acceptance on, told once no recipient is open.
    sent_ts: row.status === 'sent' ? secondsOf(row.sent_at) : undefined,
    error_ts: secondsOf(row.error_at),
    error: textOf(row.error),
    code: textOf(row.code),
    reported_ts: secondsOf(row.reported_at),
    attempts: Number(row.attempts),
    recipients: row.recipients === null ? undefined : (JSON.parse(row.recipients as string) as RecipientState[]),
    is_pec: Number(row.is_pec_account ?? 0) === 1,
    created_at: isoOf(createdAt),
    updated_at: isoOf(Number(row.updated_at)),
    message: content === null ? undefined : submittedOf(row, content),
    message_omitted: content === null ? true : undefined,
  }
}

/** The message as it was submitted, normalised; base64 content left out, credentials masked. */
function submittedOf(row: Row, content: StoredContent): Record<string, unknown> {
  return {
    id: row.id,
    tenant_id: row.tenant_id,
    account_id: row.account_id,
    from: content.from,
    to: content.to,
    cc: content.cc,
    bcc: content.bcc,
    reply_to: content.replyTo,
    return_path: content.returnPath,
    subject: content.subject,
    content_type: content.contentType,
    body: content.body,
    body_text: content.bodyText,
    body_html: content.bodyHtml,
    headers: content.headers,
    message_id: content.messageId,
    attachments: content.attachments?.map(attachmentOf),
    priority: Number(row.priority),
    expires_ts: secondsOf(row.expires_at),
    batch_code: row.batch_code ?? undefined,
    keep_conversation: content.keepConversation,
  }
}

function attachmentOf(attachment: AttachmentRef): Record<string, unknown> {
  const { filename, fetchMode, storagePath, mimeType, contentMd5, contentId, auth } = attachment
  return {
    filename,
    fetch_mode: fetchMode,
    storage_path: fetchMode === 'base64' ? undefined : storagePath,
    mime_type: mimeType,
    content_md5: contentMd5,
    content_id: contentId,
    auth: auth === undefined ? undefined : '***',
  }
}

export function secondsOf(at: unknown): number | undefined {
  return at === null || at === undefined ? undefined : Math.floor(Number(at) / 1000)
}

function textOf(value: unknown): string | undefined {
  return (value as string | null) ?? undefined
}

function isoOf(at: number): string {
  return new Date(at).toISOString()
}
