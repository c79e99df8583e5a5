/**
 * `npm run bench`: measures the service as a process of its own, from outside, and writes docs/benchmarks.md.
 * Only a full run on both databases is written down. Options: --help.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Bench, Figure } from './bench.js'
import { nameOfSink } from './child.js'
import { type Compared, compare } from './compare/compare.js'
import { type Database, openDatabases } from './databases.js'
import { GOALS } from './goals/all.js'
import { fillQueue, type LongQueue } from './long-queue.js'
import { describeMachine } from './machine.js'
import { profile } from './profile/profile.js'
import { renderReport } from './report.js'

const USAGE = `npm run bench -- [options]

  --quick              a fortieth of everything
  --only ROUND,...     ${GOALS.map(({ name }) => name).join(', ')}, or none
  --database NAME      sqlite or postgres; both unless given
  --compare            Postfix and others beside it, where they are installed
  --long               rounds of ten minutes
  --soak               20 minutes more
  --profile            writes bench/profile.md instead
  --no-write           leaves docs/benchmarks.md alone, as all but a full run on both databases does
`
const values = readOptions()
const root = new URL('../../', import.meta.url)
const start = performance.now()
const names = values.only?.split(',') ?? GOALS.map(({ name }) => name)
const unknown = names.find(name => !GOALS.some(goal => goal.name === name) && name !== 'none')
if (unknown !== undefined) {
  const known = GOALS.map(({ name }) => name).join(', ')
  process.stderr.write(`There is no round ${unknown}; there are ${known}, and none.\n`)
  process.exit(2)
}
const databases = await openDatabases((['sqlite', 'postgres'] as const).filter(isAsked))
const bench = benchOf(databases.all)
try {
  if (values.profile) await writeProfile()
  else await measureAndReport()
} finally {
  await databases.close()
}

function readOptions() {
  const flag = { type: 'boolean', default: false } as const
  const flags = { quick: flag, compare: flag, long: flag, soak: flag, profile: flag, 'no-write': flag, help: flag }
  try {
    const { values: given } = parseArgs({
      options: { ...flags, only: { type: 'string' }, database: { type: 'string' } },
    })
    const { database = 'sqlite' } = given
    if (!['sqlite', 'postgres'].includes(database)) throw new Error(`There is no database '${database}' here`)
    if (!given.help) return given
    process.stdout.write(USAGE)
    process.exit(0)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`)
    process.exit(2)
  }
}

async function measureAndReport(): Promise<void> {
  const figures: Figure[] = []
  for (const goal of GOALS.filter(({ name }) => names.includes(name))) {
    try {
      const found = await goal.run(bench)
      figures.push(...found)
      for (const { database, what, value, unit } of found)
        bench.say(`= ${database}: ${what}: ${value.toFixed(2)} ${unit}`)
    } catch (error) {
      // What the others found is worth telling all the same, on the terminal and not in the document.
      process.exitCode = 1
      bench.say(`the round ${goal.name} failed: ${(error as Error).stack}`)
    }
  }
  let compared: Compared | null = null
  if (values.compare) {
    const beside = await compare(bench)
    compared = beside.compared
    figures.push(...beside.figures)
  }
  const report = renderReport({
    machine: describeMachine(),
    sink: nameOfSink(),
    isQuick: values.quick,
    minutes: (performance.now() - start) / 60_000,
    figures,
    compared,
    changes: textOf('bench/changes.md'),
    profile: textOf('bench/profile.md'),
  })
  process.stdout.write(`${report}\n`)
  const isWhole =
    !values.quick && values.only === undefined && values.database === undefined && process.exitCode === undefined
  if (isWhole && !values['no-write']) writeFileSync(new URL('docs/benchmarks.md', root), `${report}\n`)
}

async function writeProfile(): Promise<void> {
  const text = await profile(bench)
  process.stdout.write(`${text}\n`)
  if (!values.quick && !values['no-write']) writeFileSync(new URL('bench/profile.md', root), `${text}\n`)
}

function benchOf(all: readonly Database[]): Bench {
  const count = (full: number) => (values.quick ? Math.ceil(full / 40) : full)
  const say = (line: string) => {
    process.stderr.write(`${((performance.now() - start) / 1000).toFixed(0).padStart(5)} s  ${line}\n`)
  }
  const queues = new Map<Database, Promise<LongQueue>>()
  return {
    databases: all,
    isQuick: values.quick,
    isLong: values.long,
    withSoak: values.soak,
    count,
    say,
    longQueue(database) {
      const known = queues.get(database) ?? fillQueue(database, count(1_000_000))
      queues.set(database, known)
      return known
    },
  }
}

function isAsked(name: Database['name']): boolean {
  return values.database === undefined || values.database === name
}

function textOf(path: string): string {
  const url = new URL(path, root)
  return existsSync(url) ? readFileSync(url, 'utf8') : ''
}
