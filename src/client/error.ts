/** What the client throws. Programs go by `code`; the sentence is for people. Neither has a token or a mail's content in it. */
import type { Submission } from './submit.js'

/** Codes of the client itself, beside those of the service's answers (docs/errors.md). */
export type ClientCode = 'unreachable' | 'timeout' | 'unexpected_answer' | 'unsupported_field'

export interface ErrorFacts {
  readonly status?: number
  readonly detail?: unknown
  readonly details?: unknown
  readonly retryAfter?: number
  readonly cause?: unknown
}

/** A request failed, or a mail cannot be told to the service. Aborting a call by its signal throws the signal's reason instead. */
export class MailProxyError extends Error {
  /** Stable: a code of docs/errors.md, or a ClientCode. */
  readonly code: string
  /** HTTP status; null when no answer came. */
  readonly status: number | null
  /** As the service gave it: for wrong fields a list of `{type, loc, msg}`. */
  readonly detail: unknown
  readonly details: unknown
  /** Seconds after which the service wants to be asked again; null: it did not say. */
  readonly retryAfter: number | null
  /** Of addMessages: what the service had answered before this failure. */
  partial: Submission | null = null

  constructor(code: ClientCode | (string & {}), sentence: string, facts: ErrorFacts = {}) {
    super(sentence, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.name = 'MailProxyError'
    this.code = code
    this.status = facts.status ?? null
    this.detail = facts.detail
    this.details = facts.details
    this.retryAfter = facts.retryAfter ?? null
  }
}
