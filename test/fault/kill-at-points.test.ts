/**
 * SIGKILL at each named point of a message's journey, seen from outside: through what the SMTP server and the report
 * endpoint are asked. Before the final dot nothing may be in doubt; at the dot it must be; policy hold never doubles.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { readDatabase } from '../support/ledger.js'
import type { SinkBehaviour, SinkEvent, SinkPhase } from '../support/smtp-sink.js'
import { openWorld, pause, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const POLICIES = ['retry', 'hold'] as const
/** More than the sockets' buffers hold, so that the final dot cannot be on its way yet. */
const LARGE = 'A line that makes the message large.\n'.repeat(250_000)

describe.each(['sqlite', 'postgres'] as const)('killed at a point of the journey on %s', dialect => {
  let world: World
  let kills = 0

  beforeAll(async () => {
    // Without PIPELINING each command comes alone, which makes each of them a point.
    world = await openWorld(dialect, { sink: { pipelining: false } })
    await world.start()
    for (const policy of POLICIES) await world.account({ id: policy, in_doubt: policy, max_connections: 1 })
  })
  afterAll(() => world?.close())

  const idsAt = (point: string) => POLICIES.map(policy => `${point}-${policy}`)

  const submitBoth = async (point: string, fields: object = {}) => {
    for (const policy of POLICIES)
      await world.submit([`${point}-${policy}`], { fields: { account_id: policy, ...fields } })
  }

  const kill = async () => {
    kills += 1
    world.process.kill('SIGKILL')
    await world.process.exited
  }

  /** Kills when both messages have come to the phase, which is answered by `meanwhile`. */
  const killAt = async (phase: SinkPhase, meanwhile: SinkBehaviour[SinkPhase], point: string, fields: object = {}) => {
    let reached = 0
    const held = (event: SinkEvent) => {
      reached += 1
      return meanwhile?.(event)
    }
    world.sink.behave({ [phase]: held })
    void submitBoth(point, fields)
    await until(`both at ${phase}`, () => reached >= POLICIES.length)
    await kill()
    world.sink.behave({})
    await world.start()
    await until('both told queued', () => idsAt(point).every(id => world.ledger.queued.has(id)))
  }

  const statusOf = async (id: string) => (await world.call('GET', `/messages/${id}`)).body.status as string
  const bothSent = (point: string) =>
    until('both settled', async () => {
      const statuses = await Promise.all(idsAt(point).map(statusOf))
      return statuses.every(status => status === 'sent')
    })
  const doubtsOf = async (point: string) => {
    const { doubts } = await world.ledger.balance(world.databaseUrl)
    return doubts.filter(id => id.startsWith(`${point}-`)).sort()
  }
  const deliveriesOf = (point: string) => idsAt(point).map(id => world.ledger.deliveries().get(id) ?? 0)

  it('right after the answer to add-messages: both are sent, once', async () => {
    world.sink.behave({ greeting: () => ({ delayMs: 100 }) })
    await submitBoth('answered')
    await kill()
    world.sink.behave({})
    await world.start()
    await world.drained()
    expect(deliveriesOf('answered')).toEqual([1, 1])
    expect(await doubtsOf('answered')).toEqual([])
  })

  it.each(['mail', 'rcpt', 'data'] as const)('at %s: both are sent again and nothing is in doubt', async phase => {
    await killAt(phase, () => ({ silent: true }), phase)
    await world.drained()
    expect(deliveriesOf(phase)).toEqual([1, 1])
    expect(await doubtsOf(phase)).toEqual([])
  })

  it('in the middle of a large body: both are sent again and nothing is in doubt', async () => {
    await killAt('body', () => ({ silent: true }), 'body', { body: LARGE })
    await world.drained()
    expect(deliveriesOf('body')).toEqual([1, 1])
    expect(await doubtsOf('body')).toEqual([])
  })

  it('after the final dot, not taken by the server: retry sends again, hold waits for the operator', async () => {
    await killAt('final', () => ({ silent: true }), 'dot')
    await until('the one on retry', async () => (await statusOf('dot-retry')) === 'sent')
    expect(await until('the one on hold', async () => (await statusOf('dot-hold')) === 'in_doubt')).toBe(true)
    expect(await doubtsOf('dot')).toEqual(idsAt('dot').sort())
    expect(deliveriesOf('dot')).toEqual([1, 0])
    expect((await world.call('POST', '/messages/dot-hold/release')).status).toBe(200)
    await world.drained()
    expect(deliveriesOf('dot')).toEqual([1, 1])
  })

  it('after the final dot, taken by the server: retry doubles and says so, hold does not double', async () => {
    // The reply stays away until the process is long dead; the server has taken the message all the same.
    await killAt('final', () => ({ delayMs: 300 }), 'taken')
    await until('the one on retry', async () => (await statusOf('taken-retry')) === 'sent')
    await until('the one on hold', async () => (await statusOf('taken-hold')) === 'in_doubt')
    await until('what the server took', () => deliveriesOf('taken').join() === '2,1')
    expect(await doubtsOf('taken')).toEqual(idsAt('taken').sort())
    expect((await world.call('POST', '/messages/taken-hold/discard')).status).toBe(200)
    await world.drained()
    expect(deliveriesOf('taken')).toEqual([2, 1])
  })

  it('just after the reply: what was not recorded is in doubt, what was is not sent again', async () => {
    let replies = 0
    world.sink.behave({
      final: () => {
        replies += 1
        return null
      },
    })
    void submitBoth('replied')
    await until('both replies', () => replies >= POLICIES.length)
    await kill()
    world.sink.behave({})
    await world.start()
    await until('both told queued', () => idsAt('replied').every(id => world.ledger.queued.has(id)))
    await until('both settled', async () => {
      const [retry, hold] = [await statusOf('replied-retry'), await statusOf('replied-hold')]
      return retry === 'sent' && (hold === 'sent' || hold === 'in_doubt')
    })
    const doubts = await doubtsOf('replied')
    const [retries, holds] = deliveriesOf('replied')
    expect(retries).toBe(doubts.includes('replied-retry') ? 2 : 1)
    expect(holds).toBe(1)
    if (doubts.includes('replied-hold')) await world.call('POST', '/messages/replied-hold/discard')
    await world.drained()
  })

  it('while a report is being posted: it is posted again', async () => {
    let asked = 0
    world.ledger.answerReports(() => {
      asked += 1
      return { hang: 'headers' }
    })
    await submitBoth('posting')
    await until('a report', () => asked > 0)
    await bothSent('posting')
    await kill()
    world.ledger.answerReports(() => ({ body: { ok: true } }))
    await world.start()
    await world.drained()
    expect(deliveriesOf('posting')).toEqual([1, 1])
  })

  it('just after the answer to a report: at worst the same entry comes again', async () => {
    let asked = 0
    let answerNow = () => {}
    const after = new Promise<void>(done => {
      answerNow = done
    })
    world.ledger.answerReports(() => {
      asked += 1
      return { body: { ok: true }, after }
    })
    await submitBoth('told')
    await until('a report', () => asked > 0)
    await bothSent('told')
    answerNow()
    await until('the answer', () => world.ledger.waiting().length < 2)
    await kill()
    await world.start()
    await world.drained()
    expect(deliveriesOf('told')).toEqual([1, 1])
  })

  it('and after all this the ledger balances', async () => {
    await until('the last acknowledgement to be recorded', async () => {
      const [row] = await readDatabase(world.databaseUrl, 'select count(*) as n from events where pending = 1')
      return Number(row?.n) === 0
    })
    // Late replies to the dead have been counted by now.
    await pause(50)
    const balance = await world.ledger.balance(world.databaseUrl)
    expect(balance.problems).toEqual({})
    expect(balance.claimed).toBe(0)
    expect(balance.doubled.filter(id => id.endsWith('-hold'))).toEqual([])
    expect(kills).toBe(10)
  })
})
