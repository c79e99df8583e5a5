import { expect, it } from 'vitest'
import { createFakeClock } from '../../test/support/fake-clock.js'
import { POLICY, REFUSED } from '../../test/support/queue-rig.js'
import { silentLog } from '../../test/support/silent-log.js'
import { anyOf } from '../lib/wake.js'
import type { ClaimedMessage } from '../queue/claim.js'
import type { Lease } from '../queue/lease.js'
import { type Afterwards, createConclusions } from './conclude.js'
import { createLanes } from './lanes.js'
import type { Lookup } from './settings.js'
import type { Settler } from './settler.js'

it('a slot that was given back leaves no lane behind for an account that has nothing to send', async () => {
  const lanes = createLanes()
  const settler = { add: async () => 'recorded' } as unknown as Settler
  const deps = { clock: createFakeClock(), log: silentLog, random: () => 0.5, settler, events: { settled() {} } }
  const conclusions = createConclusions(deps, { lanes, policyOf: () => POLICY } as unknown as Afterwards)
  const claimed = {
    seq: 7,
    claim: 1,
    accountKey: 1,
    attempts: 0,
    accepted: 0,
    causes: 0,
    recipients: null,
    content: null,
    envelope: { from: 'a@x.test', to: ['b@y.test'] },
  } as unknown as ClaimedMessage
  const limits = [{ scope: 'a:1', span: 60_000, limit: 5 }]
  const lookup = { account: { inDoubt: 'retry' }, limits } as unknown as Lookup
  const wait = lanes.get(1)
  wait.notBefore = 5
  wait.frontier.hear(anyOf(1))
  conclusions.hold([claimed])
  await conclusions.conclude({ id: 1 } as Lease, lookup, claimed, REFUSED)
  // One that waits for its turn has it.
  expect([lanes.get(1) === wait, wait.notBefore]).toEqual([true, 0])
  wait.frontier.clear()
  lanes.retire(wait)
  conclusions.hold([claimed])
  await conclusions.conclude({ id: 1 } as Lease, lookup, claimed, REFUSED)
  expect(lanes.size).toBe(0)
})
