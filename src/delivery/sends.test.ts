import { expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import { plainMessage } from '../../test/support/plain-message.js'
import { silentLog } from '../../test/support/silent-log.js'
import type { ClaimedMessage } from '../queue/claim.js'
import type { Lease } from '../queue/lease.js'
import type { SendOptions } from '../smtp/transport.js'
import { NO_TRACING } from '../tracing/tracer.js'
import { createLanes } from './lanes.js'
import { createPlaces } from './places.js'
import { createSends, type SendDeps, type Shared } from './sends.js'
import type { Lookup } from './settings.js'

const claimed = { seq: 7, claim: 1, lease: 1, priority: 2, batchCode: null, dueAt: 0, content: null } as ClaimedMessage
const lookup = {
  account: { pause: null, maxConnections: 10, batchSize: null },
  tenant: { active: true, suspendedBatches: [] as readonly string[] },
  opening: () => ({ kind: 'continuous' }),
} as unknown as Lookup

/** Sends of a process whose lease is number 2. */
function sendsWith(given: Partial<Record<keyof SendDeps, unknown>>) {
  const clock = createFakeClock()
  const deps = {
    clock,
    log: silentLog,
    random: () => 0.5,
    settings: { schedulerActive: true, releaseNeeded: null, isCurrent: () => true },
    settler: { idle: async () => {} },
    tracer: NO_TRACING,
    lease: () => ({ id: 2 }) as Lease,
    wakeLoop() {},
    ...given,
  } as unknown as SendDeps
  const lanes = createLanes()
  const places = createPlaces(10, 30_000, clock.monotonic)
  const permissionsOf = () => ({ now: clock.now(), batchSize: 50, testMode: false, asked: 0 })
  const shared = { lanes, places, permissionsOf, policyOf: () => ({}) } as unknown as Shared
  const sends = createSends(deps, { batchSizePerAccount: 50, slowSendMs: 30_000, leaseMs: 60_000 }, shared)
  return { sends, clock, places, lane: lanes.get(1) }
}

it('a claim that is heard of after its lease was lost is not sent, and is not held for ever', () => {
  const sent: unknown[] = []
  const { sends, places, lane } = sendsWith({
    transport: { send: async (...given: unknown[]) => void sent.push(given) },
  })
  sends.add(lane, [claimed])
  sends.pump(lane, lookup)
  expect([sends.waiting, lane.sends, places.used, sent]).toEqual([0, [], 0, []])
  expect([sends.held, sends.holds(claimed.seq)]).toEqual([0, false])
})

it('a stop has its time once, however much waits for a database that does not answer', async () => {
  const never = new Promise<never>(() => {})
  const { sends, clock, lane } = sendsWith({
    settings: { schedulerActive: true, releaseNeeded: null, get: () => never },
    settler: { add: () => never, idle: () => never },
    events: { accountGone: async () => {} },
  })
  sends.add(lane, [{ ...claimed, lease: 2, envelope: { from: 'a@x.test', to: ['b@y.test'] }, recipients: null }])
  let isOver = false
  void sends.drain(never, 6_000).then(() => {
    isOver = true
  })
  await clock.advance(9_000)
  expect(isOver).toBe(false)
  await clock.advance(1_000)
  expect(isOver).toBe(true)
  expect(sends.waiting).toBe(0)
})

it('a send that could not be ended keeps no stop waiting', async () => {
  const lease = { id: 2, hasMargin: () => true } as unknown as Lease
  const tracer = {
    attempt() {
      throw new Error('no room')
    },
  }
  const settings = { schedulerActive: true, releaseNeeded: null, get: async () => new Map() }
  const errors: string[] = []
  const log = { ...silentLog, error: (text: string) => errors.push(text) }
  const { sends, clock, lane } = sendsWith({ settings, tracer, log, lease: () => lease })
  sends.add(lane, [{ ...claimed, lease: 2 }])
  sends.pump(lane, lookup)
  const begunAt = clock.monotonic()
  await sends.drain(Promise.resolve(), 6_000)
  expect(clock.monotonic()).toBe(begunAt)
  expect(errors).toEqual([expect.stringContaining('no room')])
})

it.each([
  ['of a quick account that sends again what is in doubt, at its first attempt', {}, true],
  ['not where a person decides', { inDoubt: 'hold' }, false],
  ['not of one that was tried before', { attempts: 1 }, false],
  ['not of a slow account', { pace: 100 }, false],
  ['not of an account that has shown nothing yet', { pace: 0 }, false],
] as const)('a message whose envelope is out has its journal entry early: %s', async (_, changed, isExpected) => {
  const { inDoubt, attempts, pace } = { inDoubt: 'retry' as const, attempts: 0, pace: 99, ...changed }
  const expected: number[] = []
  const asked = new Promise<SendOptions>(resolve => {
    const transport = { send: (...given: unknown[]) => new Promise(() => resolve(given[3] as SendOptions)) }
    const journal = { check() {}, expect: (_lease: number, { seq }: ClaimedMessage) => expected.push(seq) }
    const lease = { id: 2, hasMargin: () => true } as unknown as Lease
    const { sends, lane } = sendsWith({ transport, journal, lease: () => lease })
    lane.pace = pace
    const message = {
      ...claimed,
      ...plainMessage({ key: 1, id: 'main', tenantId: 'acme' }),
      lease: 2,
      recipients: null,
    }
    const messages = [7, 8].map(seq => ({ ...message, seq, attempts }) as unknown as ClaimedMessage)
    sends.add(lane, messages)
    const account = { ...lookup.account, trial: null, inDoubt, maxConnections: 1, maxRecipientsPerTransaction: 9 }
    sends.pump(lane, { ...lookup, account })
  })
  expect((await asked).next?.()).not.toBeNull()
  expect(expected).toEqual(isExpected ? [8] : [])
})
