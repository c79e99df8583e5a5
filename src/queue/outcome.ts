/** What one attempt (one SMTP transaction for a message) came to. A value: a server's "no" is not an exception. */

/**
 * accepted: the server took responsibility for this recipient. refused: final. transient: to be tried again, which
 * costs an attempt. open: not asked, or told to come in a further transaction (452 4.5.3); costs nothing.
 */
export type Verdict = 'accepted' | 'refused' | 'transient' | 'open'

export interface RecipientVerdict {
  readonly address: string
  readonly verdict: Verdict
  /** SMTP reply code, or a code of docs/errors.md when no server said it. */
  readonly code: string | null
  readonly text: string | null
}

export interface Failure {
  /** account: every message behind it would fail alike, so the account pauses. */
  readonly scope: 'session' | 'account'
  /**
   * The server was offered this message before it failed. Then the attempt is spent, also when the account pauses: a
   * message that makes its server close would otherwise come first again after each pause, for ever.
   */
  readonly offered: boolean
  readonly code: string | null
  readonly text: string
}

/** As kept for people, in the JSON of events.attempt: what may be long comes last, for lists read its beginning alone. */
export interface AttemptRecord {
  readonly n: number
  readonly started_ts: number
  readonly duration_ms: number
  readonly remote: string | null
  readonly final: { code: string; enhanced: string | null; text: string } | null
  readonly error: string | null
  readonly replies: readonly { address: string; code: string | null; enhanced: string | null; text: string | null }[]
  /** Of a message that asked for it: what both sides said, without the content. */
  readonly conversation?: readonly string[]
}

export interface Outcome {
  /** One for each recipient that was open. */
  readonly verdicts: readonly RecipientVerdict[]
  /** The connection or the account broke. */
  readonly failure: Failure | null
  /** The final dot left and no reply came back: the server may have taken the message. */
  readonly inDoubt: boolean
  /** The transaction reached DATA and counts against the limits. */
  readonly reachedData: boolean
  /** Stopped by us (shutdown, lease lost) before the final dot: as if never claimed. */
  readonly interrupted: boolean
  readonly attempt: AttemptRecord | null
}
