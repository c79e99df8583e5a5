/** Goal 7: how fast reports are acknowledged, and whether a purge of very many messages is felt by claims. */
import { createServer } from 'node:http'
import pg from 'pg'
import { systemClock } from '../../src/lib/clock.js'
import { createJanitor } from '../../src/maintenance/janitor.js'
import type { Bench, Figure } from '../bench.js'
import { withClaimer } from '../claim-cost.js'
import type { Database } from '../databases.js'
import { figure, latencies } from '../figures.js'
import { withService } from '../rig.js'
import { measureThroughput } from '../throughput.js'
import { pause } from '../times.js'

/** Purging is watched for so long, with `isLong` until it is done, ms. */
const WATCHED_MS = 20_000

export async function reporter(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) {
    const rate = await acknowledgedRate(bench, database)
    figures.push(figure(7, database, 'reports acknowledged by one tenant', rate, 'reports/s', { atLeast: 5_000 }))
    figures.push(...(await claimsDuringPurge(bench, database)))
  }
  return figures
}

/** The endpoint keeps its first answer back until everything is sent: a backlog, and no failed call. */
async function acknowledgedRate(bench: Bench, database: Database): Promise<number> {
  const count = bench.count(50_000)
  bench.say(`${database.name}: a backlog of ${count} reports`)
  const endpoint = await startEndpoint()
  try {
    return await withService({ database: await database.fresh(), env: { GMP_SYNC_TIMEOUT: '600' } }, async rig => {
      await rig.client.post('/tenant', { id: 'default', client_base_url: endpoint.url })
      await measureThroughput(rig, count)
      const from = performance.now()
      const before = endpoint.open()
      await endpoint.until(count)
      return (count - before) / ((performance.now() - from) / 1000)
    })
  } finally {
    await endpoint.close()
  }
}

async function startEndpoint() {
  let entries = 0
  let open = () => {}
  const opened = new Promise<void>(done => {
    open = done
  })
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    await opened
    entries += (JSON.parse(text).delivery_report as unknown[]).length
    response.end('{"ok":true}')
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    /** Answers how many it had been told. */
    open: () => {
      open()
      return entries
    },
    async until(count: number) {
      while (entries < count) await pause(5)
    },
    close: () => {
      open()
      server.closeAllConnections()
      return new Promise<void>(done => server.close(() => done()))
    },
  }
}

/** The long queue but for its end was sent and reported long ago; the janitor takes it away while the rest is claimed. */
async function claimsDuringPurge(bench: Bench, database: Database): Promise<Figure[]> {
  const queue = await bench.longQueue(database)
  return withClaimer(queue.database, async ({ db, claim, giveBack }) => {
    bench.say(`${database.name}: most of a long queue becomes history`)
    await db.write([
      {
        sql: `update messages set stage = 0, status = 'sent', sent_at = 1000, reported_at = 1000 + seq
          where stage = 1 and seq <= (select max(seq) from messages) - 2000`,
        params: [],
      },
      {
        sql: `insert into events (tenant_id, seq, type, at, entry, pending, reported_at)
          select tenant_id, seq, 'sent', 1000, '{}', 0, 1000 from messages where stage = 0`,
        params: [],
      },
    ])
    if (database.name === 'postgres') await vacuum(queue.database)
    bench.say(`${database.name}: claims while it is purged`)
    const janitor = createJanitor({ db, clock: systemClock, retentionMs: 0, commandLogRetentionMs: 0, ended() {} })
    const until = bench.isLong ? Number.POSITIVE_INFINITY : performance.now() + WATCHED_MS
    let isOver = false
    const purge = (async () => {
      while (!isOver && performance.now() < until) {
        const { nextAt, again } = await janitor.step()
        // It comes again soon only while there is more.
        if (nextAt === null && !again) break
        await pause(Math.max(0, (nextAt ?? 0) - Date.now()))
      }
      isOver = true
    })()
    const times: number[] = []
    try {
      while (!isOver) {
        times.push(await claim())
        await giveBack()
        await pause(5)
      }
    } finally {
      isOver = true
      await purge
    }
    const what = `a claim while ${queue.count.toLocaleString('en-US')} reported messages are purged`
    return latencies(7, database, what, times, { p99: { atMost: 50 } })
  })
}

/** As autovacuum would, before a purge comes days later. */
async function vacuum(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('vacuum analyze messages')
  await client.end()
}
