/** Goal 5: how soon an urgent message arrives when nothing else is to be done, and how late a scheduled one. */
import { now, startArrivals } from '../arrivals.js'
import type { Bench, Figure } from '../bench.js'
import type { Database } from '../databases.js'
import { figure, latencies } from '../figures.js'
import { submit } from '../load.js'
import { requests } from '../messages.js'
import { accountAt, withService } from '../rig.js'
import { pause, quantile } from '../times.js'

const DAY_SECONDS = 86_400
/** So many after the start are left out: with them code is loaded and statements are planned. The first has a row of its own. */
const FIRST = 20

export async function latency(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) figures.push(...(await latencyOf(bench, database)))
  return figures
}

async function latencyOf(bench: Bench, database: Database): Promise<Figure[]> {
  const arrivals = await startArrivals()
  try {
    return await withService({ database: await database.fresh() }, async ({ client }) => {
      await client.post('/account', accountAt(arrivals.port))
      bench.say(`${database.name}: urgent messages one by one`)
      const all: number[] = []
      const count = FIRST + (bench.isQuick ? 50 : 500)
      for (let i = 0; i < count; i += 1) {
        const to = `urgent-${i}@example.net`
        const [request] = requests(1, 1, { priority: 0, to: [to] })
        const from = now()
        await client.submit(request!)
        all.push((await arrivals.of(to)) - from)
        await pause(20 + Math.random() * 40)
      }
      const urgent = all.slice(FIRST)
      const waiting = bench.count(100_000)
      bench.say(`${database.name}: scheduled messages while ${waiting} wait`)
      const tomorrow = Math.ceil(Date.now() / 1000) + DAY_SECONDS
      await submit(client, requests(waiting, 500, { deferred_ts: tomorrow }))
      const start = Date.now() + 3_000
      const dues = Array.from({ length: bench.isQuick ? 50 : 300 }, (_, i) => start + i * 33)
      const scheduled = (index: number) => ({ to: [`due-${index}@example.net`], deferred_ts: dues[index]! / 1000 })
      await submit(client, requests(dues.length, 100, scheduled))
      const late = await Promise.all(dues.map(async (due, i) => (await arrivals.of(`due-${i}@example.net`)) - due))
      const what = `lateness of scheduled messages while ${waiting.toLocaleString('en-US')} wait`
      return [
        ...latencies(5, database, 'POST of priority 0 to DATA, idle', urgent, {
          p50: { atMost: 10 },
          p99: { atMost: 25 },
        }),
        figure(5, database, 'the first message after the start, POST to DATA', all[0]!, 'ms'),
        ...latencies(5, database, what, late),
        figure(5, database, `${what}: most`, quantile(late, 1), 'ms', { atMost: 100 }),
      ]
    })
  } finally {
    await arrivals.close()
  }
}
