/** Servers that take a connection and never answer hold the few places they were given and nobody else's. */
import { afterEach, describe, expect, it } from 'vitest'
import { startTestService, type TestService } from '../support/service.js'
import { type SinkBehaviour, type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many, metric } from '../support/story.js'

const PLACES = 20
const ENV = {
  GMP_MAX_CONCURRENT_SENDS: String(PLACES),
  GMP_SMTP_CONNECT_TIMEOUT: '2',
  GMP_SMTP_COMMAND_TIMEOUT: '2',
  GMP_SMTP_FINAL_TIMEOUT: '2',
  GMP_SLOW_SEND_SECONDS: '0.5',
  GMP_MAX_RETRIES: '50',
  GMP_STOP_TIMEOUT: '1',
}
const silent = () => ({ silent: true }) as const
const SILENCES: SinkBehaviour[] = [
  { greeting: silent },
  { ehlo: silent },
  { mail: silent },
  { rcpt: silent },
  { data: silent },
]

describe.each(['sqlite', 'postgres'] as const)('silent servers beside a live one, on %s', dialect => {
  let service: TestService
  const sinks: SmtpSink[] = []

  afterEach(async () => {
    await service.stop()
    await Promise.all(sinks.splice(0).map(sink => sink.close()))
  })

  async function backlogsAt(count: number): Promise<SmtpSink[]> {
    const silentOnes: SmtpSink[] = []
    for (let i = 0; i < count; i += 1) {
      const sink = await startSink({ behave: SILENCES[i % SILENCES.length] })
      sinks.push(sink)
      silentOnes.push(sink)
      await service.account(sink, { id: `silent${i}` })
      await service.send(...many(50, `s${i}-`, { account_id: `silent${i}` }))
    }
    await service.until('each silent server is waited for', () => silentOnes.every(sink => sink.openConnections > 0))
    return silentOnes
  }

  it.each([1, 10])('%i of them with a backlog of 50 each: 200 live messages are through quickly', async count => {
    service = await startTestService({ dialect, env: ENV })
    const live = await startSink()
    sinks.push(live)
    await service.account(live, { id: 'live' })
    const silentOnes = await backlogsAt(count)
    await service.send(...many(200, 'live', { account_id: 'live' }))
    // Behind the others' time-outs, one after another, they would be for longer than this waits.
    await live.waitFor(200)

    // They cannot take all places, and none of their mail is lost, sent or failed.
    expect(silentOnes.reduce((sum, sink) => sum + sink.openConnections, 0)).toBeLessThan(PLACES)
    expect(silentOnes.map(sink => sink.accepted)).toEqual(silentOnes.map(() => 0))
    await service.until('the live ones settled', () =>
      metric(service, 'gmp_sent_total{tenant_id="default",account_id="live"}').then(n => n === 200),
    )
    const states = await service.service.db!.read({
      sql: 'select account_id = $1 as live, stage > 0 as open, count(*) as n from messages group by 1, 2',
      params: ['live'],
    })
    expect(states.map(row => [Boolean(row.live), Boolean(row.open), Number(row.n)]).sort()).toEqual([
      [false, true, 50 * count],
      [true, false, 200],
    ])

    // An immediate message finds a place too, even while all of theirs are taken.
    await service.send({ id: 'urgent', account_id: 'live', priority: 0 })
    await live.waitFor(201)
    expect(live.countOf('DATA')).toBe(201)
  })

  it('more of them than there are places: a live account is not starved by their number', async () => {
    service = await startTestService({ dialect, env: ENV })
    const live = await startSink()
    const silentOne = await startSink({ behave: { greeting: silent } })
    sinks.push(live, silentOne)
    await service.account(live, { id: 'live' })
    const ids = Array.from({ length: PLACES + 10 }, (_, i) => `silent${i}`)
    for (const id of ids) await service.account(silentOne, { id })
    await service.send(...ids.flatMap(id => many(5, `${id}-`, { account_id: id })))
    await service.until('they take what they get', () => silentOne.openConnections >= PLACES / 2)
    await service.send(...many(200, 'live', { account_id: 'live' }))
    // Their first attempts may cost it one time-out, not one after another.
    await live.waitFor(200)
    expect(live.countOf('DATA')).toBe(200)
  })
})
