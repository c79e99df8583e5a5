import { expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import { silentLog } from '../../test/support/silent-log.js'
import type { ClaimedMessage } from '../queue/claim.js'
import type { Lease } from '../queue/lease.js'
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
