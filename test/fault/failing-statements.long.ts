/**
 * Every statement that a service gives to its database fails once, in turn, each in a whole small story of its own: it is
 * not applied because the database is away, it is applied and the answer gets lost, it is refused. After each of them
 * every accepted message has one end and one final report, and nothing was sent twice without saying so.
 */
import pg from 'pg'
import { beforeAll, describe, expect, it } from 'vitest'
import { DatabaseUnavailable, type Db, type Statement } from '../../src/db/db.js'
import { type Ledger, openLedger } from '../support/ledger.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { tempDir } from '../support/process.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { MESSAGE, pause, until } from '../support/world.js'

const WAYS = ['away', 'answer lost', 'refused'] as const
type Way = (typeof WAYS)[number]

interface Fault {
  /** Of the statement; '' fails none. */
  readonly shape: string
  readonly way: Way
  met: boolean
}

/** Stories at once: they wait more than they work. */
const BESIDE = 6
/** Once in so many stories a statement that depends on the moment may not come up at all. */
const TRIES = 4

/** Numbers of parameters and lists differ from call to call. */
const shapeOf = ({ sql }: Statement) =>
  sql
    .replace(/\s+/g, ' ')
    .replace(/\$\d+(, \$\d+)*/g, '$')
    .trim()

function failing(db: Db, fault: Fault, seen: Set<string>): Db {
  const once = async <T>(unit: readonly Statement[], run: () => Promise<T>): Promise<T> => {
    for (const each of unit) seen.add(shapeOf(each))
    if (fault.met || !unit.some(each => shapeOf(each) === fault.shape)) return run()
    fault.met = true
    if (fault.way === 'refused') throw new Error('refused by the test')
    if (fault.way === 'answer lost') await run()
    throw new DatabaseUnavailable(`${fault.way}, by the test`)
  }
  return {
    ...db,
    write: unit => once(unit, () => db.write(unit)),
    writeRelaxed: unit => once(unit, () => db.writeRelaxed(unit)),
    read: statement => once([statement], () => db.read(statement)),
  }
}

interface Played {
  readonly problems: unknown
  readonly seen: ReadonlySet<string>
}

async function play(dialect: 'sqlite' | 'postgres', fault: Fault): Promise<Played> {
  const { dir, remove } = await tempDir()
  const sink = await startSink({
    record: 'messages',
    behave: {
      rcpt: ({ address, n }) => {
        if (address.startsWith('grey') && n === 1) return '451 4.7.1 come back later'
        return address.startsWith('unknown') ? '550 5.1.1 no such user' : null
      },
    },
  })
  const ledger = await openLedger(sink)
  const databaseUrl = dialect === 'postgres' ? await createPostgresDatabase() : `${dir}/mail_service.db`
  const seen = new Set<string>()
  let service: TestService | null = null
  try {
    service = await started(() =>
      startTestService({
        dir,
        databaseUrl,
        // A result that is refused leaves its message in doubt; sent again that is one more attempt.
        env: { GMP_MAX_RETRIES: '10', GMP_LEASE_SECONDS: '2', GMP_DB_POOL_SIZE: '4' },
        overrides: { aroundDb: db => failing(db, fault, seen) },
      }),
    )
    await story(service, sink, ledger)
    await until('every final report', () => ledger.waiting().length === 0, 45_000).catch(async error => {
      throw new Error(`${ledger.waiting()} wait: ${service?.logs.slice(-10).join('\n')}`, { cause: error })
    })
    await service.stop()
    service = null
    const { problems } = await ledger.balance(databaseUrl)
    return { problems, seen }
  } finally {
    await service?.stop()
    await ledger.close()
    await sink.close()
    await remove()
    if (dialect === 'postgres') await dropDatabase(databaseUrl)
  }
}

/** As a supervisor would: a start that fails is tried again. */
async function started(start: () => Promise<TestService>): Promise<TestService> {
  return start().catch(start)
}

/** A little of everything; each request is repeated, as a client does, until it is answered. */
async function story(service: TestService, sink: SmtpSink, ledger: Ledger): Promise<void> {
  const ask = async (method: string, path: string, body?: unknown) => {
    for (let tries = 0; ; tries += 1) {
      const answer = await service.call(method, path, body)
      if (answer.status < 500 || tries === 5) {
        if (answer.status >= 500) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
        return answer.body
      }
      await pause(50)
    }
  }
  const submit = async (messages: readonly Record<string, unknown>[]) => {
    const given = messages.map(each => ({ ...MESSAGE, ...each }))
    const { rejected } = await ask('POST', '/commands/add-messages', { messages: given })
    const odd = rejected.filter((each: { code: string }) => !['already_sent', 'in_progress'].includes(each.code))
    if (odd.length > 0) throw new Error(`refused: ${JSON.stringify(odd)}`)
    for (const { id } of given as { id?: string }[]) ledger.queued.add(id!)
  }
  const now = Date.now() / 1000
  await ask('POST', '/tenant', { id: 'default', client_base_url: `${ledger.reports.url}/reports` })
  await ask('POST', '/account', {
    id: 'main',
    tenant_id: 'default',
    host: sink.host,
    port: sink.port,
    use_tls: false,
    limit_per_minute: 1000,
  })
  await ask('POST', '/commands/suspend', { tenant_id: 'default', batch_code: 'held' })
  await submit([
    { id: 'plain' },
    { id: 'urgent', priority: 0 },
    { id: 'soon', deferred_ts: now + 0.5 },
    { id: 'far', deferred_ts: now + 3600 },
    { id: 'held', batch_code: 'held' },
  ])
  await submit([
    { id: 'grey', to: 'grey@example.net' },
    { id: 'unknown', to: 'unknown@example.net' },
    { id: 'half', to: ['one@example.net', 'unknown@example.net'] },
    { id: 'large', attachments: [{ filename: 'a.bin', fetch_mode: 'base64', storage_path: LARGE }] },
  ])
  await ask('POST', '/messages/far/cancel?tenant_id=default')
  await ask('POST', '/commands/activate', { tenant_id: 'default', batch_code: 'held' })
  await ask('POST', '/commands/run-now', { tenant_id: 'default' })
  await ask('GET', '/messages?tenant_id=default')
  await ask('GET', '/messages/plain?tenant_id=default')
  await ask('GET', '/metrics')
}

const LARGE = Buffer.alloc(400_000, 7).toString('base64')

async function dropDatabase(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: process.env.GMP_TEST_POSTGRES })
  await client.connect()
  await client.query(`drop database ${new URL(url).pathname.slice(1)} with (force)`)
  await client.end()
}

describe.each(['sqlite', 'postgres'] as const)('%s: each statement, failing once', dialect => {
  let shapes: string[] = []
  beforeAll(async () => {
    const { problems, seen } = await play(dialect, { shape: '', way: 'away', met: false })
    expect(problems).toEqual({})
    shapes = [...seen]
    console.log(`${dialect}: ${shapes.length} statements`)
  })

  it.each(WAYS)('%s: every message has one end and one report', async way => {
    const wrong: { shape: string; problems: unknown }[] = []
    const unmet: string[] = []
    const left = [...shapes]
    let done = 0
    const worker = async () => {
      for (let shape = left.shift(); shape !== undefined; shape = left.shift()) {
        const fault = { shape, way, met: false }
        for (let tries = 0; tries < TRIES && !fault.met; tries += 1) {
          const problems = await play(dialect, fault).then(
            played => played.problems,
            (error: Error) => ({ failed: error.message }),
          )
          if (Object.keys(problems as object).length > 0) wrong.push({ shape, problems })
        }
        if (!fault.met) unmet.push(shape)
        done += 1
        if (done % 20 === 0) console.log(`${dialect}, ${way}: ${done} of ${shapes.length}`)
      }
    }
    await Promise.all(Array.from({ length: BESIDE }, worker))
    expect(wrong).toEqual([])
    expect(unmet.length, unmet.join('\n')).toBeLessThan(shapes.length / 20)
  })
})
