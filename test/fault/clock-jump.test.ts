/**
 * The wall clock jumps an hour ahead and an hour back under a running service: nothing is lost or early by the wall
 * clock, limits hold in real time, new messages go at once and reports do not wait for an hour to come round again.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../src/lib/clock.js'
import { type Ledger, openLedger } from '../support/ledger.js'
import { tempDir } from '../support/process.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { idsOf, pause } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const HOUR = 3_600_000
const LIMIT = 5

describe.each(['sqlite', 'postgres'] as const)('the wall clock jumps on %s', dialect => {
  let service: TestService
  let sink: SmtpSink
  let limitedSink: SmtpSink
  let ledger: Ledger
  let dir: string
  let offset = 0
  const now = () => Date.now() + offset

  afterEach(async () => {
    await service.stop()
    await ledger.close()
    await sink.close()
    await limitedSink.close()
    await rm(dir, { recursive: true, force: true })
  })

  const start = (databaseUrl?: string, env: Record<string, string> = {}) =>
    startTestService({
      dialect,
      databaseUrl,
      env: { GMP_CLIENT_SYNC_URL: ledger.reports.url, ...env },
      overrides: { clock: { ...systemClock, now }, boot: { id: 'this one', uptimeMs: performance.now() } },
    })

  const open = async (env?: Record<string, string>) => {
    offset = 0
    sink = await startSink()
    limitedSink = await startSink()
    ledger = await openLedger(sink, limitedSink)
    dir = (await tempDir()).dir
    service = await start(dialect === 'sqlite' ? join(dir, 'mail_service.db') : undefined, env)
    await service.account(sink)
    await service.account(limitedSink, { id: 'limited', limit_per_minute: LIMIT })
  }

  const send = async (ids: readonly string[], fields: object = {}) => {
    const answer = await service.send(...ids.map(id => ({ id, ...fields })))
    expect(answer.queued).toBe(ids.length)
    for (const id of ids) ledger.queued.add(id)
  }

  /** Sent and reported within what `until` waits: nothing waits for the clock to come round. */
  const goesAtOnce = async (ids: readonly string[]) => {
    await send(ids)
    await service.until(`${ids[0]} to be sent and reported`, () => !ledger.waiting().some(id => ids.includes(id)))
  }

  const isSent = (id: string) => ledger.deliveries().has(id)

  it.each([
    ['ahead and back', [HOUR, -HOUR]],
    ['back and ahead', [-HOUR, HOUR]],
  ] as const)('%s: new messages still go at once and are reported', async (name, jumps) => {
    await open()
    await goesAtOnce(idsOf('before', 20))
    for (const [i, jump] of jumps.entries()) {
      // In the middle of a flow, so that something is in every station of the journey.
      await send(idsOf(`flow${i}-`, 50))
      offset += jump
      await goesAtOnce(idsOf(`after${i}-`, 20))
    }
    await service.until('every final report', () => ledger.waiting().length === 0)
    const balance = await ledger.balance(service.databaseUrl)
    expect(balance.problems, name).toEqual({})
    expect(balance.doubled).toEqual([])
    expect(balance.doubts).toEqual([])
  })

  it('scheduled messages go by the wall clock, never early', async () => {
    await open()
    const inHalfAnHour = Math.ceil(now() / 1000) + 1_800
    await send(['later'], { deferred_ts: inHalfAnHour })
    offset -= HOUR
    const soon = Math.ceil(now() / 1000) + 2
    await send(['soon'], { deferred_ts: soon })
    await service.until('the one due soon', () => isSent('soon'))
    expect(sink.messages.at(-1)!.at + offset).toBeGreaterThanOrEqual(soon * 1000)
    expect(isSent('later')).toBe(false)
    offset += HOUR
    await pause(300)
    expect(isSent('later')).toBe(false)
    offset += HOUR
    await service.until('the one whose time has come', () => isSent('later'))
    await service.until('every final report', () => ledger.waiting().length === 0)
    expect((await ledger.balance(service.databaseUrl)).problems).toEqual({})
  })

  it('a limit counts real minutes: a jump opens no window', async () => {
    await open()
    await send(idsOf('limited', LIMIT * 3), { account_id: 'limited' })
    await service.until('a full window', () => limitedSink.accepted === LIMIT)
    for (const jump of [HOUR, -HOUR, -HOUR, HOUR]) {
      offset += jump
      await goesAtOnce([`other${offset}-${jump}`])
      await pause(300)
      expect(limitedSink.accepted).toBe(LIMIT)
    }
    // None of the jumps has moved them out of reach: once the limit is lifted they go.
    await service.account(limitedSink, { id: 'limited', limit_per_minute: 0 })
    await service.until('every final report', () => ledger.waiting().length === 0)
    expect((await ledger.balance(service.databaseUrl)).problems).toEqual({})
  })

  it('a retry that was put off ahead of time comes when it is due by the clock that is', async () => {
    // Longer than the jump back takes, and far less than the hour.
    await open({ GMP_RETRY_DELAYS: '2' })
    offset += HOUR
    sink.behave({ rcpt: ({ n }) => (n === 1 ? '451 4.7.1 Greylisted' : null) })
    await send(['grey'])
    await service.until('the retry to be put off', async () => (await service.message('grey')).status === 'deferred')
    offset -= HOUR
    await service.until('the retry', () => isSent('grey'))
    await service.until('every final report', () => ledger.waiting().length === 0)
    expect((await ledger.balance(service.databaseUrl)).problems).toEqual({})
  })

  it('what expires does so by the wall clock: at once after a jump past its time, and not before', async () => {
    await open()
    await send(idsOf('limited', LIMIT), { account_id: 'limited' })
    await service.until('a full window', () => limitedSink.accepted === LIMIT)
    const inHalfAnHour = Math.ceil(now() / 1000) + 1_800
    await send(['expires'], { account_id: 'limited', expires_ts: inHalfAnHour })
    offset -= HOUR
    await goesAtOnce(['back'])
    expect((await service.message('expires')).status).toMatch(/^(pending|deferred)$/)
    offset += 2 * HOUR
    await service.until('its end', async () => (await service.message('expires')).status === 'cancelled')
    await service.until('every final report', () => ledger.waiting().length === 0)
    expect(limitedSink.accepted).toBe(LIMIT)
  })

  it('what is retried, paused or refused by the tenant is taken up again after a jump back', async () => {
    await open()
    // An account that cannot connect, a report endpoint that fails and a message put off, all in the hour to be lost.
    offset += HOUR
    sink.behave({ greeting: () => '421 4.3.2 Not now' })
    ledger.answerReports(() => ({ status: 500 }))
    await send(['paused'])
    await service.until('the pause', async () => {
      const { body } = await service.call('GET', '/status')
      return body.paused_accounts.length > 0
    })
    await service.until('a failed report', () => ledger.reports.requests.length > 0)
    offset -= HOUR
    sink.behave({})
    ledger.answerReports(() => ({ body: { ok: true } }))
    await service.until('the paused one', () => isSent('paused'))
    await service.until('every final report', () => ledger.waiting().length === 0)
    expect((await ledger.balance(service.databaseUrl)).problems).toEqual({})
  })

  // PostgreSQL has its own clock, which no test sets.
  it.runIf(dialect === 'sqlite')('a restart after a jump opens no window either', async () => {
    await open()
    await send(idsOf('limited', LIMIT * 3), { account_id: 'limited' })
    await service.until('a full window', () => limitedSink.accepted === LIMIT)
    for (const jump of [HOUR, -2 * HOUR]) {
      await service.stop()
      offset += jump
      service = await start(service.databaseUrl)
      await goesAtOnce([`other${jump}`])
      await pause(300)
      expect(limitedSink.accepted).toBe(LIMIT)
    }
    await service.account(limitedSink, { id: 'limited', limit_per_minute: 0 })
    await service.until('every final report', () => ledger.waiting().length === 0)
    expect((await ledger.balance(service.databaseUrl)).problems).toEqual({})
  })
})
