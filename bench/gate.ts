/**
 * `npm run bench:gate`: small runs held against generous ratios, so that what makes the service several times slower does not
 * pass unseen. Ratios of one run only: no machine is asked to be fast. What fails is measured once more.
 */
import { type Bound, isMet } from './bench.js'
import { claimAgainAndAgain } from './claim-cost.js'
import { measurePool } from './compare/compare.js'
import { type Database, openDatabases } from './databases.js'
import { measureAccounts } from './goals/many-accounts.js'
import { fillQueue } from './long-queue.js'
import { programNamed } from './programs.js'
import { withService } from './rig.js'
import { measureStraight } from './smtp-source.js'
import { measureThroughput } from './throughput.js'
import { quantile } from './times.js'

interface Check {
  readonly what: string
  readonly wanted: Bound
  measure(): Promise<number>
}

/** Bounds lie at a third to a half of what was seen when they were chosen, and are raised when the service gets faster. */
function checksOn(sqlite: Database, postgres: Database): Check[] {
  const claim = ({ name }: Database) => `a claim with 50,000 queued / with 1,000, ${name}`
  return [
    programNamed('smtp-source') !== null
      ? {
          what: 'end to end / smtp-source → smtp-sink, sqlite',
          wanted: { atLeast: 0.07 },
          measure: async () => (await endToEnd(sqlite)) / (await measureStraight(20_000))!,
        }
      : {
          what: 'end to end / a nodemailer pool with no queue, sqlite',
          wanted: { atLeast: 0.3 },
          measure: async () => (await endToEnd(sqlite)) / (await measurePool(COUNT)),
        },
    {
      what: 'end to end, postgres / sqlite',
      wanted: { atLeast: 0.2 },
      measure: async () => (await endToEnd(postgres)) / (await endToEnd(sqlite)),
    },
    { what: claim(sqlite), wanted: { atMost: 3 }, measure: () => longToShort(sqlite) },
    { what: claim(postgres), wanted: { atMost: 3 }, measure: () => longToShort(postgres) },
    {
      what: '500 accounts / one, sqlite',
      wanted: { atLeast: 0.3 },
      async measure() {
        const { one, many } = await measureAccounts(sqlite, 500, () => {})
        return many / one
      },
    },
  ]
}

const COUNT = 6_000

async function endToEnd(database: Database): Promise<number> {
  return withService({ database: await database.fresh() }, async rig => {
    await measureThroughput(rig, COUNT / 3)
    return (await measureThroughput(rig, COUNT)).perSecond
  })
}

async function longToShort(database: Database): Promise<number> {
  const medianAt = async (count: number) => {
    const queue = await fillQueue(database, count)
    return quantile(await claimAgainAndAgain(queue.database, 100), 0.5)
  }
  return (await medianAt(50_000)) / (await medianAt(1_000))
}

async function holds({ what, wanted, measure }: Check): Promise<boolean> {
  const from = performance.now()
  const value = await measure()
  const seconds = ((performance.now() - from) / 1000).toFixed(0)
  const isGood = isMet({ value, wanted }) === true
  const bound = 'atLeast' in wanted ? `at least ${wanted.atLeast}` : `at most ${wanted.atMost}`
  process.stdout.write(`${isGood ? 'ok    ' : 'FAILED'} ${what}: ${value.toFixed(3)}, ${bound} (${seconds} s)\n`)
  return isGood
}

const databases = await openDatabases(['sqlite', 'postgres'])
try {
  const [sqlite, postgres] = databases.all
  for (const check of checksOn(sqlite!, postgres!)) {
    if ((await holds(check)) || (await holds(check))) continue
    process.exitCode = 1
  }
} finally {
  await databases.close()
}
