/** One tenant's thousands hold up nobody: others go at once, immediate mail goes first, backlogs take turns. */
import { afterEach, describe, expect, it } from 'vitest'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many, tenant } from '../support/story.js'

describe.each(['sqlite', 'postgres'] as const)('a noisy neighbour, on %s', dialect => {
  let service: TestService
  const sinks: SmtpSink[] = []

  afterEach(async () => {
    await service.stop()
    await Promise.all(sinks.splice(0).map(sink => sink.close()))
  })

  async function sink(delayMs: number): Promise<SmtpSink> {
    const started = await startSink({ behave: { final: () => ({ delayMs }) } })
    sinks.push(started)
    return started
  }

  it("5,000 of one tenant at low priority: another's single message leaves promptly, and an immediate one goes first", async () => {
    service = await startTestService({ dialect, env: { GMP_STOP_TIMEOUT: '5' } })
    const noisy = await sink(10)
    const quiet = await sink(0)
    await tenant(service, 'noisy', null)
    await tenant(service, 'quiet', null)
    await service.account(noisy, { tenant_id: 'noisy', id: 'main' })
    await service.account(quiet, { tenant_id: 'quiet', id: 'main' })
    const answer = await service.send(...many(5_000, 'n', { tenant_id: 'noisy', priority: 3 }))
    expect(answer.queued).toBe(5_000)
    await noisy.waitFor(100)

    const sent = noisy.accepted
    await service.send({ id: 'one', tenant_id: 'quiet', priority: 2 })
    await quiet.waitFor(1)
    expect(noisy.messages.filter(({ at }) => at < quiet.messages[0]!.at).length - sent).toBeLessThan(2_000)

    await service.send({ id: 'now', tenant_id: 'noisy', priority: 0, subject: 'immediate' })
    const before = noisy.accepted
    const place = () => noisy.messages.findIndex(({ raw }) => raw.includes('Subject: immediate'))
    await service.until('the immediate one left', () => place() >= 0)
    // Only what was claimed already goes before it, and what goes while a busy machine comes to claim it.
    expect(place() - before).toBeLessThan(1_000)
    expect(noisy.accepted).toBeLessThan(4_000)
    expect(quiet.accepted).toBe(1)
  })

  it('within an account: by priority, then first in first out', async () => {
    service = await startTestService({ dialect })
    const only = await sink(0)
    await service.account(only, { max_connections: 1 })
    await service.call('POST', '/commands/suspend', { tenant_id: 'default' })
    const mixed = many(120, 'm').map((message, i) => ({
      ...message,
      priority: 3 - (i % 4),
      subject: `p${3 - (i % 4)} ${i}`,
    }))
    await service.send(...mixed)
    await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    await only.waitFor(120)
    const order = only.messages.map(({ raw }) => /^Subject: (p\d \d+)/m.exec(raw.toString())![1])
    const expected = mixed
      .map(each => each.subject)
      .sort((a, b) => Number(a[1]) - Number(b[1]) || Number(a.slice(3)) - Number(b.slice(3)))
    expect(order).toEqual(expected)
  })

  it('an immediate message of any account goes before the backlogs of all the others', async () => {
    service = await startTestService({ dialect, env: { GMP_MAX_CONCURRENT_SENDS: '5', GMP_STOP_TIMEOUT: '5' } })
    const busy = await sink(20)
    const last = await sink(0)
    for (let i = 0; i < 6; i += 1) await service.account(busy, { id: `busy${i}` })
    await service.account(last, { id: 'last' })
    await service.send(...many(600, 'b').map((message, i) => ({ ...message, account_id: `busy${i % 6}`, priority: 1 })))
    await busy.waitFor(20)
    await service.send({ id: 'now', account_id: 'last', priority: 'immediate' })
    const before = busy.accepted
    await last.waitFor(1)
    // What is on the five connections, and a few that end while it is claimed; not the hundreds behind.
    const ahead = busy.messages.filter(({ at }) => at < last.messages[0]!.at).length - before
    expect(ahead).toBeLessThan(200)
    expect(busy.accepted).toBeLessThan(500)
  })

  it('one message that its server is slow to answer holds up neither the account nor an immediate one', async () => {
    service = await startTestService({ dialect, env: { GMP_STOP_TIMEOUT: '5' } })
    const isSlow = (content: Buffer) => content.includes('Subject: slow')
    const slow = await startSink({ behave: { final: ({ content }) => (isSlow(content) ? { delayMs: 6_000 } : null) } })
    sinks.push(slow)
    await service.account(slow)
    await service.send({ id: 'slow', subject: 'slow' })
    await service.until('the slow one under way', () => slow.countOf('DATA') === 1)
    await service.send({ id: 'next' }, { id: 'now', priority: 0 })
    await slow.waitFor(2)
    expect(slow.messages.every(({ raw }) => !isSlow(raw))).toBe(true)
  })

  it('accounts with backlogs take turns evenly, whatever their length and age', async () => {
    service = await startTestService({ dialect, env: { GMP_MAX_CONCURRENT_SENDS: '10', GMP_STOP_TIMEOUT: '5' } })
    const order: number[] = []
    const final = (i: number) => () => {
      order.push(i)
      return { delayMs: 5 }
    }
    const all = await Promise.all([0, 1, 2, 3].map(i => startSink({ record: 'count', behave: { final: final(i) } })))
    sinks.push(...all)
    for (const [i, each] of all.entries()) await service.account(each, { id: `a${i}` })
    // The first has been waiting for long and has ten times as much.
    await service.call('POST', '/commands/suspend')
    await service.send(...many(2_000, 'first', { account_id: 'a0' }))
    for (const i of [1, 2, 3]) await service.send(...many(200, `a${i}-`, { account_id: `a${i}` }))
    await service.call('POST', '/commands/activate')
    await service.until('500 are through', () => order.length >= 500)
    const shares = all.map((_, i) => order.slice(0, 500).filter(each => each === i).length)
    expect(Math.min(...shares)).toBeGreaterThan(60)
    expect(Math.max(...shares)).toBeLessThan(260)
  })
})
