/** Beside the goals: what an idle service takes, and how soon it answers run-now. */
import type { Bench, Figure } from '../bench.js'
import { usage } from '../child.js'
import type { Database } from '../databases.js'
import { figure, latencies } from '../figures.js'
import { openLoop } from '../load.js'
import { withService } from '../rig.js'
import { pause } from '../times.js'

export async function idle(bench: Bench): Promise<Figure[]> {
  bench.say('idle services')
  // They do not disturb each other: side by side.
  return (await Promise.all(bench.databases.map(database => idleOn(bench, database)))).flat()
}

async function idleOn(bench: Bench, database: Database): Promise<Figure[]> {
  return withService({ database: await database.fresh() }, async ({ client, service }) => {
    // V8 tidies up for a while after the start.
    await pause(bench.count(40_000))
    const before = usage(service.pid)
    const watchedMs = bench.count(20_000)
    await pause(watchedMs)
    const cpu = (usage(service.pid).cpuSeconds - before.cpuSeconds) / (watchedMs / 1000)
    const runNow = await openLoop(200, 20, () => client.post('/commands/run-now', {}))
    return [
      figure(null, database, 'CPU when idle, 40 s after the start, of a core', cpu * 100, '%'),
      ...latencies(null, database, 'run-now', runNow),
    ]
  })
}
