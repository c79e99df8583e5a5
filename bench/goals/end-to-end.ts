/** Goals 1 and 3: POST, durable, SMTP, recorded; beside what C reaches with no queue at all. */
import type { Bench, Figure } from '../bench.js'
import type { Database } from '../databases.js'
import { figure } from '../figures.js'
import { withService } from '../rig.js'
import { measureStraight } from '../smtp-source.js'
import { measureThroughput, type Throughput } from '../throughput.js'
import { mean, rateOfAll } from '../times.js'

export const END_TO_END_COUNT = 100_000
/** Databases take turns: a machine that others use is faster or slower by a tenth a minute later. */
const TURNS = 2

export async function endToEnd(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = []
  let sqlite: number | null = null
  const turns: [Database, Turn][] = []
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (const database of bench.databases) turns.push([database, await measureBesideStraight(bench, database)])
  }
  for (const database of bench.databases) {
    const own = turns.flatMap(([of, turn]) => (of === database ? turn : []))
    const perSecond = rateOfAll(own.map(turn => turn.perSecond))
    const straights = own.flatMap(turn => turn.straight ?? [])
    const straight = straights.length > 0 ? mean(straights) : null
    const row = (what: string, value: number, unit: Figure['unit']) => figure(1, database, what, value, unit)
    figures.push(
      row('end to end', perSecond, 'messages/s'),
      row('CPU of the service a message', mean(own.map(turn => turn.cpu)), 'µs'),
    )
    if (straight !== null) {
      figures.push(row('smtp-source → smtp-sink, just before and after', straight, 'messages/s'), {
        ...row('end to end / smtp-source → smtp-sink', perSecond / straight, 'ratio'),
        wanted: ofStraight(database),
      })
    }
    if (database.name === 'sqlite') sqlite = perSecond
    else if (sqlite !== null)
      figures.push(
        figure(3, database, 'end to end / the same on SQLite', perSecond / sqlite, 'ratio', { atLeast: 0.6 }),
      )
  }
  return figures
}

/** The goal is SQLite's. */
function ofStraight({ name }: Database) {
  return name === 'sqlite' ? { atLeast: 0.3 } : null
}

interface Turn {
  readonly perSecond: number
  /** Of the service, µs a message. */
  readonly cpu: number
  readonly straight: number | null
}

/** By a service of its own. */
export async function measureEndToEnd(bench: Bench, database: Database): Promise<Throughput> {
  return withService({ database: await database.fresh() }, async rig => {
    // V8 compiles what is hot.
    await measureThroughput(rig, bench.count(4_000))
    return measureThroughput(rig, bench.count(END_TO_END_COUNT))
  })
}

async function measureBesideStraight(bench: Bench, database: Database): Promise<Turn> {
  const straight = async () => {
    bench.say('smtp-source straight into smtp-sink')
    return measureStraight(bench.count(END_TO_END_COUNT))
  }
  const before = await straight()
  bench.say(`${database.name}: ${bench.count(END_TO_END_COUNT)} messages end to end`)
  const { perSecond, cpuMicrosPerMessage } = await measureEndToEnd(bench, database)
  const after = await straight()
  return {
    perSecond,
    cpu: cpuMicrosPerMessage,
    straight: before !== null && after !== null ? mean([before, after]) : null,
  }
}
