/** What a person or a monitor can see: figures that add up, lists with pages that miss nothing, the reports once more. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many, metric, tenant } from '../support/story.js'

const SENT = 2_000
const REFUSED = 300
const LATER = 200
const ALL = SENT + REFUSED + LATER

describe.each(['sqlite', 'postgres'] as const)('statistics on %s', dialect => {
  let service: TestService
  let sink: SmtpSink
  let key: string
  let other: string
  let startedTs: number

  beforeAll(async () => {
    startedTs = Math.floor(Date.now() / 1000)
    service = await startTestService({ dialect })
    sink = await startSink({
      record: 'count',
      behave: { rcpt: ({ address }) => (address.startsWith('no') ? '550 5.1.1 No such user' : null) },
    })
    key = await tenant(service, 'acme', null, { name: 'Acme Ltd' })
    other = await tenant(service, 'other', null)
    for (const id of ['one', 'two']) await service.account(sink, { tenant_id: 'acme', id })
    await service.account(sink, { tenant_id: 'other' })
    const far = startedTs + 3600
    const sent = many(SENT, 'sent', { tenant_id: 'acme', account_id: 'one', priority: 1, subject: 'Größe' })
    const refused = many(REFUSED, 'refused', {
      tenant_id: 'acme',
      account_id: 'two',
      to: 'no-one@example.net',
      batch_code: 'bad',
    })
    const later = many(LATER, 'later', { tenant_id: 'acme', account_id: 'two', deferred_ts: far, priority: 3 })
    const answer = await service.send(...sent, ...refused, ...later, {
      tenant_id: 'other',
      id: 'lone',
      subject: 'Größe',
    })
    expect(answer.queued).toBe(ALL + 1)
    await service.until(
      'all ended',
      async () => (await service.call('GET', '/status')).body.pending_messages === LATER,
      25_000,
    )
    await service.until('all counted', async () => {
      const [row] = await service.service.db!.read({
        sql: 'select count(*) as n from messages where reported_at is not null',
        params: [],
      })
      return Number(row?.n) === SENT + REFUSED + 1
    })
  })
  afterAll(async () => {
    await service.stop()
    await sink.close()
  })

  const ask = async (path: string, token = key) => {
    const { status, body } = await service.call('GET', path, undefined, token)
    if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
    return body
  }
  /** Follows the cursor to the end. */
  async function pages(path: string, token = key): Promise<any[][]> {
    const found: any[][] = []
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: any = await ask(cursor === '' ? path : `${path}&cursor=${cursor}`, token)
      found.push(page.messages)
      cursor = page.next_cursor
    }
    return found
  }

  it('/status and /stats add up, for a tenant over its own alone', async () => {
    expect(await ask('/status')).toMatchObject({
      active: true,
      scheduler_active: true,
      pending_messages: LATER,
      paused_accounts: [],
    })
    expect(await ask('/status', other)).toMatchObject({ pending_messages: 0 })
    const stats = await ask('/stats')
    expect(stats).toMatchObject({ complete: true, by_status: { sent: SENT, error: REFUSED, deferred: LATER } })
    expect(stats.by_account).toEqual([
      { tenant_id: 'acme', account_id: 'one', sent: SENT },
      { tenant_id: 'acme', account_id: 'two', error: REFUSED, deferred: LATER },
    ])
    expect(stats.by_priority).toEqual([
      { priority: 0, open: 0, ended: 0 },
      { priority: 1, open: 0, ended: SENT },
      { priority: 2, open: 0, ended: REFUSED },
      { priority: 3, open: LATER, ended: 0 },
    ])
    expect(stats.by_hour).toHaveLength(24)
    expect(stats.by_hour.reduce((sum: number, each: { sent: number }) => sum + each.sent, 0)).toBe(SENT)
    expect((await ask('/stats', other)).by_status).toEqual({ sent: 1 })
    expect((await service.call('GET', '/stats')).body.by_status).toEqual({
      sent: SENT + 1,
      error: REFUSED,
      deferred: LATER,
    })
  })

  it('/metrics has the counters of each account and the gauge of what waits', async () => {
    expect(await metric(service, 'gmp_sent_total{tenant_id="acme",account_id="one"}')).toBe(SENT)
    expect(await metric(service, 'gmp_errors_total{tenant_id="acme",account_id="two"}')).toBe(REFUSED)
    expect(await metric(service, 'gmp_pending_messages')).toBe(LATER)
    const { body } = await service.call('GET', '/metrics', undefined, '')
    // From 0 at the account's creation.
    expect(body).toContain('gmp_errors_total{tenant_id="acme",account_id="one"} 0')
    expect(body).toContain('gmp_rate_limited_total{tenant_id="other",account_id="main"} 0')
    expect(body).toMatch(/gmp_queue_wait_seconds_count 2001/)
    expect(body).toMatch(/gmp_build_info\{version="[^"]+"\} 1/)
  })

  it('pages over 2,500 messages follow each other without a gap or a double, newest first', async () => {
    const found = await pages('/messages?limit=700')
    expect(found.slice(0, 3).map(page => page.length)).toEqual([700, 700, 700])
    const ids = found.flat().map(each => each.id)
    expect([ids.length, new Set(ids).size]).toEqual([ALL, ALL])
    const pks = found.flat().map(each => each.pk)
    expect(pks).toEqual([...pks].sort().reverse())
    expect((await pages('/messages?tenant_id=acme')).map(page => page.length).slice(0, 3)).toEqual([1000, 1000, 500])
    expect((await pages('/messages?limit=1000', other)).flat().map(each => each.id)).toEqual(['lone'])
    const { status } = await service.call('GET', '/messages?cursor=abc', undefined, key)
    expect(status).toBe(422)
  })

  it('new messages while a list is paged through neither shift it nor appear in it twice', async () => {
    const first = await ask('/messages?limit=10&status=deferred')
    await service.send(...many(5, 'new', { tenant_id: 'acme', account_id: 'two', deferred_ts: startedTs + 3600 }))
    const rest = await pages(`/messages?limit=1000&status=deferred&cursor=${first.next_cursor}`)
    expect([...first.messages, ...rest.flat()].map(each => each.id)).toHaveLength(LATER)
    await service.call('POST', '/commands/delete-messages', {
      tenant_id: 'acme',
      ids: many(5, 'new').map(each => each.id),
    })
  })

  it('filters: status, account, batch, open ones, text and time', async () => {
    const count = async (query: string) => (await pages(`/messages?limit=1000&${query}`)).flat().length
    expect(await count('status=error')).toBe(REFUSED)
    expect(await count('account_id=two')).toBe(REFUSED + LATER)
    expect(await count('batch_code=bad')).toBe(REFUSED)
    expect(await count('active_only=true')).toBe(LATER)
    expect(await count('q=sent19')).toBe(111)
    expect(await count('q=nowhere')).toBe(0)
    expect(await count(`q=${encodeURIComponent('GRÖßE')}`)).toBe(SENT)
    expect(await count('q=NO-ONE@')).toBe(REFUSED)
    expect(await count(`since=${startedTs}`)).toBe(ALL)
    expect(await count(`since=${startedTs + 600}`)).toBe(0)
    expect(await count(`until=${startedTs}`)).toBe(0)
    expect(await count(`until=${startedTs + 600}&status=sent`)).toBe(SENT)
  })

  it('a record tells its story: history, attempts with the replies, times', async () => {
    const { messages } = await ask('/messages?status=error&limit=1&include_history=true')
    const [{ id, history, error_ts, sent_ts, code, error, reported_ts }] = messages
    expect({ code, error, sent_ts }).toEqual({
      code: '550',
      error: expect.stringContaining('5.1.1'),
      sent_ts: undefined,
    })
    expect(error_ts).toBeGreaterThanOrEqual(startedTs)
    expect(reported_ts).toBeGreaterThanOrEqual(error_ts)
    expect(history).toEqual([
      expect.objectContaining({
        event_type: 'error',
        event_ts: expect.any(Number),
        description: expect.stringContaining('5.1.1'),
      }),
    ])
    const one = await ask(`/messages/${id}`)
    expect(JSON.stringify(one)).toContain('No such user')
    expect(one).toMatchObject({ tenant_name: 'Acme Ltd', attempts: 1, waiting_for: null })
    expect(await ask('/messages/later1')).toMatchObject({ waiting_for: 'schedule', next_attempt_ts: startedTs + 3600 })
  })

  it('/reports?after= tells every report entry again, oldest first, in pages', async () => {
    const entries: { id: string; tenant_id: string; sent_ts?: number; error_ts?: number }[] = []
    let page = await ask('/reports?limit=400')
    const first = page.cursor
    while (true) {
      entries.push(...page.reports)
      if (page.next_cursor === null) break
      page = await ask(`/reports?limit=400&after=${page.next_cursor}`)
    }
    const finals = entries.filter(each => each.sent_ts !== undefined || each.error_ts !== undefined)
    expect([finals.length, new Set(finals.map(each => each.id)).size]).toEqual([SENT + REFUSED, SENT + REFUSED])
    expect(new Set(entries.map(each => each.tenant_id))).toEqual(new Set(['acme']))
    expect((await ask(`/reports?after=${page.cursor}`)).reports).toEqual([])
    expect((await ask(`/reports?after=${first}&limit=1`)).reports).toEqual([entries[400]])
    expect((await ask('/reports', other)).reports.map((each: { id: string }) => each.id)).toEqual(['lone'])
  })
})
