/** PostgreSQL goes away and comes back under load: the service stays up, says so, and loses and doubles nothing. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { migrate } from '../../src/db/migrate.js'
import { openPostgres } from '../../src/db/postgres.js'
import { currentEpoch } from '../../src/queue/doubt-journal.js'
import { type PostgresServer, startPostgres } from '../support/embedded-postgres.js'
import { silentLog } from '../support/silent-log.js'
import { type Answer, idsOf, openWorld, pause, until, type World } from '../support/world.js'

// Processes start and die here: on a busy machine that takes its time.
vi.setConfig({ testTimeout: 90_000 })

const BATCH = 25

describe('PostgreSQL is restarted under load', () => {
  let server: PostgresServer
  let world: World
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterEach(() => world.close())
  afterAll(() => server.stop())

  it.each(['fast', 'immediate'] as const)('after a stop %s all ends balanced', async stop => {
    const databaseUrl = server.url.replace(/postgres$/, `restart_${stop}`)
    await createDatabase(server.url, `restart_${stop}`)
    world = await openWorld('postgres', { databaseUrl, env: { GMP_LEASE_SECONDS: '10' } })
    world.sink.behave({ final: () => ({ delayMs: 5 }) })
    const service = await world.start()
    await world.account()

    let over = false
    const client = async (name: string) => {
      for (let batch = 0; !over; batch += 1) {
        await world.submit(idsOf(`${name}-${batch}-`, BATCH))
        await pause(20)
      }
    }
    const clients = [client('a'), client('b')]
    await until('load', () => world.sink.accepted > 100)
    const away: Answer[] = []
    await server.restart({
      stop,
      async meanwhile() {
        await until('/ready to say so', async () => {
          const answer = await world.call('GET', '/ready')
          away.push(answer)
          return answer.status === 503
        })
        expect((await world.call('GET', '/health')).status).toBe(200)
        await until('a refused submission', () => world.refusals.length > 0)
      },
    })
    await until('/ready', async () => (await world.call('GET', '/ready')).status === 200)
    const before = world.sink.accepted
    await until('sending to go on', () => world.sink.accepted > before + 50)
    over = true
    await Promise.all(clients)
    await world.drained()

    expect(away.at(-1)?.headers.get('retry-after')).toMatch(/^\d+$/)
    for (const { status, headers, body } of world.refusals) {
      expect(status).toBe(503)
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
      expect(body).toMatchObject({ ok: false, code: 'database_unavailable' })
    }
    const balance = await world.ledger.balance(databaseUrl)
    expect(balance.problems).toEqual({})
    expect(balance.claimed).toBe(0)
    // Its lease outlasted the outage, so it settled what it had sent and nothing was in doubt.
    expect(balance.doubts).toEqual([])
    expect(service.output()).not.toMatch(/Uncaught/)
    expect(world.process.pid).toBe(service.pid)
  })
})

it('the mark that makes the doubt journal trusted outlives a clean restart, and not the crash of a backend', async () => {
  const server = await startPostgres()
  const open = () => openPostgres(server.url, { clock: 'database', poolSize: 2, log: silentLog })
  let db = await open()
  try {
    await migrate(db)
    const before = await currentEpoch(db)
    await db.close()
    await server.restart()
    db = await open()
    expect(await currentEpoch(db)).toBe(before)

    // The server recovers by itself from this and goes on with the same start time.
    const [row] = await db.read({ sql: 'select pg_backend_pid() as pid', params: [] })
    process.kill(Number(row!.pid), 'SIGKILL')
    await until('the server to be back', () =>
      currentEpoch(db).then(
        epoch => epoch !== before,
        () => false,
      ),
    )
  } finally {
    await db.close()
    await server.stop()
  }
})

async function createDatabase(url: string, name: string): Promise<void> {
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`create database ${name}`)
  await client.end()
}
