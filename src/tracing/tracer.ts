/**
 * The Tracer port: what the service tells of a message's way, from the request that brought it, through the queue and the
 * SMTP transaction, to the report about it. Off it is NO_TRACING, which does nothing. What a span is called and says
 * stands in the adapter (otel.ts); addresses, subjects, bodies and servers' words are not told at all.
 */
import type { Account } from '../accounts/account.js'
import type { Claimed } from '../queue/claim.js'
import type { Outcome } from '../queue/outcome.js'

/** A span's place in its trace as a W3C `traceparent`: as it goes into headers, and is kept with the message. */
export type TraceContext = string

export interface Tracer {
  /** False: nobody looks, and what is only there for traces need not be done. */
  readonly isOn: boolean
  /** A request of the API begins. `parent`: its traceparent header; what is not one counts as none. */
  request(request: TracedRequest): RequestSpan
  /** A message leaves the queue for a transaction. `parent`: what came with the message. */
  attempt(claimed: Claimed, account: Account, parent: TraceContext | null): AttemptSpan
  /** A call to a tenant begins; `parents`: of its entries, null where there is none. */
  report(call: TracedReport, parents: readonly (TraceContext | null)[]): ReportSpan
  /** Hands over what was not yet; soon and whatever comes of it. */
  close(): Promise<void>
}

export interface TracedRequest {
  readonly method: string
  /** As registered, without what clients put into it. */
  readonly route: string
  readonly parent: string | undefined
}

export interface TracedReport {
  readonly tenantId: string
  readonly host: string | null
  readonly port: number | null
  readonly entries: number
}

export interface RequestSpan {
  readonly context: TraceContext | null
  /** `status` null: the client went away before its answer. */
  end(status: number | null): void
}

export interface AttemptSpan {
  readonly context: TraceContext | null
  end(outcome: Outcome): void
}

export interface ReportSpan {
  readonly context: TraceContext | null
  /** `status` null: there was no answer. `failed`: it did not acknowledge. */
  end(status: number | null, failed: boolean): void
}

export const NO_SPAN = { context: null, end() {} }

/** No objects are made and nothing is looked at: 2 ns a call, measured. */
export const NO_TRACING: Tracer = {
  isOn: false,
  request: () => NO_SPAN,
  attempt: () => NO_SPAN,
  report: () => NO_SPAN,
  async close() {},
}

/** The trace's id, for log lines. */
export function traceIdOf(context: TraceContext | null): string | undefined {
  return context?.slice(3, 35)
}
