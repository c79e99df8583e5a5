/** Delivery reports: what an entry says (docs/reports.md), and the entries again, for an application that lost data. */
import type { Call, CallOptions } from './call.js'
import type { RecipientState } from './messages.js'
import { pagesOf } from './pages.js'

/** One of `sent_ts`, `error_ts`, `deferred_ts` and `in_doubt_ts` is there; an entry with none is of a later version. */
export interface ReportEntry {
  id: string
  tenant_id: string
  account_id: string
  priority: number
  attempts: number
  /** Final: a server took responsibility for at least one recipient. Unix seconds. */
  sent_ts?: number
  /** Final: no recipient was accepted, or it was cancelled. */
  error_ts?: number
  error?: string
  code?: string | null
  /** It waits until then. */
  deferred_ts?: number
  deferred_reason?: string | null
  /** A server may or may not have taken it. */
  in_doubt_ts?: number
  /** Only when they differ. */
  recipients?: RecipientState[]
}

/** What the application answers to a report. */
export interface ReportAnswer {
  /** Ids whose entries shall come again; all others are acknowledged. */
  error?: string[]
  /** Ids the application does not know; they count as acknowledged. */
  not_found?: string[]
  /** Above 0: it wants to be called again at once. */
  queued?: number
  /** Do not disturb with idle calls until then: Unix seconds. */
  next_sync_after?: number | null
}

export interface ReportsPage {
  reports: ReportEntry[]
  /** Where to go on, on another day too. */
  cursor: string
}

export interface ReplayOptions extends CallOptions {
  /** `cursor` of an earlier page; left out: from the oldest that is kept. */
  readonly after?: string
  /** Entries a page, up to 1,000. 500. */
  readonly limit?: number
}

export const reportCalls = (call: Call) => ({
  /** The report entries again, oldest first, in pages: store a page's cursor once its entries are taken in. */
  async *replayReports({ after, limit, ...options }: ReplayOptions = {}): AsyncGenerator<ReportsPage, void, undefined> {
    type Page = ReportsPage & { next_cursor: string | null }
    const list = { path: '/reports', query: { after, limit }, field: 'reports', cursor: 'after' } as const
    for await (const { reports, cursor } of pagesOf<Page, 'reports'>(call, list, options)) yield { reports, cursor }
  },
})
