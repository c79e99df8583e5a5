/** Goal 9: one tenant fills the queue, another's single messages leave as if it were empty. */
import { now, startArrivals } from '../arrivals.js'
import type { Bench, Figure } from '../bench.js'
import type { Database } from '../databases.js'
import { latencies } from '../figures.js'
import { openLoop, submit } from '../load.js'
import { requests } from '../messages.js'
import { accountAt, withService } from '../rig.js'

/** Of the quiet tenant, a second. */
const RATE = 20
/** So many that a single stall of the machine is not the p99; the noise lasts longer. */
const SINGLES = 1_000
const AT_ONCE = 20_000

export async function neighbour(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) figures.push(...(await besideNoise(bench, database)))
  return figures
}

async function besideNoise(bench: Bench, database: Database): Promise<Figure[]> {
  const arrivals = await startArrivals()
  try {
    return await withService({ database: await database.fresh() }, async ({ client }) => {
      await client.post('/tenant', { id: 'quiet' })
      await client.post('/account', accountAt(arrivals.port, { tenant_id: 'quiet' }))
      await client.post('/commands/suspend', {})
      const noise = bench.count(500_000)
      bench.say(`${database.name}: a tenant queues ${noise}`)
      for (let done = 0; done < noise; done += AT_ONCE)
        await submit(client, requests(Math.min(AT_ONCE, noise - done), 500, { priority: 3 }))
      await submit(client, requests(bench.count(10_000), 500, { priority: 0 }))
      bench.say(`${database.name}: another's single messages`)
      const to = (index: number) => `quiet-${index}@example.net`
      const singles = requests(bench.isQuick ? 50 : SINGLES, 1, index => ({ tenant_id: 'quiet', to: [to(index)] }))
      await client.post('/commands/activate', {})
      const times: number[] = []
      await openLoop(singles.length, RATE, async index => {
        const from = now()
        await client.submit(singles[index]!)
        times.push((await arrivals.of(to(index))) - from)
      })
      const what = `POST to DATA of a tenant beside one with ${noise.toLocaleString('en-US')} queued`
      return latencies(9, database, what, times, { p99: { atMost: 100 } })
    })
  } finally {
    await arrivals.close()
  }
}
