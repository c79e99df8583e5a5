import { createHash, randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DatabaseUnavailable, type Db } from '../../src/db/db.js'
import { createSealer } from '../../src/lib/seal.js'
import type { Ready } from '../../src/lib/wake.js'
import { type AcceptOptions, createAcceptance, type Submitter } from '../../src/messages/accept.js'
import type { Content } from '../../src/messages/message.js'
import { createFakeClock } from '../support/fake-clock.js'
import { dialects, openTempDb, type TempDb } from '../support/temp-db.js'

const admin: Submitter = { kind: 'admin' }
const options: AcceptOptions = { defaultPriority: null, strict: false, tenantId: null }
const mail = (id: string, fields: object = {}) => ({ id, from: 'a@x.it', to: 'b@y.it', subject: 'Hi', ...fields })

describe.each(dialects)('accepting messages on %s', dialect => {
  let temp: TempDb
  const clock = createFakeClock()
  const sealer = createSealer(randomBytes(32))
  const woken: (readonly Ready[])[] = []
  const wake = { queue: (ready: readonly Ready[]) => void woken.push(ready) }

  const deps = {
    clock,
    sealer,
    wake,
    defaultPriority: 2 as const,
    volumes: { exist: async () => [] },
    sources: { baseDir: null, baseUrl: null },
  }
  const accept = (
    messages: readonly unknown[] | AsyncIterable<readonly unknown[]>,
    given: Partial<AcceptOptions> = {},
    who: Submitter = admin,
  ) => {
    return createAcceptance({ ...deps, db: temp.db })(who, messages, { ...options, ...given })
  }
  const rows = (sql: string, ...params: (string | number)[]) => temp.db.read({ sql, params })

  beforeAll(async () => {
    temp = await openTempDb(dialect)
    const tenant = (id: string, active = 1, quota: number | null = null) => ({
      sql: `insert into tenants (id, active, max_queued_messages, created_at, updated_at) values ($1, $2, $3, 0, 0)`,
      params: [id, active, quota],
    })
    const account = (tenantId: string, id: string, isDefault = 0) => ({
      sql: `insert into accounts (tenant_id, id, host, port, is_default, created_at, updated_at) values ($1, $2, 'h', 25, $3, 0, 0)`,
      params: [tenantId, id, isDefault],
    })
    await temp.db.write([
      ...[tenant('default'), tenant('one'), tenant('two'), tenant('off', 0), tenant('small', 1, 2), tenant('bare')],
      ...[account('default', 'd'), account('one', 'main'), account('one', 'only-one', 1)],
      ...[account('two', 'main'), account('two', 'second'), account('off', 'o'), account('small', 's')],
    ])
  })
  afterAll(() => temp.drop())
  beforeEach(async () => {
    woken.length = 0
    await temp.db.write([{ sql: 'delete from messages', params: [] }])
  })

  it.each([100, 300])('of %i messages full of unknown fields no more than 1,000 warnings are told', async count => {
    const unknown = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`unheard_of_${i}`, i]))
    const messages = Array.from({ length: count }, (_, i) => mail(`w${i}`, { tenant_id: 'default', ...unknown }))
    const { queued, warnings } = await accept(messages)
    expect([queued, warnings.length]).toEqual([count, 1_000])
    expect(warnings.at(-1)).toMatchObject({ id: 'w49', field: 'unheard_of_19' })
  })

  it('what is queued stands in the database, and the dispatcher is told of it', async () => {
    const accepted = await accept([
      mail('m1', { tenant_id: 'one', account_id: 'main', priority: 1 }),
      mail('m2', { tenant_id: 'default' }),
    ])
    expect(accepted).toEqual({ queued: 2, rejected: [], warnings: [] })
    expect(
      (await rows('select tenant_id, id, account_id, priority, status from messages order by id')).map(each => ({
        ...each,
      })),
    ).toEqual([
      { tenant_id: 'one', id: 'm1', account_id: 'main', priority: 1, status: 'pending' },
      { tenant_id: 'default', id: 'm2', account_id: 'd', priority: 2, status: 'pending' },
    ])
    // PostgreSQL says where each stands; on SQLite claims start at the first anyhow.
    const ready = await rows('select account_key, priority, seq from messages order by id')
    const isSqlite = dialect === 'sqlite'
    expect(woken).toEqual([
      ready.map(({ account_key, priority, seq }) => ({
        accountKey: account_key,
        priority,
        seq: isSqlite ? 0 : seq,
        onward: isSqlite,
      })),
    ])
  })

  it('of an id twice in one request only the last large content is kept', async () => {
    const octets = [randomBytes(300), randomBytes(200)]
    const uploads = new Map(
      octets.map((part, i) => {
        const md5 = createHash('md5').update(part).digest('hex')
        return [`mark:${i}`, { parts: [part], sizeBytes: part.length, md5, isPrefixed: true }] as const
      }),
    )
    const messages = octets.map((_, i) => mail('m', { attachments: [{ filename: 'a', storage_path: `mark:${i}` }] }))
    expect(await accept(messages, { uploads })).toMatchObject({ queued: 2, rejected: [] })
    const kept = await rows('select size, seq is null as loose from uploads')
    expect(kept.map(row => ({ size: Number(row.size), loose: Boolean(row.loose) }))).toEqual([
      { size: 200, loose: false },
    ])
  })

  it('of an id in two requests at the same time only the last large content is kept', async () => {
    // The first unit stays in the database's hands until both others wait for it together.
    let letGo = () => {}
    const bothWait = new Promise<void>(done => {
      letGo = done
    })
    let isFirst = true
    const db: Db = {
      ...temp.db,
      dialect: 'sqlite',
      read: query => temp.db.read(query),
      async write(statements) {
        if (isFirst && statements.some(({ sql }) => sql.includes('insert into messages'))) {
          isFirst = false
          await bothWait
        }
        return temp.db.write(statements)
      },
    }
    const acceptThrough = createAcceptance({ ...deps, db })
    const part = randomBytes(300)
    const upload = {
      parts: [part],
      sizeBytes: 300,
      md5: createHash('md5').update(part).digest('hex'),
      isPrefixed: true,
    }
    const send = (message: object, uploads = new Map<string, typeof upload>()) =>
      acceptThrough(admin, [message], { ...options, uploads })
    const same = mail('m', { attachments: [{ filename: 'a', storage_path: 'mark:0' }] })
    const all = [
      send(mail('first')),
      send(same, new Map([['mark:0', upload]])),
      send(same, new Map([['mark:0', upload]])),
    ]
    await expect.poll(async () => (await rows('select id from uploads')).length).toBe(2)
    await setImmediate()
    letGo()
    for (const each of await Promise.all(all)) expect(each.queued).toBe(1)
    expect(await rows('select id from uploads where seq is null')).toEqual([])
    expect(await rows('select id from uploads')).toHaveLength(1)
  })

  it('an admin’s message without tenant belongs to the one that owns its account, else to default', async () => {
    const { queued, rejected } = await accept([
      mail('a', { account_id: 'only-one' }),
      mail('b', { account_id: 'main' }),
      mail('c'),
    ])
    expect(queued).toBe(2)
    expect(rejected).toEqual([
      {
        index: 1,
        id: 'b',
        reason: "account not found for tenant: 'main'",
        code: 'account_not_found',
        field: 'account_id',
      },
    ])
    expect((await rows('select tenant_id from messages order by id')).map(row => row.tenant_id)).toEqual([
      'one',
      'default',
    ])
  })

  it('without an account the only one or the default one is taken', async () => {
    const { queued, rejected } = await accept([
      mail('a', { tenant_id: 'small' }),
      mail('b', { tenant_id: 'one' }),
      mail('c', { tenant_id: 'two' }),
      mail('d', { tenant_id: 'bare' }),
    ])
    expect(queued).toBe(2)
    expect(rejected.map(each => [each.id, each.code, each.reason])).toEqual([
      ['c', 'account_not_found', "name account_id or set is_default on one of the tenant's accounts"],
      ['d', 'account_not_found', "account not found for tenant: 'bare' has none"],
    ])
    expect((await rows('select account_id from messages order by id')).map(row => row.account_id)).toEqual([
      's',
      'only-one',
    ])
  })

  it('a change to a tenant or an account counts for every message that follows its answer', async () => {
    const acceptMessages = createAcceptance({ ...deps, db: temp.db })
    const codeOf = async (fields: object) => {
      const { rejected } = await acceptMessages(admin, [mail('m', { tenant_id: 'moving', ...fields })], options)
      return rejected[0]?.code ?? 'queued'
    }
    const change = (sql: string) => temp.db.write([{ sql, params: [] }])
    const account = "insert into accounts (tenant_id, id, host, port, created_at, updated_at) values ('moving'"
    expect(await codeOf({})).toBe('tenant_not_found')
    await change("insert into tenants (id, created_at, updated_at) values ('moving', 0, 0)")
    expect(await codeOf({})).toBe('account_not_found')
    await change(`${account}, 'a', 'h', 25, 0, 0)`)
    expect(await codeOf({})).toBe('queued')
    await change(`${account}, 'b', 'h', 25, 0, 0)`)
    expect(await codeOf({})).toBe('account_not_found')
    expect(await codeOf({ account_id: 'b' })).toBe('queued')
    await change("update accounts set is_default = 1 where tenant_id = 'moving' and id = 'b'")
    expect(await codeOf({})).toBe('queued')
    await change("update tenants set active = 0 where id = 'moving'")
    expect(await codeOf({ account_id: 'b' })).toBe('tenant_inactive')
    await change("delete from messages where tenant_id = 'moving'")
    await change("delete from tenants where id = 'moving'")
    expect(await codeOf({ account_id: 'b' })).toBe('tenant_not_found')
  })

  it('what was read while an account changed is not remembered', async () => {
    let meanwhile: (() => Promise<unknown>) | null = null
    const read: Db['read'] = async statement => {
      const found = await temp.db.read(statement)
      const now = meanwhile
      meanwhile = null
      await now?.()
      return found
    }
    const submit = createAcceptance({ ...deps, db: { ...temp.db, read } })
    const second = (id: string) => submit(admin, [mail(id, { tenant_id: 'two', account_id: 'second' })], options)
    const main = () => submit(admin, [mail('other', { tenant_id: 'two', account_id: 'main' })], options)
    const rename = (from: string, to: string) =>
      temp.db.write([
        { sql: 'update accounts set id = $2 where tenant_id = $3 and id = $1', params: [from, to, 'two'] },
      ])
    await main()
    let later: Promise<unknown> = Promise.resolve()
    meanwhile = async () => {
      await rename('second', 'third')
      // Begins to remember anew.
      later = main()
    }
    await second('m1')
    await later
    expect((await second('m2')).rejected[0]?.code).toBe('account_not_found')
    await rename('third', 'second')
  })

  it.runIf(dialect === 'sqlite')('a destination that is known costs no query', async () => {
    let reads = 0
    const read: Db['read'] = statement => {
      reads += 1
      return temp.db.read(statement)
    }
    const acceptMessages = createAcceptance({ ...deps, db: { ...temp.db, read } })
    for (const id of ['m1', 'm2', 'm3']) await acceptMessages(admin, [mail(id, { tenant_id: 'one' })], options)
    expect(reads).toBe(1)
  })

  it('an unknown or inactive tenant refuses its messages only', async () => {
    const { queued, rejected } = await accept([
      mail('a', { tenant_id: 'nobody' }),
      mail('b', { tenant_id: 'off' }),
      mail('c', { tenant_id: 'default' }),
    ])
    expect(queued).toBe(1)
    expect(rejected).toEqual([
      { index: 0, id: 'a', reason: 'tenant not found', code: 'tenant_not_found', field: 'tenant_id' },
      { index: 1, id: 'b', reason: 'tenant is inactive', code: 'tenant_inactive', field: 'tenant_id' },
    ])
  })

  it('a tenant cannot submit for another', async () => {
    const one: Submitter = { kind: 'tenant', tenantId: 'one' }
    const { queued, rejected } = await accept(
      [mail('a', { tenant_id: 'two', account_id: 'main' }), mail('b', { account_id: 'second' }), mail('c')],
      {},
      one,
    )
    expect(queued).toBe(1)
    expect(rejected.map(each => [each.id, each.code])).toEqual([
      ['a', 'unauthorized'],
      ['b', 'account_not_found'],
    ])
    expect((await rows('select tenant_id, id from messages')).map(row => [row.tenant_id, row.id])).toEqual([
      ['one', 'c'],
    ])
  })

  it('a rejected message leaves no trace and its id is free', async () => {
    await accept([mail('m1', { to: '' })])
    expect(await rows('select 1 as one from messages')).toEqual([])
    expect(await accept([mail('m1')])).toMatchObject({ queued: 1 })
  })

  it('the same id again replaces what waits, and is told apart when in flight or sent', async () => {
    await accept([mail('m1', { subject: 'old' }), mail('m2'), mail('m3')])
    await temp.db.write([
      { sql: "update messages set stage = 3, status = 'sending' where id = 'm2'", params: [] },
      { sql: "update messages set stage = 0, status = 'sent', accepted = 1 where id = 'm3'", params: [] },
    ])
    const { queued, rejected } = await accept([mail('m1', { subject: 'new' }), mail('m2'), mail('m3')])
    expect(queued).toBe(1)
    expect(rejected).toEqual([
      { index: 1, id: 'm2', reason: 'being sent right now', code: 'in_progress' },
      { index: 2, id: 'm3', reason: 'already sent', code: 'already_sent' },
    ])
    const [row] = await rows("select content from contents c join messages m on m.seq = c.seq where m.id = 'm1'")
    expect(JSON.parse(row!.content as string).subject).toBe('new')
  })

  it('requests at the same time share units, and each has its own answer', async () => {
    let units = 0
    const write: Db['write'] = unit => {
      units += 1
      return temp.db.write(unit)
    }
    const acceptMessages = createAcceptance({ ...deps, db: { ...temp.db, write } })
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => {
        const fields = i === 7 ? { account_id: 'none' } : {}
        return acceptMessages(admin, [mail(`m${i}`, { tenant_id: 'one', account_id: 'main', ...fields })], options)
      }),
    )
    for (const [i, answer] of answers.entries()) {
      const refusal = { index: 0, id: 'm7', code: 'account_not_found' }
      expect(answer).toMatchObject(i === 7 ? { queued: 0, rejected: [refusal] } : { queued: 1, rejected: [] })
    }
    expect(await rows('select id from messages')).toHaveLength(39)
    expect(units).toBeLessThan(10)
  })

  it('requests of a unit whose answer was lost fail, and none is refused for its own message that is being sent', async () => {
    let isLost = false
    const write: Db['write'] = async unit => {
      const written = await temp.db.write(unit)
      if (isLost) return written
      isLost = true
      // Claimed in the same moment.
      await temp.db.write([{ sql: "update messages set stage = 3, status = 'sending'", params: [] }])
      throw new DatabaseUnavailable('the answer was lost')
    }
    const acceptMessages = createAcceptance({ ...deps, db: { ...temp.db, write } })
    const answers = await Promise.allSettled(
      ['a', 'b'].map(id => acceptMessages(admin, [mail(id, { tenant_id: 'one', account_id: 'main' })], options)),
    )
    expect(answers.map(each => (each.status === 'rejected' ? each.reason : each.value))).toEqual(
      Array(2).fill(new DatabaseUnavailable('the answer was lost')),
    )
    expect(await rows('select id from messages')).toHaveLength(2)
  })

  // On PostgreSQL units run beside each other, and a quota is counted without a lock.
  it.runIf(dialect === 'sqlite')('requests at the same time have one quota', async () => {
    const acceptMessages = createAcceptance({ ...deps, db: temp.db })
    const ask = (id: string) => acceptMessages(admin, [mail(id, { tenant_id: 'small' })], options)
    const asked: ReturnType<typeof ask>[] = []
    // Those of one turn share a unit; the others come while it is under way.
    for (const id of ['a', 'b', 'c', 'd']) {
      asked.push(ask(id))
      for (let turns = 0; turns < 2; turns += 1) await setImmediate()
    }
    const answers = await Promise.all(asked)
    expect(answers.map(each => each.queued)).toEqual([1, 1, 0, 0])
    for (const each of answers[3]!.rejected) expect(each).toMatchObject({ index: 0, id: 'd', code: 'quota_exceeded' })
  })

  it('a quota refuses what is too much and says so', async () => {
    const { queued, rejected } = await accept(['a', 'b', 'c'].map(id => mail(id, { tenant_id: 'small' })))
    expect(queued).toBe(2)
    expect(rejected).toEqual([
      { index: 2, id: 'c', reason: 'quota exceeded: at most 2 messages may wait', code: 'quota_exceeded' },
    ])
  })

  it('a rejection names its place in the request, over all chunks and units', async () => {
    async function* chunks() {
      yield Array.from({ length: 700 }, (_, i) => (i % 300 === 0 ? null : mail(`i${i}`)))
      yield [mail('last'), {}]
    }
    const { queued, rejected } = await accept(chunks())
    expect([queued, rejected.map(each => each.index)]).toEqual([698, [0, 300, 600, 701]])
  })

  it('rejections stand in the order of the request', async () => {
    const { rejected } = await accept([
      mail('a', { tenant_id: 'nobody' }),
      'no message',
      mail('b', { to: '' }),
      mail('c', { account_id: 'x' }),
    ])
    expect(rejected.map(each => [each.id, each.code])).toEqual([
      ['a', 'tenant_not_found'],
      [null, 'invalid_message'],
      ['b', 'missing_field'],
      ['c', 'account_not_found'],
    ])
  })

  it('a stream of chunks is taken in units of at most 250', async () => {
    async function* chunks() {
      yield Array.from({ length: 1200 }, (_, i) => mail(`s${i}`))
      yield [mail('last')]
    }
    expect(await accept(chunks())).toMatchObject({ queued: 1201, rejected: [] })
    expect(woken).toHaveLength(6)
    expect(await rows('select count(*) as n from messages')).toEqual([expect.objectContaining({ n: 1201 })])
  })

  it('more than 10,000 at once are refused as a whole, in the words of old', async () => {
    const error = 'Cannot enqueue more than 10000 messages at once'
    await expect(accept(Array.from({ length: 10_001 }, (_, i) => mail(`m${i}`)))).rejects.toMatchObject({
      message: error,
      code: 'bad_request',
      extra: { detail: { error, rejected: null } },
    })
    expect(await rows('select 1 as one from messages')).toEqual([])
  })

  it('credentials of an attachment are sealed where the message is stored', async () => {
    const auth = { method: 'bearer', token: 'hunter2' }
    await accept([mail('m1', { attachments: [{ filename: 'a', storage_path: 'base64:aGk=', auth }] })])
    const [row] = await rows('select content from contents')
    expect(row!.content).not.toContain('hunter2')
    const [attachment] = JSON.parse(row!.content as string).attachments
    expect(JSON.parse(sealer.open(attachment.auth, 'attachment-auth:default'))).toEqual(auth)
  })

  it.each([
    ['NUL', 'a\0b\u2028\u{1f600} \\u0000 "q" é'],
    ['half of a surrogate pair', 'a \ud83d b'],
    ['control characters', String.fromCharCode(...Array.from({ length: 159 }, (_, i) => i + 1))],
    ['every other character', '\u2028\u{1f600} \\u0000 "q" \\ é\ufffd\uffff\r\n'],
    ['nothing', ''],
  ])('%s in a body comes back as it was, new and replaced', async (_, body) => {
    const stored = async () => {
      const [row] = await rows('select content from contents')
      return JSON.parse(row!.content as string)
    }
    const given = mail('m1', { body, subject: 'é 😀 "q" \\' })
    expect(await accept([given])).toMatchObject({ queued: 1 })
    const fresh = await stored()
    expect(fresh).toMatchObject({ body, subject: 'é 😀 "q" \\' })
    expect(await accept([mail('m1', { body: 'another' })])).toMatchObject({ queued: 1 })
    expect(await stored()).toMatchObject({ body: 'another' })
    expect(await accept([given])).toMatchObject({ queued: 1 })
    expect(await stored()).toEqual(fresh)
  })

  it.each([
    ['two alternatives', { bodyText: 'a "b"\n', bodyHtml: '<p>a "b"</p>\n' }],
    ['text alone', { bodyText: 'a "b"\n' }],
    ['a large one', { body: `"${'a\n'.repeat(200_000)}"` }],
  ] as const)('bodies come back as they were: %s', async (_, bodies) => {
    const { body, bodyText, bodyHtml }: Pick<Content, 'body' | 'bodyText' | 'bodyHtml'> = bodies
    const given = mail('m1', { body, body_text: bodyText, body_html: bodyHtml })
    expect(await accept([given])).toMatchObject({ queued: 1 })
    const [row] = await rows('select content from contents')
    const content = JSON.parse(row!.content as string)
    expect([content.body, content.bodyText, content.bodyHtml]).toEqual([body, bodyText, bodyHtml])
  })

  it('half of a surrogate pair in the request’s tenant_id is only an unknown tenant', async () => {
    expect(await accept([mail('m1')], { tenantId: 'a\ud800' })).toMatchObject({
      queued: 0,
      rejected: [{ code: 'tenant_not_found' }],
    })
  })
})
