/**
 * Faults between the service and PostgreSQL: an answer that is cut off or never comes leaves open whether its unit was
 * applied. Nothing is lost or doubled for it, and the service waits no longer than GMP_DB_TIMEOUT.
 */
import { describe, expect, it, vi } from 'vitest'
import { type AnswerFault, cutAnswer, postgresScript, swallow } from '../support/postgres-proxy.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { type Script, startProxy, type TcpProxy } from '../support/proxy.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { idsOf, opened } from '../support/scene.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { tenant } from '../support/story.js'

vi.setConfig({ testTimeout: 90_000 })

const BATCH = 5

/** One of each unit's statements. */
const UNITS: Readonly<Record<string, RegExp>> = {
  accept: /insert into messages \(tenant_id/,
  claim: /set status = 'sending', stage = 3/,
  journal: /insert into doubts/,
  settle: /insert into events .*attempt/,
  'claim for a report': /insert into sync_state \(tenant_id, lease/,
  'acknowledged report': /update messages set reported_at/,
  lease: /update leases set until/,
}

interface World {
  readonly service: TestService
  readonly sink: SmtpSink
  readonly client: ReportClient
  readonly proxy: TcpProxy
}

async function open(script: () => Script = () => ({}), given: Record<string, string> = {}): Promise<World> {
  const url = new URL(await createPostgresDatabase())
  const proxy = await opened(startProxy({ port: Number(url.port) }, script), it => it.close())
  url.port = String(proxy.port)
  const sink = await opened(startSink(), it => it.close())
  const client = await opened(startReportClient(), it => it.close())
  const env = {
    GMP_DB_TIMEOUT: '2',
    // A claim for a report whose answer is lost is waited for: the call's time, and the lease's.
    GMP_SYNC_TIMEOUT: '1',
    GMP_LEASE_SECONDS: '8',
    GMP_STOP_TIMEOUT: '1',
    ...given,
  }
  const service = await opened(startTestService({ databaseUrl: url.href, env }), it => it.stop())
  await tenant(service, 'default', client)
  await service.account(sink)
  return { service, sink, client, proxy }
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `m${i}`)

/** As a client with an outbox does: the same ids until there is an answer for each. */
async function submit({ service }: World, ids: readonly string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += BATCH) {
    const messages = ids.slice(at, at + BATCH).map(id => ({ id }))
    await service.until('an answer', async () => (await service.send(...messages))?.ok === true)
  }
}

async function expectAllOnce({ service, sink, client }: World, ids: readonly string[]): Promise<void> {
  await service.until('every report', () => new Set(client.finals().map(({ id }) => id)).size === ids.length)
  await service.until('the books', async () => {
    const rows = await service.service.db!.read({
      sql: `select status, stage, reported_at is null as open, (
          select string_agg(type, ' ' order by id) from events e where e.seq = m.seq and type <> 'deferred') as events, count(*) as n
        from messages m group by 1, 2, 3, 4`,
      params: [],
    })
    expect(rows).toEqual([{ status: 'sent', stage: 0, open: false, events: 'sent', n: ids.length }])
    return true
  })
  expect(idsOf(sink.messages).sort()).toEqual([...ids].sort())
  // Told at least once; what comes again is the same.
  expect(new Set(client.finals().map(entry => JSON.stringify(entry))).size).toBe(ids.length)
}

describe('an answer of PostgreSQL', () => {
  it('that is cut off, or never comes while its connection stays, loses and doubles nothing, whatever its unit did', async () => {
    const play = async (fault: AnswerFault) => {
      const met = new Set<string>()
      let isArmed = false
      const script = postgresScript(statements => {
        const [name] = Object.entries(UNITS).find(([, text]) => statements.some(each => text.test(each))) ?? []
        if (!isArmed || name === undefined || met.has(name)) return null
        met.add(name)
        return fault
      })
      const world = await open(script)
      isArmed = true
      const ids = names(12 * BATCH)
      await submit(world, ids)
      await world.service.until('all faults', () => met.size === Object.keys(UNITS).length)
      await expectAllOnce(world, ids)
    }
    await Promise.all([cutAnswer, swallow].map(play))
  })

  it('that never comes costs no lease, however long others would wait for theirs', async () => {
    let renewals = 0
    const renewal = /update leases set until = .* where id = /
    // Of the second, what follows the renewal.
    const lost = [renewal, /update leases set until = 0/]
    const script = postgresScript(statements => {
      const is = (text?: RegExp) => statements.some(each => text?.test(each))
      if (is(renewal)) renewals += 1
      if (renewals === 0 || !is(lost[0])) return null
      lost.shift()
      return swallow
    })
    const { service } = await open(script, { GMP_DB_TIMEOUT: '60', GMP_LEASE_SECONDS: '6' })
    await service.until('further renewals', () => renewals === 4)
    expect(service.logs.filter(line => line.includes('lease'))).toEqual([
      expect.stringContaining('The lease loop failed (1 in a row)'),
      expect.stringContaining('The lease loop failed (2 in a row)'),
      expect.stringContaining('The lease loop goes on after 2 failed steps'),
    ])
  })

  it('that is late each time delays and does nothing else', async () => {
    const late: AnswerFault = (answer, link) => {
      setTimeout(() => link.toClient(answer), 50)
      return null
    }
    const world = await open(postgresScript(() => late))
    await submit(world, names(2 * BATCH))
    await expectAllOnce(world, names(2 * BATCH))
    expect(world.service.logs.filter(line => /^(WARNING|ERROR)/.test(line))).toEqual([])
  })
})

describe('half-open connections to PostgreSQL', () => {
  const deaf = (): Script => ({
    fromClient(_chunk, link) {
      link.freeze()
      return null
    },
  })
  const goDeaf = ({ proxy }: World) => {
    proxy.script(deaf)
    for (const link of proxy.links) link.freeze()
  }

  it('are given up in time, also new ones, and all goes on when they answer again', async () => {
    const world = await open()
    const { service, client, proxy } = world
    await submit(world, names(BATCH))
    await service.until('some', () => client.finals().length === BATCH)
    goDeaf(world)
    const refused = await service.send({ id: 'refused' })
    expect(refused).toMatchObject({ ok: false, code: 'database_unavailable' })
    expect((await service.call('GET', '/ready')).status).toBe(503)
    const submitting = submit(world, names(4 * BATCH))
    await service.until('a loop to say so', () => service.logs.some(line => line.includes('did not answer within 2 s')))
    proxy.script(() => ({}))
    await submitting
    await expectAllOnce(world, names(4 * BATCH))
  })

  it('hold up no stop', async () => {
    const world = await open(undefined, { GMP_DB_TIMEOUT: '60' })
    await submit(world, ['m0'])
    await world.service.until('it', () => world.client.finals().length === 1)
    goDeaf(world)
    const at = performance.now()
    await world.service.stop()
    // Of this, GMP_STOP_TIMEOUT is one second; the lease and the farewells of connections have some more.
    expect(performance.now() - at).toBeLessThan(40_000)
  })
})
