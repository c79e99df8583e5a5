/** The time of limits on SQLite over restarts and reboots: it never jumps ahead within a boot, and never goes back. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openSteadyClock, systemBoot } from '../../src/service/steady-clock.js'
import { createFakeClock } from '../support/fake-clock.js'
import { openTempDb, type TempDb } from '../support/temp-db.js'

const HOUR = 3_600_000
const BOOT = { id: 'first boot', uptimeMs: 1_000_000 }

describe('the steady clock of SQLite', () => {
  let temp: TempDb
  beforeAll(async () => {
    temp = await openTempDb('sqlite')
  })
  beforeEach(() =>
    temp.db.write([
      { sql: "delete from meta where key = 'steady_base'", params: [] },
      { sql: 'delete from limit_buckets', params: [] },
    ]),
  )
  afterAll(() => temp.drop())

  it('begins with the wall clock and goes by the monotonic one', async () => {
    const clock = createFakeClock()
    const steadyNow = await openSteadyClock(temp.db, clock, BOOT)
    expect(steadyNow()).toBe(clock.now())
    clock.jump(HOUR)
    const before = steadyNow()
    await clock.advance(5_000)
    expect(steadyNow()).toBe(before + 5_000)
  })

  it.each([HOUR, -HOUR])('a restart within the same boot does not see the wall clock set by %i ms', async byMs => {
    const clock = createFakeClock()
    const before = (await openSteadyClock(temp.db, clock, BOOT))()
    await clock.advance(10_000)
    clock.jump(byMs)
    const again = await openSteadyClock(temp.db, clock, { ...BOOT, uptimeMs: BOOT.uptimeMs + 10_000 })
    expect(again()).toBe(before + 10_000)
  })

  it('counts from the boot of the machine what a running process counts', () => {
    const passed = () => Number(process.hrtime.bigint()) / 1e6
    const before = passed()
    const { uptimeMs } = systemBoot()
    expect(uptimeMs).toBeGreaterThanOrEqual(before)
    expect(uptimeMs).toBeLessThanOrEqual(passed())
  })

  it.each([
    ['after a reboot', { id: 'second boot', uptimeMs: 5_000 }],
    ['where the boot cannot be told', { id: null, uptimeMs: 5_000 }],
  ])('%s it is not before what was counted', async (_, boot) => {
    const clock = createFakeClock()
    await openSteadyClock(temp.db, clock, BOOT)
    const bucket = Math.floor(clock.now() / 600)
    await temp.db.write([
      {
        sql: "insert into limit_buckets (scope, span, slot, bucket, used) values ('a:1', 60000, 1, $1, 5)",
        params: [bucket],
      },
    ])
    clock.jump(-HOUR)
    expect((await openSteadyClock(temp.db, clock, boot))()).toBe(bucket * 600)
    clock.jump(3 * HOUR)
    expect((await openSteadyClock(temp.db, clock, { ...boot, id: boot.id && 'third boot' }))()).toBe(clock.now())
  })
})
