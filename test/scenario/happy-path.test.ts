/** The usual day: a batch of all priorities goes out once, in order, complete, and the client is told once of each. */
import { describe, expect, it } from 'vitest'
import { headersOf, idsOf, openScene, wireText } from '../support/scene.js'
import { expectBalanced } from '../support/story.js'

describe.each(['sqlite', 'postgres'] as const)('a batch of all priorities on %s', dialect => {
  it('reaches the server by priority and then first in first out, each once and each reported once', async () => {
    const { service, sink, client, reports } = await openScene({ dialect, account: { max_connections: 1 } })
    await service.call('POST', '/commands/suspend', { tenant_id: 'default' })
    const named = ['immediate', 'high', 'medium', 'low']
    const batch = Array.from({ length: 120 }, (_, i) => {
      const priority = (i * 7) % 4
      return { id: `p${priority}-${i}`, priority: i % 2 === 0 ? priority : named[priority] }
    })
    expect(await service.send(...batch)).toEqual({ ok: true, queued: 120, rejected: [] })
    expect((await service.call('GET', '/status')).body.pending_messages).toBe(120)
    expect(sink.connections).toBe(0)

    const before = Math.floor(Date.now() / 1000)
    await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    const ids = batch.map(({ id }) => id)
    await expectBalanced(service, client, ids)
    // The sort is stable: within a priority the order of the submission stays.
    expect(idsOf(sink.messages)).toEqual([...ids].sort((a, b) => Number(a[1]) - Number(b[1])))
    expect(sink.countOf('DATA')).toBe(120)

    for (const id of ids) expect(reports(id)).toHaveLength(1)
    const [report] = reports('p0-0')
    expect(report).toEqual({
      id: 'p0-0',
      sent_ts: expect.any(Number),
      tenant_id: 'default',
      account_id: 'main',
      priority: 0,
      attempts: 1,
    })
    expect(report!.sent_ts).toBeGreaterThanOrEqual(before)
    expect(report!.sent_ts).toBeLessThanOrEqual(Math.floor(Date.now() / 1000))
    const record = await service.message('p0-0')
    expect(record).toMatchObject({ status: 'sent', attempts: 1, sent_ts: report!.sent_ts, waiting_for: null })
    expect(record.error_ts).toBeUndefined()
    expect(record.attempt_log).toMatchObject([{ n: 1, final: { code: '250', enhanced: '2.0.0' }, error: null }])
    expect((await service.call('GET', '/status')).body.pending_messages).toBe(0)
    expect(service.logs.filter(line => line.startsWith('ERROR') || line.startsWith('WARNING'))).toEqual([])
  })

  it('leaves with the headers that mail needs, and without Bcc', async () => {
    const { service, sink, client } = await openScene({ dialect })
    const sent = await service.send({
      id: 'order-2041 (copy)',
      from: 'Shop <shop@example.com>',
      to: ['Anna <anna@example.net>', 'bert@example.net'],
      cc: 'cleo@example.net',
      bcc: ['hidden-one@example.org', 'Hidden Two <hidden-two@example.org>'],
      reply_to: 'help@example.com',
      return_path: 'bounces@example.com',
      subject: 'Grüße aus Köln',
      body: 'Text body',
      body_html: '<p>Html body</p>',
      headers: { 'X-Campaign': 'spring' },
    })
    expect(sent.queued).toBe(1)
    await service.send({ id: 'own-id', message_id: '<abc.1@shop.example>' })
    await expectBalanced(service, client, ['order-2041 (copy)', 'own-id'])

    const mail = sink.messages.find(({ to }) => to.length === 5)!
    expect(mail.from).toBe('bounces@example.com')
    expect([...mail.to].sort()).toEqual([
      'anna@example.net',
      'bert@example.net',
      'cleo@example.net',
      'hidden-one@example.org',
      'hidden-two@example.org',
    ])
    const headers = headersOf(mail.raw)
    for (const name of ['message-id', 'date', 'mime-version', 'x-genro-mail-id', 'from', 'to', 'cc', 'subject']) {
      expect([name, headers.get(name)?.length]).toEqual([name, 1])
    }
    expect(headers.get('x-genro-mail-id')).toEqual(['order-2041 (copy)'])
    expect(headers.get('mime-version')).toEqual(['1.0'])
    expect(headers.get('message-id')![0]).toMatch(/^<[^<>@\s]+@[^<>@\s]+>$/)
    expect(Math.abs(Date.parse(headers.get('date')![0]!) - Date.now())).toBeLessThan(60_000)
    expect(headers.get('reply-to')).toEqual(['help@example.com'])
    expect(headers.get('x-campaign')).toEqual(['spring'])
    expect(headers.has('bcc')).toBe(false)
    expect(mail.raw.toString('latin1').toLowerCase()).not.toContain('hidden')

    const own = headersOf(sink.messages.find(({ to }) => to.length === 1)!.raw)
    expect(own.get('message-id')).toEqual(['<abc.1@shop.example>'])
    expect(wireText(sink).match(/abc\.1@shop\.example/g)).toHaveLength(1)
  })
})
