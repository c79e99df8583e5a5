import { describe, expect, it } from 'vitest'
import { explainWaiting, type WaitingFacts } from './waiting.js'

const NOW = 1_800_000_000_000
const due: WaitingFacts = {
  now: NOW,
  status: 'pending',
  isScheduled: false,
  priority: 2,
  attempts: 0,
  dueAt: NOW - 1000,
  deferredTs: null,
  deferredReason: null,
  schedulerActive: true,
  releaseNeeded: null,
  tenantActive: true,
  suspendedBatches: [],
  batchCode: null,
  pause: null,
  isLimited: false,
  opensAt: null,
}
const explain = (facts: Partial<WaitingFacts>) => explainWaiting({ ...due, ...facts })

describe('what a message waits for', () => {
  it('one that is due and held back by nothing waits for its turn', () => {
    expect(explain({})).toMatchObject({ waiting_for: 'queue', next_attempt_ts: NOW / 1000 })
  })

  it('one that is being sent, in doubt or ended waits for nothing', () => {
    for (const status of ['sending', 'in_doubt', 'sent', 'error', 'cancelled'] as const) {
      expect(explain({ status, schedulerActive: false })).toMatchObject({ waiting_for: null, next_attempt_ts: null })
    }
  })

  it('before its time it waits for the schedule, after a failure for the retry', () => {
    const later = { status: 'deferred', isScheduled: true, dueAt: NOW + 1500 } as const
    expect(explain(later)).toMatchObject({ waiting_for: 'schedule', next_attempt_ts: NOW / 1000 + 2 })
    const retried = explain({ ...later, attempts: 2, deferredReason: '451 later' })
    expect(retried).toMatchObject({
      waiting_for: 'retry',
      detail: 'Attempt 2 failed and it will be tried again: 451 later',
    })
  })

  it('a scheduled one whose time has just come waits for its turn', () => {
    expect(explain({ isScheduled: true, status: 'deferred' }).waiting_for).toBe('queue')
  })

  it('a suspension at any level comes before everything else', () => {
    const levels = [
      { schedulerActive: false },
      { tenantActive: false },
      { suspendedBatches: ['*'] },
      { suspendedBatches: ['b'], batchCode: 'b' },
    ]
    for (const level of levels) {
      const facts = { ...level, isScheduled: true, dueAt: NOW + 5000, isLimited: true }
      expect(explain(facts)).toMatchObject({ waiting_for: 'suspension', next_attempt_ts: null })
    }
    expect(explain({ suspendedBatches: ['b'], batchCode: 'c' }).waiting_for).toBe('queue')
    expect(explain({ suspendedBatches: ['b'] }).waiting_for).toBe('queue')
  })

  it('behind a paused account the next probe is told, behind a manual pause nothing', () => {
    const failure = { kind: 'failure', reason: '535 no', probeAt: NOW + 4000 } as const
    expect(explain({ pause: failure })).toMatchObject({
      waiting_for: 'paused_account',
      next_attempt_ts: NOW / 1000 + 4,
    })
    expect(explain({ pause: failure }).detail).toContain('535 no')
    expect(explain({ pause: { ...failure, kind: 'manual' } }).next_attempt_ts).toBeNull()
  })

  it('a closed rule holds all but immediate messages', () => {
    expect(explain({ opensAt: NOW + 60_000 })).toMatchObject({ waiting_for: 'rule', next_attempt_ts: NOW / 1000 + 60 })
    expect(explain({ opensAt: Number.POSITIVE_INFINITY })).toMatchObject({ waiting_for: 'rule', next_attempt_ts: null })
    expect(explain({ opensAt: NOW + 60_000, priority: 0 }).waiting_for).toBe('queue')
  })

  it('over the limit its projected turn is told', () => {
    const limited = { status: 'deferred', isLimited: true, deferredTs: NOW + 9000 } as const
    expect(explain(limited)).toMatchObject({ waiting_for: 'limit', next_attempt_ts: NOW / 1000 + 9 })
  })
})
