/** Goal 8: how long the event loop is held up at full load, by the service's own gauge. */
import type { Bench, Figure } from '../bench.js'
import type { Client } from '../client.js'
import type { Database } from '../databases.js'
import { figure } from '../figures.js'
import { submit } from '../load.js'
import { requests } from '../messages.js'
import { withService } from '../rig.js'

const LONGEST_REQUEST = 10_000

export async function eventLoop(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) {
    bench.say(`${database.name}: full load, and a request of ${LONGEST_REQUEST} messages`)
    const lag = await lagOf(bench, database)
    const what = 'event-loop lag at full load, a request of 10,000 included: p99'
    figures.push(figure(8, database, what, lag, 'ms', { atMost: 20 }))
  }
  return figures
}

/** The gauge looks five times a second: below 20 s the highest of few looks is its p99. */
async function lagOf(bench: Bench, database: Database): Promise<number> {
  return withService({ database: await database.fresh() }, async ({ client }) => {
    const [longest] = requests(LONGEST_REQUEST, LONGEST_REQUEST)
    await submit(client, requests(bench.count(20_000), 100))
    await readLag(client)
    const until = performance.now() + bench.count(30_000)
    const longestTaken = client.submit(longest!)
    while (performance.now() < until) {
      await submit(client, requests(2_000, 100))
      await untilFewerThan(client, 10_000, until)
    }
    await longestTaken
    return (await readLag(client)) * 1_000
  })
}

async function untilFewerThan(client: Client, count: number, until: number): Promise<void> {
  while (performance.now() < until && Number((await client.get('/status')).pending_messages) > count)
    await new Promise(done => setTimeout(done, 200))
}

/** Seconds, since it was read last. */
async function readLag(client: Client): Promise<number> {
  return Number(/^gmp_event_loop_lag_seconds (\S+)/m.exec(await client.text('/metrics'))?.[1])
}
