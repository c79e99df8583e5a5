/**
 * Who waits for a limit goes as soon as it no longer stands before him, also when that changes while a claim by the old
 * limit is answered.
 */
import { describe, expect, it, vi } from 'vitest'
import { loadAccounts } from '../../src/accounts/store.js'
import { createDispatcher, type DispatchDeps } from '../../src/delivery/dispatcher.js'
import { createDeliveryEvents } from '../../src/delivery/events.js'
import { createSettings } from '../../src/delivery/settings.js'
import { createSettler } from '../../src/delivery/settler.js'
import type { Sealer } from '../../src/lib/sealer.js'
import { anyOf } from '../../src/lib/wake.js'
import { createMetrics } from '../../src/metrics/metrics.js'
import { listRules } from '../../src/rules/store.js'
import { type MailTransport, SmtpFailure } from '../../src/smtp/transport.js'
import { loadTenants } from '../../src/tenants/store.js'
import { NO_TRACING } from '../../src/tracing/tracer.js'
import { createFakeClock } from '../support/fake-clock.js'
import { POLICY, type QueueRig, START, type TestAccount, useQueueRig } from '../support/queue-rig.js'
import { silentLog } from '../support/silent-log.js'
import { dialects } from '../support/temp-db.js'

const OK = { code: 250, enhanced: null, text: 'ok' }
const LONG_ENOUGH = { timeout: 5_000 }

interface Held {
  /** Stands around the look at who waits for a full window, whose answer is when to ask again. */
  aroundLook?(look: () => Promise<number>): Promise<number>
  /** Before each send. */
  beforeSend?(): Promise<void>
}

/** Whoever passes waits until it is opened. */
function createGate() {
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  const pass = vi.fn(() => opened)
  return { pass, open, isReached: () => vi.waitFor(() => expect(pass).toHaveBeenCalled(), LONG_ENOUGH) }
}

describe.each(dialects)('who waits for a limit, on %s', dialect => {
  let rig: QueueRig
  let account: TestAccount
  useQueueRig(dialect, async given => {
    rig = given
    account = await rig.account()
    await limitTo(1)
  })

  const limitTo = (limit: number | null) =>
    rig.exec('update accounts set limit_per_minute = $1 where key = $2', limit, account.key)

  /** A dispatcher that has heard of the account, on a clock that stands still unless a test advances it. */
  async function open({ aroundLook = look => look(), beforeSend = async () => {} }: Held = {}) {
    const { db } = rig
    const clock = createFakeClock(START)
    const steadyNow = () => rig.now
    const sealer = {} as Sealer
    const settings = createSettings({
      db,
      clock,
      timezone: 'UTC',
      globalEndpoint: { url: null, user: null, password: null, token: null },
      loadAccounts: keys => loadAccounts(db, sealer, keys),
      loadTenants: ids => loadTenants(db, sealer, ids),
      loadRules: () => listRules(db),
    })
    const journal = rig.journal()
    const settler = createSettler({ db, clock, log: silentLog, journal, steadyNow })
    const sent: string[] = []
    const transport: Pick<MailTransport, 'send'> = {
      async send(_account, { to }, _mail, { beforeFinalDot }) {
        await beforeSend()
        await beforeFinalDot()
        sent.push(...to)
        const recipients = to.map(address => ({ address, reply: OK }))
        return { mail: null, recipients, data: OK, reachedData: true, remote: 'mx.test:25', durationMs: 1 }
      },
    }
    const real = createDeliveryEvents({
      db,
      clock,
      log: silentLog,
      settings,
      metrics: createMetrics({} as never),
      logAttempts: false,
      steadyNow,
      pause: async () => {},
      worked: async () => {},
      reports() {},
    })
    const settled = vi.fn(real.settled)
    const events = {
      ...real,
      settled,
      limited: (...asked: Parameters<typeof real.limited>) => aroundLook(() => real.limited(...asked)),
    }
    const lease = { id: await rig.lease(), hasMargin: () => true }
    const deps = {
      db,
      clock,
      log: silentLog,
      random: () => 0.5,
      transport,
      journal,
      settings,
      settler,
      events,
      steadyNow,
    }
    const others = { tracer: NO_TRACING, kept: null, lease: () => lease, mayClaim: () => true, wakeLoop() {} }
    const dispatcher = createDispatcher({ ...deps, ...others } as unknown as DispatchDeps, {
      ...POLICY,
      maxConcurrentSends: 10,
      batchSizePerAccount: 50,
      slowSendMs: 30_000,
      leaseMs: 60_000,
      testMode: false,
    })
    dispatcher.hint([anyOf(account.key)])
    return {
      clock,
      dispatcher,
      settings,
      hasSent: (count: number) => vi.waitFor(() => expect(sent).toHaveLength(count), LONG_ENOUGH),
      hasSettled: (count: number) => vi.waitFor(() => expect(settled).toHaveBeenCalledTimes(count), LONG_ENOUGH),
      /** With the steps of no time at all: what waits for an instant never goes. */
      sends: (count: number) =>
        vi.waitFor(async () => {
          await dispatcher.step()
          expect(sent).toHaveLength(count)
        }, LONG_ENOUGH),
    }
  }

  it('goes when it is taken off, also while a claim is answered', async () => {
    await rig.add(account, 4)
    const gate = createGate()
    const { dispatcher, settings, hasSent, sends } = await open({
      async aroundLook(look) {
        const again = await look()
        await gate.pass()
        return again
      },
    })
    await dispatcher.step()
    await hasSent(1)
    const step = dispatcher.step()
    await gate.isReached()
    await limitTo(null)
    settings.forget()
    gate.open()
    await step
    await sends(4)
  })

  it('goes when another process has taken it off, once that is read', async () => {
    await rig.add(account, 4)
    const { clock, dispatcher, sends } = await open()
    await sends(1)
    await dispatcher.step()
    await limitTo(null)
    await rig.exec("insert into meta (key, value) values ('settings_version', '1')")
    await clock.advance(2_000)
    await sends(4)
  })

  describe('when a slot is given back', () => {
    /** The first of the sends ends before DATA, once the gate is open. */
    const failingOnce = (gate: { pass(): Promise<void> }) => {
      let sends = 0
      return async () => {
        sends += 1
        if (sends > 1) return
        await gate.pass()
        const info = { scope: 'session', phase: 'mail', reply: null, reachedData: false, afterDot: false } as const
        throw new SmtpFailure('gone', { ...info, remote: 'mx.test:25' })
      }
    }

    it('goes at once, also while a claim is answered', async () => {
      await rig.add(account, 2, { priority: 0 })
      const [look, send] = [createGate(), createGate()]
      const { dispatcher, hasSettled, sends } = await open({
        beforeSend: failingOnce(send),
        async aroundLook(read) {
          const again = await read()
          await look.pass()
          return again
        },
      })
      await dispatcher.step()
      await send.isReached()
      const step = dispatcher.step()
      await look.isReached()
      send.open()
      await hasSettled(1)
      look.open()
      await step
      await sends(1)
    })

    it('leaves no lane behind where there is nothing more to send', async () => {
      await rig.add(account, 1, { priority: 0 })
      const send = createGate()
      const { dispatcher, hasSettled } = await open({ beforeSend: failingOnce(send) })
      await dispatcher.step()
      await send.isReached()
      // Finds that nothing more is there.
      await dispatcher.step()
      expect(dispatcher.stats().lanes).toBe(1)
      send.open()
      await hasSettled(1)
      await dispatcher.step()
      expect(dispatcher.stats().lanes).toBe(0)
    })
  })

  it('does not fail by a limit that was taken off before it came', async () => {
    await rig.exec("update accounts set limit_behavior = 'error' where key = $1", account.key)
    await rig.add(account, 2)
    const gate = createGate()
    const { dispatcher, settings, hasSent, sends } = await open({
      async aroundLook(look) {
        await gate.pass()
        return look()
      },
    })
    await dispatcher.step()
    await hasSent(1)
    const step = dispatcher.step()
    await gate.isReached()
    await limitTo(null)
    settings.forget()
    await rig.add(account, 1)
    gate.open()
    await step
    await sends(3)
  })
})
