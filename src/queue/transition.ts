/** nextTransition: what becomes of a message after an attempt. Pure; the whole retry and in-doubt policy. */
import type { RecipientState, Status } from '../messages/message.js'
import type { Claimed } from './claim.js'
import type { AttemptRecord, Outcome, RecipientVerdict } from './outcome.js'
import { differ, mergeVerdicts } from './recipients.js'
import { deferredEntry, type EntryBase, errorEntry, inDoubtEntry, type ReportEntry, sentEntry } from './report-entry.js'
import { Cause, Stage } from './stage.js'

export interface RetryPolicy {
  /** Attempts after the first. */
  readonly maxRetries: number
  /** Wait before each; a short list repeats its last. */
  readonly retryDelaysMs: readonly number[]
  /** What an attempt in doubt leads to: another attempt, or waiting for an operator. */
  readonly inDoubt: 'retry' | 'hold'
}

/** The row as it will stand, and what is told of it. */
export interface Transition {
  readonly seq: number
  readonly status: Status
  readonly stage: Stage
  readonly dueAt: number
  readonly attempts: number
  readonly accepted: number
  readonly recipients: readonly RecipientState[] | null
  readonly deferredTs: number | null
  readonly deferredReason: string | null
  /** The last acceptance of a recipient, also while others are open. */
  readonly sentAt: number | null
  readonly errorAt: number | null
  readonly error: string | null
  readonly code: string | null
  readonly event: { readonly type: string; readonly entry: ReportEntry; readonly reported: boolean } | null
  readonly attempt: AttemptRecord | null
  /** A server may have the message: its id can no longer be submitted anew while it is open. */
  readonly inDoubt: boolean
  /** Transactions to count against the limits: 0 or 1. */
  readonly used: number
}

/** `now` in epoch ms; `random` in [0, 1) for the jitter of ±10 %. `to` is the whole envelope. */
export function nextTransition(
  claimed: Claimed,
  to: readonly string[],
  outcome: Outcome,
  policy: RetryPolicy,
  now: number,
  random: () => number,
): Transition {
  const recipients = mergeVerdicts(to, claimed.recipients, outcome.verdicts)
  const row = rowOf(claimed, recipients, outcome, now)
  if (outcome.inDoubt && policy.inDoubt === 'hold') return holdInDoubt(row, claimed, now)

  if (!recipients.some(each => each.status === 'open')) return finish(row, claimed, recipients, now)
  // Interrupted, or the account cannot work now: back to its place, the attempt not spent.
  const waitsForAccount = outcome.failure?.scope === 'account' && !outcome.failure.offered && !outcome.inDoubt
  if (outcome.interrupted || waitsForAccount) return giveBack(row, claimed)
  // Some were never asked: a further transaction at once, in which they come first. Or the first hundred, put off again
  // and again, would use up the attempts of all.
  const isAllAsked = recipients.every(each => each.status !== 'open' || each.reply !== null)
  const isPutOff = isAllAsked && outcome.verdicts.some(each => each.verdict === 'transient')
  if (outcome.failure === null && !isPutOff) return giveBack(row, claimed)

  const last = outcome.failure?.text ?? lastWords(outcome.verdicts)
  const code = outcome.failure?.code ?? lastCode(outcome.verdicts)
  const attempts = claimed.attempts + 1
  if (attempts > policy.maxRetries) {
    const exceeded = (words: string) => `Max retries (${policy.maxRetries}) exceeded: ${words}`
    // Each keeps what was said of it; who was never spoken of gets what ended the attempt.
    const given = recipients.map(each =>
      each.status !== 'open'
        ? each
        : each.reply === null
          ? { ...each, status: 'refused' as const, code, reply: exceeded(last) }
          : { ...each, status: 'refused' as const, reply: exceeded(each.reply) },
    )
    return finish({ ...row, attempts, recipients: kept(given, claimed) }, claimed, given, now, {
      error: exceeded(last),
      code,
    })
  }
  const dueAt = now + retryDelay(policy.retryDelaysMs, claimed.attempts, random)
  const deferred = {
    ...row,
    status: 'deferred' as const,
    stage: Stage.waiting,
    attempts,
    dueAt,
    deferredTs: dueAt,
    deferredReason: last,
  }
  const base = baseOf(claimed, attempts, recipients)
  return outcome.inDoubt
    ? { ...deferred, event: { type: 'in_doubt', entry: inDoubtEntry(base, now), reported: true } }
    : { ...deferred, event: { type: 'deferred', entry: deferredEntry(base, dueAt, last), reported: true } }
}

/** How long after the n-th failure (0 the first) the next attempt comes, ms, with ±10 % so that a crowd spreads. */
export function retryDelay(delays: readonly number[], failures: number, random: () => number): number {
  const delay = delays[Math.min(failures, delays.length - 1)] ?? 60_000
  return Math.round(delay * (0.9 + random() * 0.2))
}

/** A claim that a crash left: its worker is gone. `journalled`: the final dot may have been sent. */
export function rescueTransition(
  claimed: Claimed,
  to: readonly string[],
  journalled: boolean,
  policy: RetryPolicy,
  now: number,
): Transition {
  const outcome: Outcome = {
    verdicts: [],
    failure: journalled ? { scope: 'session', offered: true, code: null, text: CRASH_WORDS } : null,
    inDoubt: journalled,
    // It may have reached DATA; the limits must never be passed, so it counts.
    reachedData: true,
    interrupted: !journalled,
    attempt: null,
  }
  // No wait: the server did not fail, we did.
  return nextTransition(claimed, to, outcome, { ...policy, retryDelaysMs: [0] }, now, () => 0.5)
}

const CRASH_WORDS = 'the process ended between the final dot and the reply: the server may have taken the message'

/** Kept only once they tell more than the row itself; the usual message has nothing to add. */
function kept(recipients: readonly RecipientState[], claimed: Claimed): readonly RecipientState[] | null {
  return differ(recipients) || claimed.recipients !== null ? recipients : null
}

function rowOf(claimed: Claimed, recipients: readonly RecipientState[], outcome: Outcome, now: number): Transition {
  const accepted = recipients.filter(each => each.status === 'accepted').length
  return {
    seq: claimed.seq,
    status: 'pending',
    stage: Stage.ready,
    dueAt: claimed.dueAt,
    attempts: claimed.attempts,
    accepted,
    recipients: kept(recipients, claimed),
    deferredTs: null,
    deferredReason: null,
    sentAt: accepted > claimed.accepted ? now : claimed.sentAt,
    errorAt: null,
    error: null,
    code: null,
    event: null,
    attempt: outcome.attempt,
    inDoubt: outcome.inDoubt,
    used: outcome.reachedData ? 1 : 0,
  }
}

function giveBack(row: Transition, claimed: Claimed): Transition {
  return { ...row, status: 'pending', stage: Stage.ready, attempts: claimed.attempts }
}

function holdInDoubt(row: Transition, claimed: Claimed, now: number): Transition {
  const attempts = claimed.attempts + 1
  const base = baseOf(claimed, attempts, row.recipients ?? [])
  return {
    ...row,
    status: 'in_doubt',
    stage: Stage.doubt,
    attempts,
    event: { type: 'in_doubt', entry: inDoubtEntry(base, now), reported: true },
  }
}

function finish(
  row: Transition,
  claimed: Claimed,
  recipients: readonly RecipientState[],
  now: number,
  exhausted: { readonly error: string; readonly code: string | null } | null = null,
): Transition {
  const attempts = Math.max(row.attempts, claimed.attempts + (row.attempt === null ? 0 : 1))
  const base = baseOf(claimed, attempts, recipients)
  if (row.accepted > 0) {
    const sentAt = row.sentAt ?? now
    const event = { type: 'sent', entry: sentEntry(base, sentAt), reported: true }
    return { ...row, stage: Stage.ended, attempts, status: 'sent', sentAt, event }
  }
  const isDoubtful = row.inDoubt || (claimed.causes & Cause.doubt) !== 0
  const refused = recipients.findLast(each => each.status === 'refused')
  const { error, code } = exhausted ?? { error: refused?.reply ?? 'refused', code: refused?.code ?? null }
  return {
    ...row,
    stage: Stage.ended,
    attempts,
    status: 'error',
    errorAt: now,
    error,
    code,
    event: { type: 'error', entry: errorEntry(base, now, error, code, isDoubtful), reported: true },
  }
}

function baseOf(claimed: Claimed, attempts: number, recipients: readonly RecipientState[]): EntryBase {
  const { id, tenantId, accountId, priority } = claimed
  return { id, tenantId, accountId, priority, attempts, recipients }
}

function lastWords(verdicts: readonly RecipientVerdict[]): string {
  return verdicts.findLast(each => each.verdict === 'transient')?.text ?? 'not accepted'
}

function lastCode(verdicts: readonly RecipientVerdict[]): string | null {
  return verdicts.findLast(each => each.verdict === 'transient')?.code ?? null
}
