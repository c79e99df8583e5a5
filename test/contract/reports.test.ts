import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Db, rowsParam } from '../../src/db/db.js'
import { openPostgres } from '../../src/db/postgres.js'
import type { Log } from '../../src/lib/log.js'
import { createLoop } from '../../src/lib/loop.js'
import { createNetworkGuard } from '../../src/lib/network-guard.js'
import { errorEntry, sentEntry } from '../../src/queue/report-entry.js'
import { createReporter, type Reporter, type ReporterDeps } from '../../src/reports/reporter.js'
import type { Tenant } from '../../src/tenants/tenant.js'
import { createFakeClock, type FakeClock } from '../support/fake-clock.js'
import { accept, type HttpSink, type SinkRequest, startHttpSink } from '../support/http-sink.js'
import { silentLog } from '../support/silent-log.js'
import { dialects, openTempDb, type TempDb } from '../support/temp-db.js'

const DAY_MS = 86_400_000
const INTERVAL_MS = 300_000

const defaults: ReporterDeps['config']['reports'] = {
  // An interval of years keeps idle syncs out of the stories that are not about them.
  syncIntervalMs: 10_000 * DAY_MS,
  url: null,
  user: null,
  password: null,
  token: null,
  timeoutMs: 30_000,
  giveUpMs: 30 * DAY_MS,
  maxConcurrent: 10,
}

describe.each(dialects)('reports on %s', dialect => {
  let temp: TempDb
  let db: Db
  let clock: FakeClock
  let sink: HttpSink
  let lines: string[]
  let told: { posted: number; failed: number; dropped: number }
  let tenants: Map<string, Tenant>
  let reporters: Reporter[]

  beforeAll(async () => {
    temp = await openTempDb(dialect)
    db = temp.db
  })
  beforeEach(async () => {
    await db.write(['tenants', 'messages', 'events'].map(table => ({ sql: `delete from ${table}`, params: [] })))
    clock = createFakeClock()
    sink = await startHttpSink()
    lines = []
    told = { posted: 0, failed: 0, dropped: 0 }
    tenants = new Map()
    reporters = []
  })
  afterEach(async () => {
    await Promise.all(reporters.map(each => each.stop(0)))
    await sink.close()
  })
  afterAll(() => temp.drop())

  function makeReporter(
    reports: Partial<typeof defaults> = {},
    more: { testMode?: boolean; db?: Db; allowPrivate?: boolean; wakeLoop?: () => void } = {},
  ): Reporter {
    const write = (level: string) => (message: string, fields?: object) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`)
    const log: Log = { debug: write('DEBUG'), info: write('INFO'), warning: write('WARNING'), error: write('ERROR') }
    const reporter = createReporter({
      db: more.db ?? db,
      clock,
      log,
      random: Math.random,
      guard: createNetworkGuard({ allowPrivate: more.allowPrivate ?? false, allowed: [] }),
      metrics: {
        posted: (_, entries) => (told.posted += entries),
        failed: () => (told.failed += 1),
        dropped: (_, entries) => (told.dropped += entries),
      },
      config: {
        reports: { ...defaults, ...reports },
        scheduler: { active: true, timezone: 'UTC', testMode: more.testMode ?? false },
        logging: { level: 'info', format: 'text', deliveryActivity: false },
      },
      tenants: async ids => new Map([...tenants].filter(([id]) => ids.includes(id))),
      ...(more.wakeLoop === undefined ? {} : { wakeLoop: more.wakeLoop }),
    })
    reporters.push(reporter)
    return reporter
  }

  async function addTenant(id: string, fields: Partial<Tenant> = {}): Promise<void> {
    const tenant: Tenant = {
      id,
      name: null,
      active: true,
      clientBaseUrl: `${sink.url}/${id}`,
      clientSyncPath: null,
      clientAttachmentPath: null,
      clientAuth: null,
      endpointTrusted: true,
      largeFileConfig: null,
      largeFilesTrusted: false,
      rateHourly: null,
      rateDaily: null,
      maxQueuedMessages: null,
      attachmentRoot: null,
      signingSecrets: [],
      suspendedBatches: [],
      createdAt: clock.now(),
      updatedAt: clock.now(),
      ...fields,
    }
    tenants.set(id, tenant)
    await db.write([
      {
        sql: `insert into tenants (id, active, client_base_url, created_at, updated_at) values ($1, $2, $3, $4, $4)`,
        params: [id, tenant.active ? 1 : 0, tenant.clientBaseUrl, clock.now()],
      },
    ])
  }

  /** Messages that ended, each with its final entry pending. */
  async function addSent(tenantId: string, ids: readonly string[], at = clock.now()): Promise<void> {
    const rows = ids.map(id => {
      const entry = sentEntry({ id, tenantId, accountId: 'main', priority: 2, attempts: 1, recipients: null }, at)
      return { id, entry: JSON.stringify(entry) }
    })
    await db.write([
      {
        sql: `insert into messages (tenant_id, id, account_key, account_id, status, stage, priority, due_at, submission,
            sent_at, created_at, updated_at)
          select $1, g.id, 1, 'main', 'sent', 0, 2, cast($3 as bigint), 1, cast($3 as bigint), cast($3 as bigint), cast($3 as bigint)
          from @rows($2: id text) g`,
        params: [tenantId, rowsParam(rows), at],
      },
      {
        sql: `insert into events (tenant_id, seq, type, at, entry, pending)
          select $1, m.seq, 'sent', cast($3 as bigint), g.entry, 1
          from @rows($2: id text, entry text) g join messages m on m.tenant_id = $1 and m.id = g.id order by m.seq`,
        params: [tenantId, rowsParam(rows), at],
      },
    ])
  }

  /** One more entry of a message that has ended. */
  async function addEntry(tenantId: string, id: string): Promise<void> {
    const subject = { id, tenantId, accountId: 'main', priority: 2, attempts: 1, recipients: null } as const
    const entry = errorEntry(subject, clock.now(), 'later entry', null)
    await db.write([
      {
        sql: `insert into events (tenant_id, seq, type, at, entry, pending)
          select $1, m.seq, 'error', cast($3 as bigint), $4, 1 from messages m where m.tenant_id = $1 and m.id = $2`,
        params: [tenantId, id, clock.now(), JSON.stringify(entry)],
      },
    ])
  }

  async function ids(sql: string): Promise<string[]> {
    return (await db.read({ sql, params: [] })).map(row => String(row.id))
  }
  const pending = () =>
    ids('select m.id from events e join messages m on m.seq = e.seq where e.pending = 1 order by e.id')
  const reported = () => ids('select id from messages where reported_at is not null order by seq')
  const posted = (request: SinkRequest) =>
    (request.json as { delivery_report: { id: string }[] }).delivery_report.map(({ id }) => id)

  async function look(reporter: Reporter): Promise<void> {
    await reporter.step()
    await reporter.drained()
  }
  /** Lets the reporter live for this long, a look at least every second. */
  async function live(reporter: Reporter, ms: number, stepMs = 1_000): Promise<void> {
    for (let lived = 0; lived < ms; lived += stepMs) {
      await look(reporter)
      await clock.advance(stepMs)
    }
    await look(reporter)
  }

  it('posts what is pending in order and marks the messages reported', async () => {
    await addTenant('acme', { clientAuth: { method: 'bearer', token: 'open-sesame' } })
    await addSent('acme', ['a', 'b', 'c'])
    const reporter = makeReporter()
    await look(reporter)
    const [request] = sink.requests
    expect(request?.path).toBe('/acme/mail-proxy/sync')
    expect(request?.headers.authorization).toBe('Bearer open-sesame')
    expect(request?.json).toEqual({
      delivery_report: ['a', 'b', 'c'].map(id => ({
        id,
        sent_ts: Math.floor(clock.now() / 1000),
        tenant_id: 'acme',
        account_id: 'main',
        priority: 2,
        attempts: 1,
      })),
    })
    expect(await pending()).toEqual([])
    expect(await reported()).toEqual(['a', 'b', 'c'])
    expect(told).toEqual({ posted: 3, failed: 0, dropped: 0 })
    expect(lines).toEqual([expect.stringMatching(/^INFO Delivery report posted.*3 entries/)])
    await live(reporter, 5_000)
    expect(sink.requests).toHaveLength(1)
  })

  it('a backlog goes out in full batches without waiting', async () => {
    await addTenant('acme')
    await addSent(
      'acme',
      Array.from({ length: 1200 }, (_, n) => `m${n}`),
    )
    await look(makeReporter())
    expect(sink.requests.map(request => posted(request).length)).toEqual([500, 500, 200])
    expect(new Set(sink.requests.flatMap(posted)).size).toBe(1200)
    expect(await pending()).toEqual([])
  })

  it('entries with long words share a body of bounded size, one at least', async () => {
    await addTenant('acme')
    await addSent('acme', ['a', 'b', 'c', 'd'])
    await db.write([
      { sql: 'update events set entry = $1', params: [JSON.stringify({ id: 'x', error: 'w'.repeat(300_000) })] },
    ])
    await look(makeReporter())
    expect(sink.requests.map(({ body }) => body.length > 400_000 && body.length < 900_000)).toEqual([true, true])
    expect(await pending()).toEqual([])
  })

  it('a message that goes on is not reported by its first entries', async () => {
    await addTenant('acme')
    await addSent('acme', ['a', 'b'])
    await db.write([{ sql: `update messages set stage = 2 where id = 'a'`, params: [] }])
    await look(makeReporter())
    expect(await pending()).toEqual([])
    expect(await reported()).toEqual(['b'])
  })

  it.each([
    ['a server error', { status: 500, body: { ok: true } }, 'HTTP 500'],
    ['a redirect', { status: 307, headers: { location: '/elsewhere' } }, 'HTTP 307'],
    ['no JSON', { body: '<html>' }, 'without a JSON object'],
    ['ok: false', { body: { ok: false } }, 'ok: false'],
    ['ten megabytes', { body: `"${'x'.repeat(10_000_000)}"` }, 'over 1000000 bytes'],
    ['a reset connection', { close: true }, 'UND_ERR_SOCKET'],
  ])('%s acknowledges nothing and is tried again after 5 s', async (_, answer, cause) => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    sink.answer((__, index) => (index === 0 ? answer : accept))
    const reporter = makeReporter()
    await live(reporter, 3_000)
    expect(sink.requests).toHaveLength(1)
    expect(await pending()).toEqual(['a'])
    expect(told.failed).toBe(1)
    expect(lines[0]).toMatch(/^WARNING Delivery report to tenant acme failed/)
    expect(lines[0]).toContain(cause)
    await live(reporter, 3_000)
    expect(sink.requests.map(posted)).toEqual([['a'], ['a']])
    expect(sink.requests[1]?.path).toBe('/acme/mail-proxy/sync')
    expect(await reported()).toEqual(['a'])
  })

  it('ids in error come again, the others and not_found are acknowledged', async () => {
    await addTenant('acme')
    await addSent('acme', ['a', 'b', 'c'])
    await addEntry('acme', 'b')
    sink.answer((_, index) => ({ body: index === 0 ? { ok: true, error: [{ id: 'b' }], not_found: ['c', 'zz'] } : {} }))
    const reporter = makeReporter()
    await look(reporter)
    expect(await pending()).toEqual(['b', 'b'])
    expect(await reported()).toEqual(['a', 'c'])
    await addSent('acme', ['d'])
    reporter.wake(['acme'])
    await live(reporter, 6_000)
    // What came behind did not wait; both entries of b came again, in their order.
    expect(sink.requests.slice(1).map(posted)).toEqual([['d'], ['b', 'b']])
    expect(await pending()).toEqual([])
    expect(told.failed).toBe(0)
  })

  it('refused messages that were deleted since take none of the room of those that can be set aside', async () => {
    await addTenant('acme')
    await addSent(
      'acme',
      Array.from({ length: 1000 }, (_, n) => `bad${n}`),
    )
    sink.answer(request => ({ body: { error: posted(request).filter(id => id.startsWith('bad')) } }))
    const reporter = makeReporter()
    await live(reporter, 3_000)
    expect(sink.requests.flatMap(posted)).toHaveLength(1000)
    await db.write(['events', 'messages'].map(table => ({ sql: `delete from ${table}`, params: [] })))
    await live(reporter, 10_000)
    await addSent('acme', ['bad', 'good1'])
    await live(reporter, 2_000)
    expect(await reported()).toEqual(['good1'])
    await addSent('acme', ['good2'])
    reporter.wake(['acme'])
    await live(reporter, 2_000)
    expect(await reported()).toEqual(['good1', 'good2'])
  })

  it('one poison entry is isolated, and the entries of other messages go on', async () => {
    await addTenant('acme')
    await addSent(
      'acme',
      Array.from({ length: 20 }, (_, n) => `m${n}`),
    )
    await addEntry('acme', 'm7')
    sink.answer(request => ({ status: posted(request).includes('m7') ? 500 : 200, body: {} }))
    const reporter = makeReporter()
    await live(reporter, 180_000)
    expect(await pending()).toEqual(['m7', 'm7'])
    const alone = sink.requests.filter(request => posted(request).join() === 'm7')
    expect(alone.length).toBeGreaterThan(1)
    // The later entry of the same message waits behind the first, and what is new is not held up.
    await addSent('acme', ['new'])
    reporter.wake(['acme'])
    await live(reporter, 1_000)
    expect(await pending()).toEqual(['m7', 'm7'])
    sink.answer(() => accept)
    await live(reporter, 300_000, 5_000)
    expect(await pending()).toEqual([])
    const last = sink.requests
      .slice(-2)
      .flatMap(request => (request.json as { delivery_report: object[] }).delivery_report)
    expect(last.map(entry => ('sent_ts' in entry ? 'sent' : 'error'))).toEqual(['sent', 'error'])
  })

  it('a dead endpoint that comes back gets everything at full size', async () => {
    await addTenant('acme')
    await addSent(
      'acme',
      Array.from({ length: 600 }, (_, n) => `m${n}`),
    )
    sink.answer(() => ({ status: 503 }))
    const reporter = makeReporter()
    await live(reporter, 3_600_000, 20_000)
    const failed = sink.requests.length
    expect(failed).toBeLessThan(40)
    expect(await pending()).toHaveLength(600)
    sink.answer(() => accept)
    await live(reporter, 600_000, 5_000)
    expect(await pending()).toEqual([])
    expect(Math.max(...sink.requests.slice(failed).map(request => posted(request).length))).toBe(500)
    expect(sink.requests.length - failed).toBeLessThan(30)
  })

  it("a tenant's hang holds up no other and ends by the timeout", async () => {
    await addTenant('tarpit')
    await addTenant('acme')
    await addSent('tarpit', ['t'])
    await addSent('acme', ['a'])
    sink.answer(request => (request.path.startsWith('/tarpit') ? { hang: 'body' } : accept))
    const reporter = makeReporter({ maxConcurrent: 2 })
    await reporter.step()
    await sink.waitFor(2)
    await expect.poll(reported).toEqual(['a'])
    await addSent('acme', ['b'])
    await clock.advance(1_000)
    await reporter.step()
    await expect.poll(reported).toEqual(['a', 'b'])
    expect(await pending()).toEqual(['t'])
    await clock.advance(30_000)
    await reporter.drained()
    expect(lines.filter(line => line.startsWith('WARNING'))).toEqual([expect.stringContaining('no answer within 30 s')])
  })

  /** Of five places four are taken by tenants that hang, which were called once before; a newcomer gets the fifth. */
  const findsPlace = async (reporter: Reporter) => {
    await reporter.step()
    await sink.waitFor(9)
    await addTenant('acme')
    await addSent('acme', ['a'])
    reporter.wake(['acme'])
    await reporter.step()
    await expect.poll(reported).toContain('a')
    expect(sink.requests).toHaveLength(10)
    await clock.advance(30_000)
  }

  it('failing tenants leave a fifth of the places to the others', async () => {
    for (const id of ['t1', 't2', 't3', 't4', 't5']) {
      await addTenant(id)
      await addSent(id, [id])
    }
    let answer: object = { close: true }
    sink.answer(request => (request.path.startsWith('/t') ? answer : accept))
    const reporter = makeReporter({ maxConcurrent: 5 })
    await look(reporter)
    expect(told.failed).toBe(5)
    answer = { hang: 'headers' }
    await clock.advance(6_000)
    await findsPlace(reporter)
    expect(await reported()).toEqual(['a'])
  })

  it('tenants that answered slowly leave a fifth of the places to the others, also after they had nothing to be told', async () => {
    const slow = ['t1', 't2', 't3', 't4', 't5']
    for (const id of slow) {
      await addTenant(id)
      await addSent(id, [id])
    }
    const whileSlow = clock.sleep(6_000)
    sink.answer(request => (request.path.startsWith('/t') ? { ...accept, after: whileSlow } : accept))
    const reporter = makeReporter({ maxConcurrent: 5 })
    await reporter.step()
    await sink.waitFor(5)
    await clock.advance(6_000)
    await reporter.drained()
    expect(await reported()).toHaveLength(5)
    await live(reporter, 3_000)
    sink.answer(request => (request.path.startsWith('/t') ? { hang: 'headers' } : accept))
    for (const id of slow) await addSent(id, [`${id} again`])
    reporter.wake(slow)
    await findsPlace(reporter)
  })

  it('two reporters on one database never post for one tenant at once, and nothing twice', async () => {
    const tenantIds = ['t1', 't2', 't3']
    for (const id of tenantIds) {
      await addTenant(id)
      await addSent(
        id,
        Array.from({ length: 1500 }, (_, n) => `${id}-${n}`),
      )
    }
    const other =
      dialect === 'postgres' ? await openPostgres(temp.url, { clock: 'process', poolSize: 3, log: silentLog }) : db
    const running = new Map<string, number>()
    let together = 0
    sink.answer(async ({ path }) => {
      running.set(path, (running.get(path) ?? 0) + 1)
      together = Math.max(together, ...running.values())
      await new Promise(done => setTimeout(done, 10))
      running.set(path, running.get(path)! - 1)
      return accept
    })
    const pair = [makeReporter(), makeReporter({}, { db: other })]
    for (let round = 0; round < 20 && (await pending()).length > 0; round += 1) {
      await Promise.all(pair.map(look))
      await clock.advance(1_000)
    }
    expect(await pending()).toEqual([])
    expect(together).toBe(1)
    const all = sink.requests.flatMap(posted)
    expect(all).toHaveLength(4500)
    expect(new Set(all).size).toBe(4500)
    await Promise.all(pair.map(each => each.stop()))
    if (other !== db) await other.close()
  })

  it("a dead instance's lease runs out", async () => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    await db.write([
      {
        sql: `insert into sync_state (tenant_id, lease, lease_until) values ('acme', 42, $1)`,
        params: [clock.now() + 60_000],
      },
    ])
    const reporter = makeReporter()
    await live(reporter, 59_000, 1_000)
    expect(sink.requests).toHaveLength(0)
    await live(reporter, 3_000)
    expect(await reported()).toEqual(['a'])
  })

  it('an instance that was frozen past its lease before it could post leaves the post to the other', async () => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    let thaw = () => {}
    const frozen: Db = {
      ...db,
      async read(statement) {
        const rows = await db.read(statement)
        if (statement.sql.includes('f.entry')) await new Promise<void>(done => (thaw = done))
        return rows
      },
    }
    const one = makeReporter({}, { db: frozen })
    await one.step()
    await expect
      .poll(() => db.read({ sql: 'select 1 from sync_state where lease is not null', params: [] }))
      .toHaveLength(1)
    await clock.advance(61_000)
    await live(makeReporter(), 1_000)
    expect(sink.requests.map(posted)).toEqual([['a']])
    thaw()
    await one.drained()
    expect(sink.requests).toHaveLength(1)
    expect(await reported()).toEqual(['a'])
  })

  it.runIf(dialect === 'postgres')('the clock of an instance does not matter to backoffs and leases', async () => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    const other = await openPostgres(temp.url, { clock: 'database', poolSize: 3, log: silentLog })
    // Both over, by the server's clock.
    await other.write([
      {
        sql: `insert into sync_state (tenant_id, failures, retry_at, lease, lease_until)
          values ('acme', 1, @now($1) - 1, 42, @now($1) - 1)`,
        params: [0],
      },
    ])
    clock = createFakeClock(Date.now() - 3_600_000)
    const reporter = makeReporter({}, { db: other })
    await look(reporter)
    await reporter.stop()
    await other.close()
    expect(sink.requests.map(posted)).toEqual([['a']])
  })

  it.each(['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1'])(
    'an endpoint that a tenant set to %s gets no connection',
    async host => {
      await addTenant('acme', { clientBaseUrl: `http://${host}:${sink.port}`, endpointTrusted: false })
      await addSent('acme', ['a'])
      await look(makeReporter())
      expect(sink.connections()).toBe(0)
      expect(told.failed).toBe(1)
      expect(lines[0]).toContain('no address this service may connect to')
    },
  )

  it('the same endpoint is reached once private networks are allowed, or an admin set it', async () => {
    await addTenant('acme', { clientBaseUrl: `http://localhost:${sink.port}`, endpointTrusted: false })
    await addTenant('trusted', { clientBaseUrl: `http://localhost:${sink.port}` })
    await addSent('acme', ['a'])
    await addSent('trusted', ['b'])
    await look(makeReporter({}, { allowPrivate: true }))
    expect(await reported()).toEqual(['a', 'b'])
  })

  it('what nobody acknowledged for 30 days is dropped with an ERROR', async () => {
    await addTenant('acme')
    await addSent('acme', ['old1', 'old2'], clock.now() - 31 * DAY_MS)
    await addSent('acme', ['young'])
    sink.answer(() => ({ status: 500 }))
    await look(makeReporter())
    expect(await pending()).toEqual(['young'])
    expect(told.dropped).toBe(2)
    expect(lines).toContainEqual(expect.stringMatching(/^ERROR Dropped 2 report entries of tenant acme.*30 days/))
    expect(await ids('select id from events where pending = 0 and reported_at is null')).toHaveLength(2)
    expect(await reported()).toEqual(['old1', 'old2'])
  })

  it('without any endpoint an ended message counts as reported at once', async () => {
    await addTenant('acme', { clientBaseUrl: null })
    await addSent(
      'acme',
      Array.from({ length: 1500 }, (_, n) => `m${n}`),
    )
    await addSent('gone', ['g'])
    await look(makeReporter())
    expect(await pending()).toEqual([])
    expect(await reported()).toHaveLength(1501)
    expect(sink.requests).toHaveLength(0)
  })

  it('a tenant whose record cannot be read now is told later, and nothing of it counts as reported', async () => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    const record = tenants.get('acme')!
    // As of secrets that do not open with the key this instance has.
    tenants.delete('acme')
    const reporter = makeReporter()
    await live(reporter, 3_000)
    expect(await pending()).toEqual(['a'])
    tenants.set('acme', record)
    await live(reporter, 10_000)
    expect(sink.requests.map(posted)).toEqual([['a']])
    expect(await reported()).toEqual(['a'])
  })

  it('what ended after an endpoint was set is told, also where the record of before is still in use', async () => {
    await addTenant('acme', { clientBaseUrl: null })
    await db.write([{ sql: 'update tenants set client_base_url = $1', params: [sink.url] }])
    await addSent('acme', ['a'])
    const reporter = makeReporter()
    await look(reporter)
    expect(await pending()).toEqual(['a'])
    tenants.set('acme', { ...tenants.get('acme')!, clientBaseUrl: sink.url })
    await live(reporter, 10_000)
    expect(sink.requests.map(posted)).toEqual([['a']])
  })

  it('a call that begins as a look does counts nothing as reported that was not told', async () => {
    await addTenant('dead')
    await addTenant('acme')
    await addSent('dead', ['d'])
    await addSent(
      'acme',
      Array.from({ length: 1200 }, (_, n) => `m${n}`),
    )
    sink.answer(({ path }) => (path.startsWith('/dead') ? { status: 500 } : accept))
    // The ends of both calls are committed and answered together, as SQLite does it: the failure first, which wakes the loop,
    // then the full batch, after which the next call begins at once.
    const settled: { isFailure: boolean; go(): void }[] = []
    const together: Db = {
      ...db,
      async write(unit) {
        const rows = await db.write(unit)
        if (settled.length < 2 && unit.at(-1)!.sql.includes('lease = null')) {
          const isFailure = !unit[0]!.sql.startsWith('update events')
          await new Promise<void>(go => {
            settled.push({ isFailure, go })
            if (settled.length < 2) return
            settled.sort((a, b) => Number(b.isFailure) - Number(a.isFailure))
            setImmediate(() => {
              for (const each of settled) each.go()
            })
          })
        }
        return rows
      },
    }
    const reporter = makeReporter({}, { db: together, wakeLoop: () => loop.wake() })
    const loop = createLoop({
      name: 'report',
      clock,
      log: silentLog,
      intervalMs: 1_000,
      step: async () => ({ nextAt: (await reporter.step()).nextAt, again: false }),
    })
    loop.start()
    await expect.poll(pending).toEqual(['d'])
    await loop.stop()
    expect(sink.requests.filter(({ path }) => path.startsWith('/acme')).flatMap(posted)).toHaveLength(1200)
  })

  it('the global endpoint serves tenants without their own, with its own credentials', async () => {
    await addTenant('acme', { clientBaseUrl: null, clientAuth: { method: 'bearer', token: 'tenants-own' } })
    await addSent('acme', ['a'])
    await look(makeReporter({ url: `${sink.url}/global`, user: 'me', password: 'pw' }))
    expect(sink.requests[0]?.path).toBe('/global')
    expect(sink.requests[0]?.headers.authorization).toBe(`Basic ${Buffer.from('me:pw').toString('base64')}`)
    expect(await reported()).toEqual(['a'])
  })

  it('an idle tenant is called every interval, an inactive one is not, and a report counts as a call', async () => {
    await addTenant('acme')
    await addTenant('off', { active: false })
    await addTenant('nowhere', { clientBaseUrl: null })
    const reporter = makeReporter({ syncIntervalMs: INTERVAL_MS })
    await live(reporter, 100_000, 5_000)
    expect(sink.requests.map(({ path, body }) => [path, body])).toEqual([
      ['/acme/mail-proxy/sync', '{"delivery_report":[]}'],
    ])
    await addSent('acme', ['a'])
    await addSent('off', ['b'])
    await live(reporter, 250_000, 5_000)
    expect(sink.requests.map(posted).slice(1).sort()).toEqual([['a'], ['b']])
    await live(reporter, 100_000, 5_000)
    expect(sink.requests).toHaveLength(4)
  })

  it('idle calls after a start are spread, not sent all at once', async () => {
    for (let n = 0; n < 200; n += 1) await addTenant(`t${n}`)
    const reporter = makeReporter({ syncIntervalMs: INTERVAL_MS, maxConcurrent: 50 })
    await live(reporter, 5_000)
    expect(sink.requests.length).toBeGreaterThan(2)
    expect(sink.requests.length).toBeLessThan(30)
    await live(reporter, INTERVAL_MS - 10_000, 5_000)
    expect(sink.requests).toHaveLength(200)
  })

  it('next_sync_after keeps idle calls away but not reports; run-now of the tenant ends it', async () => {
    await addTenant('acme')
    const quiet = Math.floor(clock.now() / 1000) + 7 * 24 * 3600
    sink.answer((_, index) => ({ body: index === 0 ? { ok: true, next_sync_after: quiet } : { ok: true } }))
    const reporter = makeReporter({ syncIntervalMs: INTERVAL_MS })
    await live(reporter, 3_600_000, 60_000)
    expect(sink.requests).toHaveLength(1)
    await addSent('acme', ['a'])
    await live(reporter, 3_600_000, 60_000)
    expect(sink.requests.map(posted)).toEqual([[], ['a']])
    reporter.runNow(null)
    await look(reporter)
    expect(sink.requests).toHaveLength(3)
    await live(reporter, 3_600_000, 60_000)
    expect(sink.requests).toHaveLength(3)
    reporter.runNow('acme')
    await live(reporter, 2 * INTERVAL_MS, 30_000)
    expect(sink.requests.length).toBeGreaterThanOrEqual(5)
  })

  it('queued asks for another sync, at most one a second', async () => {
    await addTenant('acme')
    sink.answer((_, index) => ({ body: { ok: true, queued: index < 3 ? 10 : 0 } }))
    const reporter = makeReporter({ syncIntervalMs: INTERVAL_MS })
    await look(reporter)
    expect(sink.requests).toHaveLength(1)
    await live(reporter, 900, 100)
    expect(sink.requests).toHaveLength(1)
    await live(reporter, 10_000, 250)
    expect(sink.requests).toHaveLength(4)
  })

  it('run-now does not wait for the backoff', async () => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    sink.answer((_, index) => (index === 0 ? { status: 500 } : accept))
    const reporter = makeReporter()
    await look(reporter)
    expect(await reported()).toEqual([])
    reporter.runNow('acme')
    await look(reporter)
    expect(await reported()).toEqual(['a'])
  })

  it('in test mode nothing is posted until run-now', async () => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    const reporter = makeReporter({ syncIntervalMs: INTERVAL_MS }, { testMode: true })
    reporter.wake(['acme'])
    expect(await reporter.step()).toEqual({ nextAt: null, busy: false })
    await live(reporter, 2 * INTERVAL_MS, 10_000)
    expect(sink.requests).toHaveLength(0)
    reporter.runNow(null)
    await look(reporter)
    expect(sink.requests.map(posted)).toEqual([['a']])
  })

  it('signed requests carry Standard Webhooks headers whose id survives the retry', async () => {
    await addTenant('acme', {
      signingSecrets: ['whsec_Zmlyc3QgICAgICAgICAgICAgICAgICAg', 'whsec_c2Vjb25kICAgICAgICAgICAgICAgICAg'],
    })
    await addSent('acme', ['a'])
    sink.answer((_, index) => (index === 0 ? { status: 500 } : accept))
    await live(makeReporter(), 6_000)
    const [first, second] = sink.requests
    expect(first?.headers['webhook-id']).toMatch(/^msg_/)
    expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id'])
    expect(second?.headers['webhook-timestamp']).not.toBe(first?.headers['webhook-timestamp'])
    expect(first?.headers['webhook-signature']).toMatch(/^v1,\S{44} v1,\S{44}$/)
  })

  it('no credential reaches the log, whatever goes wrong', async () => {
    const bearer = { method: 'bearer', token: 'tok\r\nen-SECRET' } as const
    const basic = { method: 'basic', user: 'me', password: 'pw-SECRET' } as const
    await addTenant('t1', { clientAuth: bearer })
    await addTenant('t2', { clientAuth: basic, clientBaseUrl: 'https://127.0.0.1:1/?key=SECRET' })
    await addTenant('t3', { clientBaseUrl: 'http://user:SECRET@name.invalid/' })
    await addTenant('t4', { clientBaseUrl: 'nonsense SECRET' })
    await addTenant('t5', { clientAuth: basic, signingSecrets: ['whsec_U0VDUkVUICAgICAgICAgICAgICAgICAg'] })
    for (const id of tenants.keys()) await addSent(id, [id])
    sink.answer(() => ({ status: 401, body: { error: 'pw-SECRET' } }))
    await live(makeReporter(), 6_000)
    expect(told.failed).toBeGreaterThanOrEqual(5)
    expect(lines.join('\n')).not.toMatch(/SECRET|U0VDUkVU|cHctU0VDUkVU/)
  })

  it('a stop lets the call under way end, and cuts it off after its grace', async () => {
    await addTenant('acme')
    await addSent('acme', ['a'])
    sink.answer(() => ({ hang: 'headers' }))
    const reporter = makeReporter()
    await reporter.step()
    await sink.waitFor(1)
    const stopping = reporter.stop(5_000)
    await clock.advance(5_000)
    await stopping
    // Not a failure of the tenant: its lease is free and its backoff unchanged.
    expect(await db.read({ sql: 'select lease, failures, retry_at from sync_state', params: [] })).toEqual([
      expect.objectContaining({ lease: null, failures: 0, retry_at: null }),
    ])
    expect(told.failed).toBe(0)
    expect(await reporter.step()).toEqual({ nextAt: null, busy: false })
  })
})
