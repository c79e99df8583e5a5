/** Goal 2: what the service takes in, alone and while it delivers at full speed. */
import type { Bench, Figure } from '../bench.js'
import type { Client } from '../client.js'
import type { Database } from '../databases.js'
import { figure, latencies } from '../figures.js'
import { openLoop, submit } from '../load.js'
import { requests } from '../messages.js'
import { withService } from '../rig.js'

const CONCURRENT = 50
const OPEN_LOOP_RATE = 3_000

export async function accept(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) {
    figures.push(...(await acceptInto(bench, database)))
  }
  return figures
}

async function acceptInto(bench: Bench, database: Database): Promise<Figure[]> {
  const said = (what: string) => bench.say(`${database.name}: ${what}`)
  return withService({ database: await database.fresh() }, async ({ client }) => {
    const singles = (count: number) => requests(count, 1, { priority: 2 })
    await client.post('/commands/suspend', {})
    await submit(client, requests(bench.count(10_000), 100))
    said('batches of 100, nothing being sent')
    const batches = await timed(client, requests(bench.count(60_000), 100), 4)
    said('single POSTs, nothing being sent')
    const alone = await timed(client, singles(bench.count(20_000)), CONCURRENT)
    await client.post('/commands/activate', {})
    // Long enough to be sending all the while; the singles go before it.
    await submit(client, requests(bench.count(60_000), 100, { priority: 3 }))
    said('single POSTs at concurrency 50 while delivering')
    const busy = await timed(client, singles(bench.count(20_000)), CONCURRENT)
    said('single POSTs, 3,000 a second, while delivering')
    const open = singles(bench.count(15_000))
    const openTimes = await openLoop(open.length, OPEN_LOOP_RATE, index => client.submit(open[index]!))
    const row = (what: string, value: number, unit: Figure['unit'], atLeast: number | null) =>
      figure(2, database, what, value, unit, atLeast === null ? null : { atLeast })
    return [
      row('accept in batches of 100', batches.perSecond * 100, 'messages/s', 30_000),
      ...latencies(2, database, 'a batch of 100', batches.times),
      row('single POSTs at concurrency 50, nothing being sent', alone.perSecond, 'requests/s', null),
      row('single POSTs at concurrency 50 while delivering', busy.perSecond, 'requests/s', 3_000),
      ...latencies(2, database, 'a single POST while delivering', busy.times, { p99: { atMost: 20 } }),
      ...latencies(2, database, 'single POSTs at 3,000 a second, whatever the answers take', openTimes),
    ]
  })
}

async function timed(client: Client, made: readonly Buffer[], connections: number) {
  const from = performance.now()
  const times = await submit(client, made, connections)
  return { times, perSecond: made.length / ((performance.now() - from) / 1000) }
}
