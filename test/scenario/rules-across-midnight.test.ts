/** A sending window from 22 to 2 o'clock: closed before, a grid of ticks inside, open past midnight, closed after. */
import { afterEach, describe, expect, it } from 'vitest'
import { createMovingClock, type MovingClock } from '../support/moving-clock.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many } from '../support/story.js'

const MINUTE = 60_000
// 2026-07-03 is a Friday; Rome is two hours ahead of UTC then.
const at = (hour: number, minute = 0) => Date.UTC(2026, 6, 3, hour - 2, minute)
const ENV = { GMP_LEASE_SECONDS: '3600', GMP_TIMEZONE: 'Europe/Rome' }

describe.each(['sqlite', 'postgres'] as const)('rules on %s', dialect => {
  let service: TestService
  let sink: SmtpSink
  let clock: MovingClock

  afterEach(async () => {
    await service.stop()
    await sink.close()
  })

  async function start(from: number, ...rules: Record<string, unknown>[]): Promise<void> {
    clock = createMovingClock(from)
    sink = await startSink()
    service = await startTestService({ dialect, env: ENV, overrides: { clock } })
    await service.account(sink)
    for (const rule of rules) {
      const { status, body } = await service.call('POST', '/commands/rules', rule)
      expect([status, body.error]).toEqual([200, undefined])
    }
  }
  /** Moves to this instant, by steps short enough for the lease; the service gets time to do what is due. */
  const moveTo = (instant: number) => clock.move(instant - clock.now(), { stepMs: 20 * MINUTE, breatheMs: 60 })
  /** A while of real time in which nothing may leave. */
  const quiet = async (ms = 350) => {
    const before = sink.accepted
    await clock.move(1, { breatheMs: ms })
    expect(sink.accepted).toBe(before)
  }
  const subjects = () => sink.messages.map(({ raw }) => /^Subject: (.*)$/m.exec(raw.toString())![1]!.trim())

  it('is closed before, opens, ticks on the grid, stays open after midnight and closes', async () => {
    await start(at(21, 50), {
      name: 'nights',
      days: [4],
      start_hour: 22,
      end_hour: 2,
      cross_midnight: true,
      interval_minutes: 30,
    })
    await service.send({ id: 'evening', subject: 'evening' })
    await quiet()
    expect(await service.message('evening')).toMatchObject({
      status: 'pending',
      waiting_for: 'rule',
      next_attempt_ts: at(22) / 1000,
    })

    await moveTo(at(22, 0) + 2_000)
    await sink.waitFor(1)
    // Inside the window, yet after its tick: waits for the next one.
    await service.send({ id: 'inside', subject: 'inside' })
    await quiet()
    expect(await service.message('inside')).toMatchObject({ waiting_for: 'rule', next_attempt_ts: at(22, 30) / 1000 })
    await moveTo(at(22, 29) + 50_000)
    await quiet()
    await moveTo(at(22, 30) + 2_000)
    await sink.waitFor(2)

    // Past midnight it is Saturday, and still Friday's window.
    await moveTo(at(24, 10))
    await service.send({ id: 'night', subject: 'night' })
    await quiet()
    await moveTo(at(24, 30) + 2_000)
    await sink.waitFor(3)
    await moveTo(at(25, 40))
    await service.send({ id: 'late', subject: 'late' })
    await moveTo(at(26, 5))
    await quiet()
    // Saturday has no window of its own; the next one is on Friday.
    expect(await service.message('late')).toMatchObject({
      waiting_for: 'rule',
      next_attempt_ts: at(22 + 7 * 24) / 1000,
    })
    expect(subjects()).toEqual(['evening', 'inside', 'night'])
  })

  it('priority 0 and run-now ignore rules, and only for what was there when they were asked', async () => {
    await start(at(12), { name: 'nights', start_hour: 22, end_hour: 2, cross_midnight: true, interval_minutes: 5 })
    await service.send(...many(5, 'm', { subject: 'waiting' }), {
      id: 'now',
      priority: 'immediate',
      subject: 'immediate',
    })
    await sink.waitFor(1)
    await quiet()
    expect(subjects()).toEqual(['immediate'])

    await service.call('POST', '/commands/run-now')
    await sink.waitFor(6)
    await service.send({ id: 'after', subject: 'after' })
    await quiet()
    expect(subjects()).not.toContain('after')
  })

  it('the highest priority number wins, a disabled rule is none, and without rules mail flows at once', async () => {
    await start(at(12), { name: 'all day', interval_minutes: 60 }, { name: 'never now', start_hour: 3, end_hour: 4 })
    const { body } = await service.call('GET', '/commands/rules')
    const [allDay, never] = body.rules as [{ id: number; priority: number }, { id: number; priority: number }]
    expect(never.priority).toBeGreaterThan(allDay.priority)
    // Only the first is open at noon; what comes after its tick waits for the next.
    await service.send({ id: 'm1', subject: 'm1' })
    await quiet()
    await service.call('PATCH', `/commands/rules/${allDay.id}`, { enabled: false })
    await clock.move(60 * MINUTE, { stepMs: 20 * MINUTE })
    await quiet()
    expect(await service.message('m1')).toMatchObject({ waiting_for: 'rule', next_attempt_ts: at(24 + 3) / 1000 })
    await service.call('DELETE', `/commands/rules/${never.id}`)
    await sink.waitFor(1)
    await service.send({ id: 'm2' })
    await sink.waitFor(2)
  })

  it("a rule of one account leaves the others' mail alone", async () => {
    await start(at(12), { account_id: 'main', tenant_id: 'default', start_hour: 3, end_hour: 4 })
    await service.account(sink, { id: 'free' })
    await service.send({ id: 'm1', subject: 'ruled' }, { id: 'm2', account_id: 'free', subject: 'free' })
    await sink.waitFor(1)
    await quiet()
    expect(subjects()).toEqual(['free'])
  })
})
