/** diagnose, check-loop and test-dispatch: a running and a stopped instance, with servers that work and that do not. */
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CliWorld, openCliWorld } from '../support/cli-world.js'
import { startHttpSink } from '../support/http-sink.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { startSink } from '../support/smtp-sink.js'

let world: CliWorld
const closing: (() => Promise<void>)[] = []
beforeEach(async () => {
  world = await openCliWorld()
})
afterEach(async () => {
  await world.close()
  for (const close of closing.splice(0)) await close()
})

async function smtpSink(options: Parameters<typeof startSink>[0] = {}) {
  const sink = await startSink(options)
  closing.push(() => sink.close())
  return sink
}

async function httpSink(...answers: Parameters<typeof startHttpSink>) {
  const sink = await startHttpSink(...answers)
  closing.push(() => sink.close())
  return sink
}

interface Finding {
  area: string
  level: string
  text: string
  todo?: string
}

async function diagnose(...argv: string[]): Promise<{ code: number; findings: Finding[]; level: string }> {
  const { code, out, err } = await world.run(['diagnose', '--json', ...argv])
  if (out === '') throw new Error(`exit ${code}: ${err}`)
  return { code, ...JSON.parse(out) }
}

const about = (findings: Finding[], area: string, level: string) =>
  findings.filter(each => each.area === area && each.level === level).map(each => each.text)

describe('diagnose', () => {
  it('finds nothing wrong with an instance that sends and reports, and says so with exit 0', async () => {
    const service = await world.start({ GMP_ALLOW_PRIVATE_NETWORKS: 'true' })
    const [smtp, client] = [await smtpSink(), await httpSink()]
    await service.account(smtp)
    await service.call('POST', '/tenant', { id: 'default', client_base_url: client.url })
    const { code, level, findings } = await diagnose()
    expect([code, level, findings.filter(each => each.level !== 'ok')]).toEqual([0, 'ok', []])
    expect(about(findings, 'accounts', 'ok')).toEqual(['1 of 1 log in'])
    expect(about(findings, 'tenants', 'ok')).toEqual(['1 tenant, 1 endpoint acknowledges'])
    // What it asked of the endpoint was an empty report, and of the server no message.
    expect(client.requests.map(each => each.json)).toContainEqual({ delivery_report: [] })
    expect(smtp.messages).toEqual([])
    const { out } = await world.run(['diagnose'])
    expect(out).toMatch(/^ok +configuration +read without a warning\n[\s\S]*\nnothing is wrong\n$/)
  })

  it('names the login a server refuses, the endpoint that does not acknowledge, and what to do', async () => {
    const service = await world.start({ GMP_ALLOW_PRIVATE_NETWORKS: 'true' })
    const smtp = await smtpSink({ auth: ['PLAIN'] })
    const client = await httpSink(() => ({ status: 500 }))
    await service.account(smtp, { user: 'u', password: 'hunter2-of-the-test' })
    await service.call('POST', '/tenant', { id: 'default', client_base_url: client.url })
    for (const isRunning of [true, false]) {
      if (!isRunning) await world.stop()
      const { code, findings } = await diagnose()
      expect(code).toBe(1)
      expect(about(findings, 'accounts', 'error')[0]).toMatch(/^default\/main (cannot log in|is paused).*535 /)
      expect(findings.find(each => each.area === 'accounts')?.todo).toMatch(/accounts test main/)
      expect(about(findings, 'tenants', 'error')[0]).toMatch(/does not acknowledge reports: HTTP 500$/)
      expect(JSON.stringify(findings)).not.toContain('hunter2')
      expect(about(findings, 'process', 'error').length).toBe(isRunning ? 0 : 1)
    }
  })

  it('tells what holds a backlog: pause, limit, rule', async () => {
    const service = await world.start({ GMP_TEST_MODE: 'true' })
    const smtp = await smtpSink()
    for (const id of ['paused', 'limited', 'ruled']) {
      await service.account(smtp, { id, ...(id === 'limited' ? { limit_per_hour: 1 } : {}) })
    }
    await service.call('POST', '/account/paused/pause?tenant_id=default', { reason: 'too many complaints' })
    // At least two hours from now. One that ends at hour 0 is refused, for that is before its start.
    const start_hour = (new Date().getUTCHours() + 2) % 23
    const closed = { start_hour, end_hour: start_hour + 1, timezone: 'UTC', days: [] }
    await service.call('POST', '/commands/rules', {
      name: 'later',
      enabled: true,
      account_id: 'ruled',
      tenant_id: 'default',
      interval_minutes: 1,
      ...closed,
    })
    const db = service.service.db!
    for (const id of ['paused', 'limited', 'ruled']) await service.send({ id: `m-${id}`, account_id: id })
    // As if they had come ten minutes ago: waiting that long would prove the same.
    await db.write([
      { sql: 'update messages set created_at = created_at - 600000, due_at = due_at - 600000', params: [] },
    ])
    const [account] = await db.read({ sql: "select key from accounts where id = 'limited'", params: [] })
    const bucket = Math.floor(Date.now() / 36_000)
    await db.write([
      {
        sql: 'insert into limit_buckets (scope, span, slot, bucket, used) values ($1, 3600000, $2, $3, 1)',
        params: [`a:${account!.key}`, bucket % 128, bucket],
      },
    ])
    const tested = await diagnose('--no-network')
    expect(about(tested.findings, 'scheduler', 'warning')).toEqual(['test mode: it sends only on run-now'])
    expect(about(tested.findings, 'accounts', 'error')).toEqual([
      'default/paused is paused by an operator: too many complaints',
    ])
    expect(tested.findings.find(each => each.area === 'accounts')?.todo).toBe(
      'mail-proxy shop default accounts resume paused',
    )
    // Told at its cause, the backlog behind it is a line and no riddle.
    for (const line of about(tested.findings, 'queue', 'warning')) {
      expect(line).toMatch(/^default\/\w+: 1 due, the oldest for 10 min( \d+ s)?$/)
    }

    // Stopped, nothing but what is in the database holds them.
    await world.stop()
    const queue = about((await diagnose('--no-network')).findings, 'queue', 'warning')
    expect(queue.find(each => each.startsWith('default/limited'))).toMatch(/the account's limit of 1 in 1 h is reached/)
    expect(queue.find(each => each.startsWith('default/ruled'))).toMatch(/its sending rules open \d{4}-/)
    expect(queue.find(each => each.startsWith('default/paused'))).toMatch(/: 1 due, the oldest for 10 min( \d+ s)?$/)
  })

  it('looks at one tenant and one account when asked', async () => {
    const service = await world.start()
    const smtp = await smtpSink()
    await service.call('POST', '/tenant', { id: 'acme' })
    await service.account(smtp)
    await service.account({ port: 1 }, { id: 'dead', tenant_id: 'acme' })
    expect(about((await diagnose('--tenant', 'default')).findings, 'accounts', 'error')).toEqual([])
    expect(about((await diagnose('--tenant', 'acme')).findings, 'accounts', 'error')[0]).toMatch(
      /^acme\/dead cannot log in/,
    )
    expect((await diagnose('--account', 'main')).code).toBe(0)
  })

  it('says what is wrong where nothing can be asked: no instance, wrong config.ini, missing key, newer schema', async () => {
    const wrong = await world.run(['diagnose'], { env: { GMP_TIMEZONE: 'Mars' } })
    expect(wrong).toMatchObject({ code: 1, out: '' })
    expect(wrong.err).toMatch(/^Error: GMP_TIMEZONE is "Mars"/)
    const fresh = await diagnose()
    expect(about(fresh.findings, 'database', 'warning')[0]).toMatch(/does not exist yet$/)

    const service = await world.start()
    await service.account({ port: 1 }, { user: 'u', password: 'secret' })
    await world.stop()
    const otherKey = { GMP_ENCRYPTION_KEY: Buffer.alloc(32, 8).toString('base64') }
    const { code, out } = await world.run(['diagnose', '--json'], { env: otherKey })
    expect(code).toBe(1)
    expect(about(JSON.parse(out).findings, 'process', 'error')[1]).toMatch(/^the encryption key is not the one/)

    const path = join(world.dir, 'mail_service.db')
    renameSync(path, `${path}.aside`)
    for (const end of ['-wal', '-shm']) if (existsSync(path + end)) renameSync(path + end, `${path}.aside${end}`)
    writeFileSync(path, 'this is no database, but a text that somebody put here by mistake '.repeat(100))
    const text = await diagnose()
    expect(text.code).toBe(1)
    expect(about(text.findings, 'database', 'error')[0]).toMatch(/not a database/)
  })

  it('reads a damaged file as damaged', async () => {
    const service = await world.start()
    await service.send(...Array.from({ length: 50 }, (_, i) => ({ id: `m${i}`, body: 'x'.repeat(5000) })))
    await world.stop()
    const path = join(world.dir, 'mail_service.db')
    const { openSync, writeSync, closeSync, statSync } = await import('node:fs')
    const file = openSync(path, 'r+')
    writeSync(file, Buffer.alloc(8192, 0xff), 0, 8192, Math.floor(statSync(path).size / 8192 / 2) * 8192)
    closeSync(file)
    const { code, findings } = await diagnose('--no-network')
    expect(code).toBe(1)
    expect(about(findings, 'database', 'error').join()).toMatch(/damaged|malformed/)
  })
})

describe('check-loop', () => {
  it('sees the loops of a running instance step', async () => {
    await world.start()
    const { code, out } = await world.run(['check-loop', '--seconds', '1'])
    expect(code).toBe(0)
    expect(out).toMatch(/^LOOP +STATE/)
    expect(out).toMatch(/dispatch +ok +[1-9]/)
    expect(out).toMatch(/\nthe loops make progress\n$/)
  })

  it('tells a suspended scheduler from a loop that hangs', async () => {
    const service = await world.start()
    await service.call('POST', '/commands/suspend')
    const { code, out } = await world.run(['check-loop', '--seconds', '1'])
    expect(code).toBe(0)
    expect(out).toMatch(/the loops make progress; the scheduler is suspended/)
  })

  it('has nothing to watch when the instance is stopped', async () => {
    expect(await world.run(['check-loop'])).toMatchObject({
      code: 1,
      err: 'Error: shop does not run: nothing to watch\n',
    })
    expect((await world.run(['check-loop', '--seconds', 'ten'])).code).toBe(2)
  })
})

it('check-loop names a loop that another session of PostgreSQL holds up', async () => {
  const url = await createPostgresDatabase()
  const held = await openCliWorld(url)
  const { Client } = (await import('pg')).default
  const session = new Client({ connectionString: url })
  await session.connect()
  try {
    const service = await held.start({ GMP_LEASE_SECONDS: '60' })
    await session.query('begin; lock table messages in access exclusive mode')
    // A step with nothing to look at yet still ends.
    const running = async () => {
      const { loops } = (await service.call('GET', '/loops')).body as {
        loops: { name: string; running_ms: number | null }[]
      }
      return loops.find(({ name }) => name === 'dispatch')?.running_ms ?? 0
    }
    while ((await running()) < 500) await new Promise(resolve => setTimeout(resolve, 100))
    const { code, out } = await held.run(['check-loop', '--seconds', '3'])
    expect(code).toBe(1)
    expect(out).toMatch(/dispatch +failed +0/)
    expect(out).toMatch(
      /the dispatch loop has not made a step in 3 s; its step has been running for \d s\n {2}-> look at the database/,
    )
    // What does not need that table goes on.
    expect(out).toMatch(/cache +ok/)
    await session.query('rollback')
  } finally {
    await session.end()
    await held.close()
  }
})

describe('test-dispatch', () => {
  it('sends one message, shows the conversation and waits for its report', async () => {
    const service = await world.start({ GMP_ALLOW_PRIVATE_NETWORKS: 'true' })
    const [smtp, client] = [
      await smtpSink({ auth: ['PLAIN'], users: { 'user-1': 'hunter2-of-the-test' } }),
      await httpSink(),
    ]
    await service.account(smtp, { user: 'user-1', password: 'hunter2-of-the-test' })
    await service.call('POST', '/tenant', { id: 'default', client_base_url: client.url })
    const argv = [
      'default',
      'test-dispatch',
      '--account',
      'main',
      '--to',
      'me@example.net',
      '--from',
      'shop@example.org',
    ]
    const { code, out } = await world.run(argv)
    expect(code).toBe(0)
    expect(smtp.messages).toHaveLength(1)
    expect(smtp.messages[0]).toMatchObject({ from: 'shop@example.org', to: ['me@example.net'], authUser: 'user-1' })
    expect(out).toMatch(/ms {2}accepted\n/)
    expect(out).toMatch(/ms {2}reported\n/)
    expect(out).toMatch(/C: AUTH PLAIN \*\*\*\n/)
    expect(out).toMatch(/C: MAIL FROM:<shop@example\.org>.*\n {2}C: RCPT TO:<me@example\.net>\n/)
    expect(out).toMatch(/C: \(content and final dot, \d+ octets\)\n {2}S: 250/)
    expect(out).not.toContain('hunter2')
    expect(out).not.toContain('Nothing needs to be done')
    const entries = client.requests.flatMap(
      each => (each.json as { delivery_report: { id: string }[] }).delivery_report,
    )
    expect(entries.some(each => each.id.startsWith('test-dispatch-'))).toBe(true)
  })

  it('tells the server’s words and fails when the message is refused', async () => {
    const service = await world.start()
    const smtp = await smtpSink({ behave: { rcpt: () => '550 5.1.1 nobody here' } })
    await service.account(smtp)
    const { code, out } = await world.run(['test-dispatch', '--to', 'me@example.net', '--wait', '10', '--json'])
    expect(code).toBe(1)
    const { sent, record } = JSON.parse(out)
    expect([sent, record.status]).toEqual([false, 'error'])
    expect(record.attempt_log[0].conversation.join('\n')).toMatch(/S: 550 5\.1\.1 nobody here/)
  })

  it('says why a message was not accepted, needs a recipient, and a running instance', async () => {
    await world.start()
    const refused = await world.run(['test-dispatch', '--to', 'me@example.net', '--account', 'none'])
    expect(refused).toMatchObject({ code: 1, out: '' })
    expect(refused.err).toMatch(/^Error: the message was not accepted: .*none/)
    expect(await world.run(['test-dispatch'])).toMatchObject({ code: 2, err: 'Error: --to is missing\n' })
    await world.stop()
    const stopped = await world.run(['test-dispatch', '--to', 'me@example.net'])
    expect(stopped).toMatchObject({ code: 1, err: expect.stringMatching(/does not run, so it sends nothing/) })
  })
})
