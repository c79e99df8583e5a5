/** Goal 6: memory does not grow with the queue, nor with time. */
import type { Bench, Figure } from '../bench.js'
import { usage } from '../child.js'
import type { Database } from '../databases.js'
import { figure } from '../figures.js'
import { submit, untilEmpty } from '../load.js'
import { requests } from '../messages.js'
import { withService } from '../rig.js'
import { mean } from '../times.js'

const SOAK_MS = 20 * 60_000

export async function memory(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const database of bench.databases) {
    bench.say(`${database.name}: a long queue`)
    const { count, rssMb } = await bench.longQueue(database)
    const what = `highest RSS while ${count.toLocaleString('en-US')} are queued`
    figures.push(figure(6, database, what, rssMb, 'MB', { atMost: 300 }))
    if (bench.withSoak) figures.push(...(await soak(bench, database)))
  }
  return figures
}

/** Full speed all the while. Flat: the last quarter is no higher than the second by more than a tenth. */
async function soak(bench: Bench, database: Database): Promise<Figure[]> {
  bench.say(`${database.name}: a soak of 20 minutes`)
  const samples = await withService({ database: await database.fresh() }, async ({ client, service }) => {
    const seen: number[] = []
    for (const until = performance.now() + SOAK_MS; performance.now() < until; ) {
      await submit(client, requests(5_000, 100))
      await untilEmpty(client, () => seen.push(usage(service.pid).rssMb))
    }
    return seen
  })
  const quarter = Math.floor(samples.length / 4)
  const second = mean(samples.slice(quarter, 2 * quarter))
  const last = mean(samples.slice(-quarter))
  return [
    figure(6, database, 'RSS in the last quarter of 20 minutes at full speed', last, 'MB'),
    figure(6, database, 'the same / in the second quarter', last / second, 'ratio', { atMost: 1.1 }),
  ]
}
