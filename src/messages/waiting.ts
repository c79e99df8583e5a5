/** Why a message has not gone yet, in a word for programs and a sentence for people. Pure. */
import type { Status } from './message.js'

export type WaitingFor = 'schedule' | 'retry' | 'limit' | 'rule' | 'suspension' | 'paused_account' | 'queue'

export interface WaitingFacts {
  /** Epoch ms. */
  readonly now: number
  readonly status: Status
  /** The row waits for due_at (queue/stage.ts). */
  readonly isScheduled: boolean
  readonly priority: number
  readonly attempts: number
  readonly dueAt: number
  /** When it is expected to go, as told in its deferred report; null: nothing was told. */
  readonly deferredTs: number | null
  readonly deferredReason: string | null
  readonly schedulerActive: boolean
  /** Why nothing may be sent before an operator releases the database. */
  readonly releaseNeeded: string | null
  readonly tenantActive: boolean
  /** Batch codes that wait; ['*']: all. */
  readonly suspendedBatches: readonly string[]
  readonly batchCode: string | null
  readonly pause: {
    readonly kind: 'manual' | 'failure'
    readonly reason: string
    readonly probeAt: number | null
  } | null
  /** The account's limit was told as the cause of the deferral. */
  readonly isLimited: boolean
  /** When the account's rules open; null: they are open; Infinity: never. */
  readonly opensAt: number | null
}

export interface Waiting {
  readonly waiting_for: WaitingFor | null
  /** Unix seconds; null: nobody can tell, or nothing is to come. */
  readonly next_attempt_ts: number | null
  readonly detail: string
}

/** What holds it back longest or needs somebody's hand is told first. */
export function explainWaiting(facts: WaitingFacts): Waiting {
  const { status, now, dueAt, priority, pause, opensAt, deferredTs } = facts
  if (status === 'sending') return { waiting_for: null, next_attempt_ts: null, detail: 'It is being sent right now.' }
  if (status === 'in_doubt') {
    const detail = 'The server may have taken it: release sends it again, discard gives it up.'
    return { waiting_for: null, next_attempt_ts: null, detail }
  }
  if (status !== 'pending' && status !== 'deferred') {
    return { waiting_for: null, next_attempt_ts: null, detail: `It has ended: ${status}.` }
  }
  const suspension = suspensionOf(facts)
  if (suspension !== null) return { waiting_for: 'suspension', next_attempt_ts: null, detail: suspension }
  if (facts.isScheduled && dueAt > now) return explainDue(facts)
  if (pause !== null) {
    const who = pause.kind === 'manual' ? 'by an operator' : 'because its server refuses it'
    const detail = `Its account is paused ${who}: ${pause.reason}`
    return {
      waiting_for: 'paused_account',
      next_attempt_ts: pause.kind === 'manual' ? null : seconds(pause.probeAt),
      detail,
    }
  }
  if (priority > 0 && opensAt !== null && opensAt > now) {
    const isForEver = opensAt === Number.POSITIVE_INFINITY
    return {
      waiting_for: 'rule',
      next_attempt_ts: isForEver ? null : seconds(opensAt),
      detail: isForEver ? 'No sending rule of its account ever opens.' : 'A sending rule of its account is closed.',
    }
  }
  if (facts.isLimited && status === 'deferred') {
    const next = seconds(Math.max(deferredTs ?? now, now))
    return { waiting_for: 'limit', next_attempt_ts: next, detail: 'A limit of its account or tenant is reached.' }
  }
  return { waiting_for: 'queue', next_attempt_ts: seconds(now), detail: 'It is due and waits for its turn.' }
}

function suspensionOf(facts: WaitingFacts): string | null {
  const { suspendedBatches, batchCode } = facts
  if (facts.releaseNeeded !== null) return `Nothing is sent before a start with --release: ${facts.releaseNeeded}.`
  if (!facts.schedulerActive) return 'The whole scheduler is suspended.'
  if (!facts.tenantActive) return 'Its tenant is inactive.'
  if (suspendedBatches.includes('*')) return 'Its tenant is suspended.'
  return batchCode !== null && suspendedBatches.includes(batchCode) ? 'Its batch is suspended.' : null
}

function explainDue({ attempts, dueAt, deferredReason }: WaitingFacts): Waiting {
  if (attempts === 0) {
    return { waiting_for: 'schedule', next_attempt_ts: seconds(dueAt), detail: 'Its deferred_ts has not come yet.' }
  }
  const detail = `Attempt ${attempts} failed and it will be tried again${deferredReason === null ? '.' : `: ${deferredReason}`}`
  return { waiting_for: 'retry', next_attempt_ts: seconds(dueAt), detail }
}

/** Rounded up: an instant told is never early. */
function seconds(at: number): number
function seconds(at: number | null): number | null
function seconds(at: number | null): number | null {
  return at === null || !Number.isFinite(at) ? null : Math.ceil(at / 1000)
}
