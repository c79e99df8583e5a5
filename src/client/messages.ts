/** Messages: submitting, listing, looking at one, and what an operator may do to one. Fields are the wire's (docs/api.md). */
import type { Call, CallOptions } from './call.js'
import { pagesOf } from './pages.js'
import { type Submission, type SubmitOptions, submit } from './submit.js'

export type Priority = 0 | 1 | 2 | 3 | 'immediate' | 'high' | 'medium' | 'low'
export type MessageStatus = 'pending' | 'deferred' | 'sending' | 'sent' | 'error' | 'cancelled' | 'in_doubt'

export interface HttpAuth {
  method: 'none' | 'bearer' | 'basic'
  token?: string | null
  user?: string | null
  password?: string | null
}

export interface AttachmentInput {
  filename: string
  /** `base64:<content>`, a URL, a path or `volume:path`; see docs/attachments.md. */
  storage_path: string
  fetch_mode?: 'base64' | 'http_url' | 'endpoint' | 'filesystem' | 'volume' | null
  mime_type?: string | null
  content_md5?: string | null
  content_id?: string | null
  auth?: HttpAuth | null
}

export interface MessageInput {
  /** The idempotency key within the tenant. */
  id: string
  from: string
  to: string | readonly string[]
  subject: string
  tenant_id?: string | null
  account_id?: string | null
  cc?: string | readonly string[] | null
  bcc?: string | readonly string[] | null
  reply_to?: string | readonly string[] | null
  return_path?: string | null
  body?: string | null
  content_type?: 'plain' | 'html' | null
  body_text?: string | null
  body_html?: string | null
  headers?: Readonly<Record<string, unknown>> | null
  message_id?: string | null
  attachments?: readonly AttachmentInput[] | null
  priority?: Priority | null
  /** Unix seconds. */
  deferred_ts?: number | null
  /** Unix seconds. */
  expires_ts?: number | null
  batch_code?: string | null
  /** The SMTP conversation of each attempt is kept in its attempt_log. */
  keep_conversation?: boolean | null
}

export interface RecipientState {
  address: string
  status: 'open' | 'accepted' | 'refused'
  code: string | null
  reply: string | null
}

export interface HistoryEntry {
  event_id: number
  event_type: string
  event_ts: number
  description?: string
  metadata?: unknown
  reported_ts?: number
}

/** One SMTP attempt with the server's replies. */
export interface Attempt {
  n: number
  started_ts: number
  duration_ms: number
  remote: string | null
  replies: unknown[]
  final: unknown
  error: string | null
}

export interface MessageRecord {
  pk: string
  id: string
  tenant_id: string
  tenant_name?: string
  account_id: string
  status: MessageStatus
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
  /** Only when they differ. */
  recipients?: RecipientState[]
  is_pec: boolean
  created_at: string
  updated_at: string
  /** As submitted; base64 content left out, credentials masked. */
  message?: Record<string, unknown>
  /** Its content is too long for a list. */
  message_omitted?: boolean
  history?: HistoryEntry[]
  attempt_log?: Attempt[]
  waiting_for?: string | null
  next_attempt_ts?: number | null
  waiting_detail?: string
}

export interface MessageFilter {
  status?: MessageStatus
  account_id?: string
  batch_code?: string
  /** Those that have not ended. */
  active_only?: boolean
  include_history?: boolean
  /** Part of the id, the subject, the sender or a recipient. */
  q?: string
  /** By creation, Unix seconds; from, and before. */
  since?: number
  until?: number
  /** Messages a request, up to 1,000. */
  limit?: number
}

export interface DeletedMessages {
  removed: number
  not_found: string[]
  unauthorized: string[]
  in_progress: string[]
}

export interface OperatedMessage {
  id: string
  tenant_id: string
  status: string
}

/** Ids a request. */
const MOST_IDS = 10_000

export const messageCalls = (call: Call) => {
  const at = (id: string) => `/messages/${encodeURIComponent(id)}`
  // A repeat would be told that the message is not in a state for it any more, although the first did it.
  const operate = (id: string, verb: string, options?: CallOptions) =>
    call<OperatedMessage>(
      { method: 'POST', path: `${at(id)}/${verb}`, body: {}, repeatable: false, scoped: true },
      options,
    )

  return {
    /** Submits any number of messages; what it counts as queued is durable. Rejections are no failure: look at them. */
    addMessages: (messages: readonly MessageInput[], options?: SubmitOptions): Promise<Submission> =>
      submit(call, messages, options),

    /** One message with its recipients, attempts and history, and what it waits for. */
    getMessage: (id: string, options?: CallOptions): Promise<MessageRecord> =>
      call({ method: 'GET', path: at(id), repeatable: true, scoped: true }, options),

    /** Messages, newest first, page by page as they are read. */
    async *listMessages(
      filter: MessageFilter = {},
      options?: CallOptions,
    ): AsyncGenerator<MessageRecord, void, undefined> {
      type Page = { messages: MessageRecord[]; next_cursor: string | null }
      const list = { path: '/messages', query: { ...filter }, field: 'messages', cursor: 'cursor' } as const
      for await (const { messages } of pagesOf<Page, 'messages'>(call, list, options)) yield* messages
    },

    /** Removes messages; no report follows. After a repeat on the network's failure, ids that the first removed count as not found. */
    async deleteMessages(ids: readonly string[], options?: CallOptions): Promise<DeletedMessages> {
      const all: DeletedMessages = { removed: 0, not_found: [], unauthorized: [], in_progress: [] }
      for (let i = 0; i < ids.length; i += MOST_IDS) {
        const body = { ids: ids.slice(i, i + MOST_IDS) }
        const one: DeletedMessages = await call(
          { method: 'POST', path: '/commands/delete-messages', body, repeatable: true, scoped: true },
          options,
        )
        all.removed += one.removed
        for (const list of ['not_found', 'unauthorized', 'in_progress'] as const) all[list].push(...one[list])
      }
      return all
    },

    /** Removes ended messages that were reported longer ago than that; left out: the retention. */
    cleanupMessages: (olderThanSeconds?: number, options?: CallOptions): Promise<{ removed: number }> => {
      const body = { older_than_seconds: olderThanSeconds }
      return call({ method: 'POST', path: '/commands/cleanup-messages', body, repeatable: true, scoped: true }, options)
    },

    /** A failed or cancelled message that no server accepted starts anew. */
    retryMessage: (id: string, options?: CallOptions): Promise<OperatedMessage> => operate(id, 'retry', options),
    /** A waiting message is never sent. */
    cancelMessage: (id: string, options?: CallOptions): Promise<OperatedMessage> => operate(id, 'cancel', options),
    /** A message held in doubt is sent again, knowing that its server may have it already. */
    releaseMessage: (id: string, options?: CallOptions): Promise<OperatedMessage> => operate(id, 'release', options),
    /** A message held in doubt is given up. */
    discardMessage: (id: string, options?: CallOptions): Promise<OperatedMessage> => operate(id, 'discard', options),
  }
}
