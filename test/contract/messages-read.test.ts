import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Db, rowsParam } from '../../src/db/db.js'
import { findMessage, ownersOf } from '../../src/messages/find.js'
import { type ListFilter, listMessages } from '../../src/messages/list.js'
import type { Message } from '../../src/messages/message.js'
import { listReported } from '../../src/messages/reported.js'
import { createStatsReader } from '../../src/messages/stats.js'
import { enqueue } from '../../src/queue/enqueue.js'
import { createFakeClock } from '../support/fake-clock.js'
import { plainMessage } from '../support/plain-message.js'
import { dialects, openTempDb, type TempDb } from '../support/temp-db.js'

const clock = createFakeClock()
const NOW = clock.now()
const everything: ListFilter = { tenantId: null, limit: 1000, before: null }

describe.each(dialects)('reading messages on %s', dialect => {
  let temp: TempDb
  const keys: Record<string, number> = {}
  const list = async (filter: Partial<ListFilter> = {}) => {
    const page = await listMessages(temp.db, { ...everything, ...filter })
    return { ...page, ids: page.messages.map(each => each.id) }
  }
  const message = (tenantId: string, id: string, fields: Partial<Message> = {}, subject = `About ${id}`) => {
    const account = { key: keys[tenantId]!, id: 'main', tenantId }
    return plainMessage(account, {
      id,
      envelope: { from: 'a@x.it', to: ['ada@y.it'] },
      content: { subject, to: ['Ada Löve <ada@y.it>'], from: 'a@x.it', contentType: 'plain', body: 'secret words' },
      ...fields,
    })
  }
  const put = (messages: Message[], now = NOW) => enqueue(temp.db, messages, { now })
  const set = (id: string, sql: string) =>
    temp.db.write([{ sql: `update messages set ${sql} where id = $1`, params: [id] }])
  const find = (id: string, opensAt: number | null = null, tenantId = 'one') =>
    findMessage(temp.db, { tenantId, id, now: NOW, nextOpening: () => opensAt })

  beforeAll(async () => {
    temp = await openTempDb(dialect)
    for (const id of ['default', 'one', 'two', 'many']) {
      const [, [row]] = (await temp.db.write([
        { sql: "insert into tenants (id, name, created_at, updated_at) values ($1, 'Named', 0, 0)", params: [id] },
        {
          sql: `insert into accounts (tenant_id, id, host, port, created_at, updated_at) values ($1, 'main', 'h', 25, 0, 0) returning key`,
          params: [id],
        },
      ])) as [unknown, { key: number }[]]
      keys[id] = Number(row!.key)
    }
    await put([message('one', 'm1', { batchCode: 'b,1' }, 'Invoice für März')], NOW - 7_200_000)
    await put(
      [message('one', 'm2', { priority: 0, notBefore: NOW + 60_500, expiresAt: NOW + 90_000 })],
      NOW - 3_600_000,
    )
    const attachment = { filename: 'a.bin', fetchMode: 'base64', storagePath: 'QUJD', auth: 'ENC:sealed' } as const
    const { content } = message('one', 'm3')
    await put([message('one', 'm3', { content: { ...content, attachments: [attachment] } })], NOW)
    await put([message('two', 'm3'), message('two', 'other')], NOW)
    await set('m1', `stage = 0, status = 'sent', sent_at = ${NOW}, accepted = 1, attempts = 2, reported_at = ${NOW}`)
    const seq = Number((await temp.db.read({ sql: "select seq from messages where id = 'm1'", params: [] }))[0]!.seq)
    const entry = {
      id: 'm1',
      deferred_ts: 1,
      deferred_reason: '451 later',
      tenant_id: 'one',
      account_id: 'main',
      priority: 2,
      attempts: 1,
    }
    const sent = { id: 'm1', sent_ts: 2, tenant_id: 'one', account_id: 'main', priority: 2, attempts: 2 }
    const attempt = {
      n: 1,
      started_ts: 1,
      duration_ms: 5,
      remote: 'h:25',
      replies: [],
      final: { code: '250', enhanced: null, text: 'ok' },
      error: null,
    }
    await temp.db.write([
      {
        sql: `insert into events (tenant_id, seq, type, at, entry, attempt, pending, reported_at)
          select g.t, g.k, g.y, g.at, g.e, g.a, 0, g.at from @rows($1: t text, k bigint, y text, at bigint, e text, a text) g`,
        params: [
          rowsParam([
            { t: 'one', k: seq, y: 'deferred', at: NOW - 5000, e: JSON.stringify(entry), a: null },
            { t: 'one', k: seq, y: 'attempt', at: NOW - 4000, e: '{}', a: JSON.stringify(attempt) },
            { t: 'one', k: seq, y: 'sent', at: NOW, e: JSON.stringify(sent), a: JSON.stringify(attempt) },
            { t: 'two', k: 999_999, y: 'sent', at: NOW, e: '{"id":"gone","sent_ts":3}', a: null },
          ]),
        ],
      },
    ])
  })
  afterAll(() => temp.drop())

  it('a list is newest first and stays within its tenant', async () => {
    expect((await list({ tenantId: 'one' })).ids).toEqual(['m3', 'm2', 'm1'])
    expect((await list()).ids).toEqual(expect.arrayContaining(['m1', 'm2', 'm3', 'other']))
    expect((await list({ tenantId: 'nobody' })).ids).toEqual([])
  })

  it('a record says what the row says, in seconds and without empty fields', async () => {
    const [record] = (await list({ tenantId: 'one', status: 'sent' })).messages
    expect(JSON.parse(JSON.stringify(record))).toEqual({
      pk: expect.stringMatching(/^Z[0-9A-Za-z]{21}$/),
      id: 'm1',
      tenant_id: 'one',
      tenant_name: 'Named',
      account_id: 'main',
      status: 'sent',
      priority: 2,
      subject: 'Invoice für März',
      batch_code: 'b,1',
      sent_ts: NOW / 1000,
      reported_ts: NOW / 1000,
      attempts: 2,
      is_pec: false,
      created_at: '2026-06-30T08:00:00.000Z',
      updated_at: '2026-06-30T08:00:00.000Z',
      message: {
        id: 'm1',
        tenant_id: 'one',
        account_id: 'main',
        from: 'a@x.it',
        to: ['Ada Löve <ada@y.it>'],
        subject: 'Invoice für März',
        content_type: 'plain',
        body: 'secret words',
        priority: 2,
        batch_code: 'b,1',
      },
    })
  })

  it('base64 content and credentials of attachments are not told', async () => {
    const [record] = (await list({ tenantId: 'one', limit: 1 })).messages
    expect(record?.message?.attachments).toEqual([
      expect.objectContaining({ filename: 'a.bin', fetch_mode: 'base64', auth: '***' }),
    ])
    expect(JSON.stringify(record)).not.toMatch(/QUJD|sealed|envelope/)
  })

  it('filters: status, account, batch, open ones, time', async () => {
    const ids = async (filter: Partial<ListFilter>) => (await list({ tenantId: 'one', ...filter })).ids
    expect(await ids({ status: 'deferred' })).toEqual(['m2'])
    expect(await ids({ status: 'pending' })).toEqual(['m3'])
    expect(await ids({ status: 'error' })).toEqual([])
    expect(await ids({ accountId: 'main', batchCode: 'b,1' })).toEqual(['m1'])
    expect(await ids({ accountId: 'none' })).toEqual([])
    expect(await ids({ activeOnly: true })).toEqual(['m3', 'm2'])
    expect(await ids({ since: NOW - 3_600_000 })).toEqual(['m3', 'm2'])
    expect(await ids({ until: NOW - 3_600_000 })).toEqual(['m1'])
    expect((await list({ activeOnly: true })).ids).toEqual(expect.arrayContaining(['m3', 'm2', 'other']))
  })

  it('a text finds id, subject, recipient and sender in any case, and no body', async () => {
    const ids = async (text: string, filter: Partial<ListFilter> = {}) =>
      (await list({ tenantId: 'one', text, ...filter })).ids
    expect(await ids('M2')).toEqual(['m2'])
    expect(await ids('FÜR märz')).toEqual(['m1'])
    expect(await ids('löve')).toEqual(['m3', 'm2', 'm1'])
    expect(await ids('a@x.it')).toEqual(['m3', 'm2', 'm1'])
    expect(await ids('secret')).toEqual([])
    expect(await ids('subject')).toEqual([])
    expect(await ids('%')).toEqual([])
    expect(await ids('about', { activeOnly: true })).toEqual(['m3', 'm2'])
  })

  it('pages follow each other without a gap or a double', async () => {
    await put(Array.from({ length: 25 }, (_, i) => message('many', `p${i}`)))
    for (const filter of [{}, { activeOnly: true }, { text: 'p' }, { accountId: 'main' }]) {
      const seen: string[] = []
      let before: number | null = null
      do {
        const page: Awaited<ReturnType<typeof list>> = await list({ tenantId: 'many', limit: 10, before, ...filter })
        seen.push(...page.ids)
        before = page.next
      } while (before !== null)
      expect(seen).toEqual(Array.from({ length: 25 }, (_, i) => `p${24 - i}`))
    }
  })

  it('open ones that are the newest are found without gathering all that are open', async () => {
    await put(Array.from({ length: 5 }, (_, i) => message('many', `open${i}`)))
    const asked: string[] = []
    const watched: Db = {
      ...temp.db,
      read(statement) {
        asked.push(statement.sql)
        return temp.db.read(statement)
      },
    }
    const openOf = async (limit: number) => {
      asked.length = 0
      const page = await listMessages(watched, { tenantId: 'many', activeOnly: true, limit, before: null })
      return { ids: page.messages.map(each => each.id), isGathered: asked.some(sql => sql.includes('union all')) }
    }
    expect(await openOf(2)).toEqual({ ids: ['open4', 'open3'], isGathered: false })
    expect(await openOf(1000)).toMatchObject({ isGathered: true })
  })

  it('a content too long for a list is left out and told, with its subject', async () => {
    const { content } = message('two', 'long')
    await put([
      message('two', 'long', {
        content: { ...content, subject: 'A "long" one', body: 'x'.repeat(300_000) },
      }),
    ])
    const [record] = (await list({ tenantId: 'two', limit: 1 })).messages
    expect(record).toMatchObject({ id: 'long', subject: 'A "long" one', message_omitted: true })
    expect(record?.message).toBeUndefined()
    expect((await find('long', null, 'two'))?.message?.body).toHaveLength(300_000)
    expect((await list({ tenantId: 'two', text: '"long"' })).ids).toEqual(['long'])
  })

  it('history and attempts are told oldest first', async () => {
    const [record] = (await list({ tenantId: 'one', status: 'sent', includeHistory: true })).messages
    expect(record?.history?.map(each => [each.event_type, each.event_ts, each.description])).toEqual([
      ['deferred', NOW / 1000 - 5, '451 later'],
      ['attempt', NOW / 1000 - 4, '250 ok'],
      ['sent', NOW / 1000, '250 ok'],
    ])
    expect(record?.history?.[0]?.metadata).toEqual({ deferred_ts: 1, deferred_reason: '451 later', attempts: 1 })
    const found = await find('m1')
    expect(found?.attempt_log).toHaveLength(2)
    expect(found).toMatchObject({ waiting_for: null, next_attempt_ts: null })
  })

  it('a list’s history leaves conversations in the database, however long', async () => {
    // What a hostile server may say: half a surrogate pair, NUL, and what looks like the record itself.
    const text = 'ok \ud83d\0 ,"replies":['
    const conversation = Array.from({ length: 200 }, () => 'S: '.padEnd(500, 'x'))
    const attempt = JSON.stringify({ n: 1, final: { code: '250', text }, error: null, replies: [], conversation })
    await temp.db.write([
      { sql: "update events set attempt = $1 where type = 'attempt' and tenant_id = 'one'", params: [attempt] },
    ])
    let characters = 0
    const read: TempDb['db']['read'] = async statement => {
      const rows = await temp.db.read(statement)
      characters += JSON.stringify(rows).length
      return rows
    }
    const page = await listMessages({ ...temp.db, read }, { ...everything, tenantId: 'one', includeHistory: true })
    expect(page.messages.flatMap(each => each.history ?? []).map(each => each.description)).toContain(`250 ${text}`)
    expect(characters).toBeLessThan(30_000)
    expect(JSON.stringify((await find('m1'))?.attempt_log).length).toBeGreaterThan(100_000)
  })

  it('one message tells what it waits for', async () => {
    expect(await find('m3')).toMatchObject({ waiting_for: 'queue' })
    expect(await find('m3', NOW + 5000)).toMatchObject({ waiting_for: 'rule', next_attempt_ts: NOW / 1000 + 5 })
    expect(await find('m3', Number.POSITIVE_INFINITY)).toMatchObject({ waiting_for: 'rule', next_attempt_ts: null })
    expect(await find('m2', NOW + 5000)).toMatchObject({ waiting_for: 'schedule', next_attempt_ts: NOW / 1000 + 61 })
    await temp.db.write([
      {
        sql: "update accounts set pause_kind = 'failure', pause_reason = '535 no', probe_at = $1 where key = $2",
        params: [NOW + 1000, keys.one!],
      },
    ])
    expect(await find('m3')).toMatchObject({ waiting_for: 'paused_account', next_attempt_ts: NOW / 1000 + 1 })
    await temp.db.write([{ sql: "update tenants set suspended_batches = $1 where id = 'one'", params: ['["*"]'] }])
    expect(await find('m3')).toMatchObject({ waiting_for: 'suspension', next_attempt_ts: null })
    expect(await find('nothing')).toBeNull()
    expect(await find('m1', null, 'two')).toBeNull()
  })

  it('an id means its only owner’s message to an admin, else that of default', async () => {
    await put([message('default', 'm2')])
    expect([...(await ownersOf(temp.db, ['m1', 'm2', 'm3', 'nothing', 'a\ud800']))]).toEqual(
      expect.arrayContaining([
        ['m1', 'one'],
        ['m2', 'default'],
      ]),
    )
    expect((await ownersOf(temp.db, ['m3'])).size).toBe(0)
  })

  it('report entries come again, oldest first, the caller’s own only', async () => {
    const read = (after: number, limit: number, tenantId: string | null = 'one') =>
      listReported(temp.db, { tenantId, after, limit })
    const all = await read(0, 10)
    expect(all.reports).toMatchObject([
      { id: 'm1', deferred_ts: 1 },
      { id: 'm1', sent_ts: 2 },
    ])
    expect(all.more).toBe(false)
    const first = await read(0, 1)
    expect(first).toMatchObject({ reports: [{ deferred_ts: 1 }], more: true })
    const second = await read(first.next, 10)
    expect(second.reports).toMatchObject([{ sent_ts: 2 }])
    expect(await read(second.next, 10)).toEqual({ reports: [], next: second.next, more: false })
    expect((await read(0, 10, null)).reports).toHaveLength(3)
  })

  it('figures are counted by status, account, priority and hour', async () => {
    const stats = await createStatsReader(temp.db, clock)('one')
    expect(stats).toMatchObject({
      complete: true,
      by_status: { sent: 1, pending: 1, deferred: 1 },
      by_account: [{ tenant_id: 'one', account_id: 'main', sent: 1, pending: 1, deferred: 1 }],
      by_priority: [
        { priority: 0, open: 1, ended: 0 },
        { priority: 1, open: 0, ended: 0 },
        { priority: 2, open: 1, ended: 1 },
        { priority: 3, open: 0, ended: 0 },
      ],
    })
    expect(stats.by_hour).toHaveLength(24)
    expect(stats.by_hour.at(-1)).toEqual({ hour_ts: NOW / 1000, sent: 1, error: 0 })
    expect((await createStatsReader(temp.db, clock)(null)).by_status.pending).toBeGreaterThan(25)
  })
})
