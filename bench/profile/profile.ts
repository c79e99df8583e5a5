/** `--profile`: end to end with V8's profiler in every thread of the service, summed up by source file. */
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Bench } from '../bench.js'
import { describeMachine } from '../machine.js'
import { withService } from '../rig.js'
import { measureThroughput } from '../throughput.js'
import { pause } from '../times.js'
import { WARM_AFTER_MS } from './inside.js'
import { summarize } from './summary.js'

const INSIDE = new URL('./inside.js', import.meta.url).href
const MOST_FILES = 25

/** Markdown: a table a thread, of each database. */
export async function profile(bench: Bench): Promise<string> {
  const lines = [
    `Of ${bench.count(40_000).toLocaleString('en-US')} messages end to end, by V8's sampling profiler, which costs time itself: shares, no rates.`,
    'Time in Node and in packages counts for the file that called them. Garbage collection by helper threads is not seen.',
    '',
    `Machine: ${describeMachine()}.`,
  ]
  for (const database of bench.databases) {
    const dir = await mkdtemp(join(tmpdir(), 'gmp-profile-'))
    try {
      bench.say(`${database.name}: end to end under the profiler`)
      const env = { NODE_OPTIONS: `--import=${INSIDE}`, BENCH_PROFILE_DIR: dir }
      await withService({ database: await database.fresh(), env }, async rig => {
        const warm = pause(WARM_AFTER_MS)
        await measureThroughput(rig, bench.count(4_000))
        await warm
        await measureThroughput(rig, bench.count(40_000))
      })
      lines.push(...threadsIn(dir, database.name, bench.count(40_000)))
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  }
  return lines.join('\n')
}

function threadsIn(dir: string, database: string, count: number): string[] {
  const threads = readdirSync(dir)
    .map(name => ({
      thread: Number.parseInt(name, 10),
      ...summarize(JSON.parse(readFileSync(join(dir, name), 'utf8'))),
    }))
    // A parser that had nothing to parse.
    .filter(({ activeMs }) => (activeMs * 1000) / count > 5)
    .sort((a, b) => a.thread - b.thread)
  return threads.flatMap(({ thread, activeMs, files }) => [
    '',
    `### ${database}: ${thread === 0 ? 'main thread' : `thread ${thread}`}, ${((activeMs * 1000) / count).toFixed(0)} µs a message`,
    '',
    '| file | share |',
    '| --- | --- |',
    ...files
      .slice(0, MOST_FILES)
      .filter(({ share }) => share >= 0.005)
      .map(({ file, share }) => `| ${file} | ${(share * 100).toFixed(1)} % |`),
  ])
}
