import { describe, expect, it } from 'vitest'
import type { RecipientState } from '../messages/message.js'
import type { Claimed } from './claim.js'
import type { AttemptRecord, Outcome, RecipientVerdict } from './outcome.js'
import { Stage } from './stage.js'
import { nextTransition, type RetryPolicy, rescueTransition, retryDelay } from './transition.js'

const NOW = 1_782_813_600_000
const policy: RetryPolicy = { maxRetries: 5, retryDelaysMs: [60_000, 300_000], inDoubt: 'retry' }
const hold: RetryPolicy = { ...policy, inDoubt: 'hold' }
const attempt: AttemptRecord = {
  n: 1,
  started_ts: 1,
  duration_ms: 5,
  remote: null,
  replies: [],
  final: null,
  error: null,
}
const claimed: Claimed = {
  seq: 7,
  tenantId: 'acme',
  id: 'm1',
  accountKey: 1,
  accountId: 'main',
  priority: 2,
  batchCode: null,
  attempts: 0,
  accepted: 0,
  recipients: null,
  dueAt: NOW - 5_000,
  expiresAt: null,
  sentAt: null,
  createdAt: NOW - 9_000,
  causes: 0,
  claim: 1,
  lease: 11,
}
const A = 'a@x.test'
const B = 'b@x.test'
const C = 'c@x.test'

const accepted = (address: string): RecipientVerdict => ({ address, verdict: 'accepted', code: '250', text: '250 ok' })
const refused = (address: string, text = '550 no such user'): RecipientVerdict => ({
  address,
  verdict: 'refused',
  code: text.slice(0, 3),
  text,
})
const transient = (address: string, text = '451 try later'): RecipientVerdict => ({
  address,
  verdict: 'transient',
  code: text.slice(0, 3),
  text,
})
const untouched = (address: string): RecipientVerdict => ({ address, verdict: 'open', code: null, text: null })

function outcome(verdicts: readonly RecipientVerdict[], fields: Partial<Outcome> = {}): Outcome {
  return { verdicts, failure: null, inDoubt: false, reachedData: true, interrupted: false, attempt, ...fields }
}
const next = (given: Outcome, to: readonly string[], from: Partial<Claimed> = {}, by: RetryPolicy = policy) =>
  nextTransition({ ...claimed, ...from }, to, given, by, NOW, () => 0.5)
const state = (address: string, status: RecipientState['status'], code: string | null, reply: string | null) => ({
  address,
  status,
  code,
  reply,
})
const sessionFailure = { scope: 'session', offered: true, code: null, text: 'Timed out waiting' } as const
const accountFailure = { scope: 'account', offered: false, code: '535', text: '535 bad password' } as const

describe('a transaction that ends the message', () => {
  it('all accepted: sent, one attempt, one use, nothing to say of recipients', () => {
    const row = next(outcome([accepted(A), accepted(B)]), [A, B])
    expect(row).toMatchObject({
      seq: 7,
      status: 'sent',
      stage: Stage.ended,
      attempts: 1,
      accepted: 2,
      recipients: null,
    })
    expect(row).toMatchObject({ sentAt: NOW, errorAt: null, error: null, code: null, used: 1, attempt })
    expect(row.event).toEqual({
      type: 'sent',
      reported: true,
      entry: { id: 'm1', sent_ts: NOW / 1000, tenant_id: 'acme', account_id: 'main', priority: 2, attempts: 1 },
    })
  })

  it('accepted for some and refused for the rest: sent, and each recipient is told', () => {
    const row = next(outcome([accepted(A), refused(B)]), [A, B])
    expect(row).toMatchObject({ status: 'sent', accepted: 1, sentAt: NOW, errorAt: null, error: null })
    expect(row.recipients).toMatchObject([
      state(A, 'accepted', '250', '250 ok'),
      state(B, 'refused', '550', '550 no such user'),
    ])
    expect(row.event?.entry.recipients).toEqual([
      state(A, 'accepted', '250', '250 ok'),
      state(B, 'refused', '550', '550 no such user'),
    ])
  })

  it('all refused: error with the server’s words and code, no sent_ts', () => {
    const row = next(outcome([refused(A), refused(B)]), [A, B])
    expect(row).toMatchObject({ status: 'error', stage: Stage.ended, attempts: 1, errorAt: NOW, sentAt: null })
    expect(row).toMatchObject({ error: '550 no such user', code: '550', accepted: 0, recipients: null })
    expect(row.event).toMatchObject({
      type: 'error',
      entry: { error: '550 no such user', code: '550', error_ts: NOW / 1000 },
    })
    expect(row.event?.entry).not.toHaveProperty('sent_ts')
  })

  it('all refused, each in other words: the recipients are kept', () => {
    const row = next(outcome([refused(A, '550 no such user'), refused(B, '550 mailbox disabled')]), [A, B])
    expect(row.recipients).toHaveLength(2)
    expect(row.event?.entry.recipients).toHaveLength(2)
  })

  it('accepted earlier and the rest refused now: sent, at the time of the last acceptance', () => {
    const first = next(outcome([accepted(A), transient(B)]), [A, B])
    const later = nextTransition(
      { ...claimed, attempts: 1, accepted: 1, sentAt: first.sentAt, recipients: first.recipients },
      [A, B],
      outcome([refused(B)]),
      policy,
      NOW + 60_000,
      () => 0.5,
    )
    expect(later).toMatchObject({ status: 'sent', stage: Stage.ended, attempts: 2, accepted: 1, errorAt: null })
    expect(later.sentAt).toBe(NOW)
    expect(later.event?.entry).toMatchObject({ sent_ts: NOW / 1000 })
  })

  it('an acceptance now is later than one before', () => {
    const first = next(outcome([accepted(A), transient(B)]), [A, B])
    const later = nextTransition(
      { ...claimed, attempts: 1, accepted: 1, sentAt: first.sentAt, recipients: first.recipients },
      [A, B],
      outcome([accepted(B)]),
      policy,
      NOW + 60_000,
      () => 0.5,
    )
    expect(later).toMatchObject({ status: 'sent', sentAt: NOW + 60_000, accepted: 2 })
  })

  it('a transaction that never reached DATA uses no limit', () => {
    expect(next(outcome([refused(A)], { reachedData: false }), [A]).used).toBe(0)
  })

  it('what was decided before is not decided anew', () => {
    const before = [state(A, 'refused', '550', 'no'), state(B, 'open', null, null)]
    const row = next(outcome([accepted(A), accepted(B)]), [A, B], { recipients: before, attempts: 1 })
    expect(row.recipients).toMatchObject([state(A, 'refused', '550', 'no'), { address: B, status: 'accepted' }])
  })
})

describe('a transaction that is tried again', () => {
  it('a 4xx waits, costs an attempt and is reported deferred until then', () => {
    const row = next(outcome([transient(A)]), [A])
    expect(row).toMatchObject({ status: 'deferred', stage: Stage.waiting, attempts: 1, dueAt: NOW + 60_000 })
    expect(row).toMatchObject({ deferredTs: NOW + 60_000, deferredReason: '451 try later', recipients: null })
    expect(row).toMatchObject({ sentAt: null, errorAt: null, error: null, used: 1 })
    expect(row.event).toMatchObject({
      type: 'deferred',
      reported: true,
      entry: { deferred_ts: NOW / 1000 + 60, deferred_reason: '451 try later', attempts: 1 },
    })
  })

  it('partial: who was accepted or refused stays so, the others are tried again', () => {
    const row = next(outcome([accepted(A), refused(B), transient(C)]), [A, B, C])
    expect(row).toMatchObject({ status: 'deferred', accepted: 1, attempts: 1 })
    expect(row.recipients).toMatchObject([
      state(A, 'accepted', '250', '250 ok'),
      state(B, 'refused', '550', '550 no such user'),
      state(C, 'open', '451', '451 try later'),
    ])
  })

  it('a broken session costs an attempt', () => {
    const row = next(outcome([untouched(A)], { failure: sessionFailure, reachedData: false }), [A])
    expect(row).toMatchObject({ status: 'deferred', attempts: 1, deferredReason: 'Timed out waiting', used: 0 })
  })

  it('the delays grow along the list and repeat the last, ±10 %', () => {
    expect(retryDelay([60, 300], 0, () => 0.5)).toBe(60)
    expect(retryDelay([60, 300], 1, () => 0.5)).toBe(300)
    expect(retryDelay([60, 300], 40, () => 0.5)).toBe(300)
    expect(retryDelay([1000], 0, () => 0)).toBe(900)
    expect(retryDelay([1000], 0, () => 0.999_999)).toBe(1100)
    expect(retryDelay([], 0, () => 0.5)).toBe(60_000)
    expect(next(outcome([transient(A)]), [A], { attempts: 1 }).dueAt).toBe(NOW + 300_000)
  })
})

describe('retries exhausted', () => {
  it('the attempt after the last retry ends in an error that quotes the last reply', () => {
    expect(next(outcome([transient(A)]), [A], { attempts: 4 })).toMatchObject({ status: 'deferred', attempts: 5 })
    const row = next(outcome([transient(A)]), [A], { attempts: 5 })
    expect(row).toMatchObject({ status: 'error', stage: Stage.ended, attempts: 6, errorAt: NOW, code: '451' })
    expect(row.error).toBe('Max retries (5) exceeded: 451 try later')
    expect(row.event?.entry).toMatchObject({ error: row.error, code: '451', attempts: 6 })
  })

  it('a broken session is quoted too, without a code of its own', () => {
    const row = next(outcome([untouched(A)], { failure: sessionFailure }), [A], { attempts: 5 })
    expect(row).toMatchObject({ status: 'error', error: 'Max retries (5) exceeded: Timed out waiting', code: null })
  })

  it('the error is the exhaustion even when another recipient was refused', () => {
    const row = next(outcome([transient(A), refused(B)]), [A, B], { attempts: 5 })
    expect(row).toMatchObject({ error: 'Max retries (5) exceeded: 451 try later', code: '451' })
    expect(row.recipients?.[1]).toMatchObject({ status: 'refused', code: '550', reply: '550 no such user' })
  })

  it('each recipient keeps the words that were said of it', () => {
    const row = next(outcome([transient(A, '450 busy'), transient(B, '451 greylisted')]), [A, B], { attempts: 5 })
    expect(row.recipients).toMatchObject([
      state(A, 'refused', '450', 'Max retries (5) exceeded: 450 busy'),
      state(B, 'refused', '451', 'Max retries (5) exceeded: 451 greylisted'),
    ])
    expect(row.error).toBe('Max retries (5) exceeded: 451 greylisted')
  })

  it('with an acceptance before, the message is sent and the rest tells why not', () => {
    const first = next(outcome([accepted(A), transient(B)]), [A, B])
    const row = next(outcome([transient(B)]), [A, B], {
      attempts: 5,
      accepted: 1,
      sentAt: first.sentAt,
      recipients: first.recipients,
    })
    expect(row).toMatchObject({ status: 'sent', error: null, code: null, errorAt: null })
    expect(row.recipients?.[1]).toMatchObject({ status: 'refused', reply: 'Max retries (5) exceeded: 451 try later' })
  })

  it('no retries at all: the first failure is final', () => {
    const row = next(outcome([transient(A)]), [A], {}, { ...policy, maxRetries: 0 })
    expect(row).toMatchObject({ status: 'error', attempts: 1, error: 'Max retries (0) exceeded: 451 try later' })
  })
})

describe('back to its place', () => {
  it('an account that cannot work keeps the attempts and the place', () => {
    const row = next(outcome([untouched(A)], { failure: accountFailure, reachedData: false }), [A], { attempts: 5 })
    expect(row).toMatchObject({ status: 'pending', stage: Stage.ready, attempts: 5, dueAt: claimed.dueAt, used: 0 })
    expect(row).toMatchObject({ event: null, error: null, deferredTs: null })
    // The conversation is kept for people.
    expect(row.attempt).toBe(attempt)
  })

  it('a message that was being offered when its account failed spends an attempt, or it would come first for ever', () => {
    const failure = { scope: 'account', offered: true, code: '421', text: '421 closing' } as const
    const row = next(outcome([untouched(A)], { failure }), [A])
    expect(row).toMatchObject({ status: 'deferred', stage: Stage.waiting, attempts: 1, deferredReason: '421 closing' })
    const last = next(outcome([untouched(A)], { failure }), [A], { attempts: policy.maxRetries })
    expect(last).toMatchObject({ status: 'error', code: '421' })
  })

  it('an account failure in the middle keeps what was decided before it', () => {
    const row = next(outcome([accepted(A), untouched(B)], { failure: accountFailure }), [A, B])
    expect(row).toMatchObject({ status: 'pending', stage: Stage.ready, attempts: 0, accepted: 1, used: 1 })
    expect(row.recipients).toMatchObject([
      { address: A, status: 'accepted' },
      { address: B, status: 'open' },
    ])
  })

  it('interrupted: as if never claimed, but a DATA that was begun counts', () => {
    const given = outcome([untouched(A)], { interrupted: true, attempt: null, reachedData: true })
    expect(next(given, [A], { attempts: 2 })).toMatchObject({
      status: 'pending',
      stage: Stage.ready,
      attempts: 2,
      dueAt: claimed.dueAt,
      event: null,
      attempt: null,
      used: 1,
    })
    expect(next({ ...given, reachedData: false }, [A]).used).toBe(0)
  })

  it('452 4.5.3: the recipients not asked go on at once and no attempt is spent', () => {
    const row = next(outcome([accepted(A), accepted(B), untouched(C)]), [A, B, C])
    expect(row).toMatchObject({ status: 'pending', stage: Stage.ready, attempts: 0, accepted: 2, event: null, used: 1 })
    expect(row.recipients?.map(each => each.status)).toEqual(['accepted', 'accepted', 'open'])
  })

  it('the last of several transactions counts as the one attempt they were', () => {
    const first = next(outcome([accepted(A), untouched(B)]), [A, B])
    const row = next(outcome([accepted(B)]), [A, B], {
      attempts: first.attempts,
      accepted: 1,
      recipients: first.recipients,
    })
    expect(row).toMatchObject({ status: 'sent', attempts: 1, accepted: 2 })
    expect(row.event?.entry).not.toHaveProperty('recipients')
  })

  it('not asked beside a temporary refusal: they are asked at once, and the attempt is spent when all were', () => {
    const first = next(outcome([transient(A), untouched(B)]), [A, B])
    expect(first).toMatchObject({ status: 'pending', stage: Stage.ready, attempts: 0, event: null })
    const { recipients } = first
    const second = next(outcome([transient(B), untouched(A)]), [A, B], { recipients })
    expect(second).toMatchObject({ status: 'deferred', attempts: 1 })
  })
})

describe('in doubt', () => {
  const doubtful = outcome([untouched(A)], { failure: sessionFailure, inDoubt: true })

  it('retry: another attempt, told in doubt', () => {
    const row = next(doubtful, [A])
    expect(row).toMatchObject({ status: 'deferred', stage: Stage.waiting, attempts: 1, dueAt: NOW + 60_000, used: 1 })
    expect(row.event).toMatchObject({
      type: 'in_doubt',
      reported: true,
      entry: { in_doubt_ts: NOW / 1000, attempts: 1 },
    })
  })

  it('retry with none left: an error', () => {
    expect(next(doubtful, [A], { attempts: 5 })).toMatchObject({
      status: 'error',
      attempts: 6,
      error: 'Max retries (5) exceeded: Timed out waiting',
    })
  })

  it('hold: waits for an operator, whatever the retries', () => {
    const row = next(doubtful, [A], { attempts: 5 }, hold)
    expect(row).toMatchObject({
      status: 'in_doubt',
      stage: Stage.doubt,
      attempts: 6,
      sentAt: null,
      errorAt: null,
      used: 1,
    })
    expect(row.event).toMatchObject({
      type: 'in_doubt',
      reported: true,
      entry: { in_doubt_ts: NOW / 1000, attempts: 6 },
    })
  })

  it('an account failure after the dot is in doubt all the same', () => {
    const row = next(outcome([untouched(A)], { failure: accountFailure, inDoubt: true }), [A])
    expect(row).toMatchObject({ status: 'deferred', attempts: 1 })
  })
})

describe('rescueTransition', () => {
  it('not journalled: back in place without an attempt, its possible DATA counted', () => {
    const row = rescueTransition({ ...claimed, attempts: 3 }, [A], false, policy, NOW)
    expect(row).toMatchObject({
      status: 'pending',
      stage: Stage.ready,
      attempts: 3,
      dueAt: claimed.dueAt,
      event: null,
      used: 1,
    })
  })

  it('journalled: in doubt by the policy; a retry comes at once, for the server did nothing wrong', () => {
    const row = rescueTransition(claimed, [A], true, policy, NOW)
    expect(row).toMatchObject({ status: 'deferred', stage: Stage.waiting, attempts: 1, dueAt: NOW, used: 1 })
    expect(row.event?.type).toBe('in_doubt')
    expect(rescueTransition(claimed, [A], true, hold, NOW)).toMatchObject({ status: 'in_doubt', stage: Stage.doubt })
  })

  it('what some server accepted before stays accepted', () => {
    const recipients = [state(A, 'accepted', '250', 'ok'), state(B, 'open', null, null)]
    const row = rescueTransition({ ...claimed, accepted: 1, recipients }, [A, B], true, policy, NOW)
    expect(row).toMatchObject({ accepted: 1 })
    expect(row.recipients).toMatchObject(recipients)
  })
})
