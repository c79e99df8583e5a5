/**
 * `npm run test:fuzz -- --minutes N [--target NAME] [--seed N]`: searches all targets, the time shared between them. What
 * it finds is written to build/fuzz/findings/, with the error beside it, and makes it end with 1; what it learnt stays in
 * build/fuzz/corpus/ for the next run. A finding that was mended goes to test/fuzz/corpus/, which `npm test` runs.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import type { FuzzTarget } from './target.js'
import { TARGETS } from './targets.js'
import type { WorkerData, WorkerSays } from './worker.js'

const LEARNT = 'build/fuzz/corpus'
const FINDINGS = 'build/fuzz/findings'
const KEPT = 'test/fuzz/corpus'
const HANGS_MS = 10_000
const MOST_INPUT = 1024 * 1024

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    target: { type: 'string', multiple: true },
    seed: { type: 'string' },
  },
})
const minutes = Number(values.minutes)
const seed = Number(values.seed ?? Date.now() % 2 ** 31)
const chosen = TARGETS.filter(({ name }) => values.target?.includes(name) ?? true)
if (!(minutes > 0) || !Number.isInteger(seed) || chosen.length === 0) {
  console.error(`--minutes is a number, --target one of ${TARGETS.map(({ name }) => name).join(', ')}`)
  process.exit(2)
}

console.info(`seed ${seed}`)
let findings = 0
for (const target of chosen) findings += await searchTarget(target, (minutes * 60_000) / chosen.length)
console.info(findings === 0 ? 'nothing was found' : `${findings} findings in ${FINDINGS}`)
process.exit(findings === 0 ? 0 : 1)

/** How many findings. */
function searchTarget({ name }: FuzzTarget, forMs: number): Promise<number> {
  return new Promise(resolve => {
    let found = 0
    let last = ''
    const counters = new Int32Array(new SharedArrayBuffer(8))
    const input = new Uint8Array(new SharedArrayBuffer(MOST_INPUT))
    const corpus = [join(KEPT, name), join(LEARNT, name)].flatMap(filesIn)
    const data: WorkerData = { name, corpus, forMs, seed, counters, input }
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: data })
    const keep = (octets: Uint8Array, error: string) => {
      found += 1
      console.info(`${name}: ${error.split('\n').slice(0, 4).join('\n')}`)
      write(FINDINGS, `${name}-${digest(octets)}`, octets)
      write(FINDINGS, `${name}-${digest(octets)}.txt`, Buffer.from(error))
    }
    const over = () => {
      clearInterval(watch)
      console.info(`${name.padEnd(20)} ${last}, ${found} findings`)
      resolve(found)
    }
    let runsBefore = 0
    const watch = setInterval(() => {
      const runs = Atomics.load(counters, 0)
      // Before the first run it loads the product.
      if (runs !== runsBefore || runs === 0) {
        runsBefore = runs
        return
      }
      keep(Uint8Array.from(input.subarray(0, Atomics.load(counters, 1))), `hangs: no end within ${HANGS_MS / 1_000} s`)
      void worker.terminate().then(over)
    }, HANGS_MS)
    worker.on('message', (words: WorkerSays) => {
      if (words.kind === 'found') keep(words.octets, words.error)
      else if (words.kind === 'progress') last = `${words.runs} runs, ${words.blocks} blocks, ${words.kept} inputs kept`
      else {
        rmSync(join(LEARNT, name), { recursive: true, force: true })
        for (const octets of words.corpus) write(join(LEARNT, name), digest(octets), octets)
        void worker.terminate().then(over)
      }
    })
    worker.on('error', error => {
      keep(Uint8Array.from(input.subarray(0, Atomics.load(counters, 1))), error.stack ?? String(error))
      over()
    })
  })
}

function filesIn(dir: string): Buffer[] {
  return existsSync(dir) ? readdirSync(dir).map(name => readFileSync(join(dir, name))) : []
}

function write(dir: string, name: string, octets: Uint8Array): void {
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, name), octets)
}

function digest(octets: Uint8Array): string {
  return createHash('sha256').update(octets).digest('hex').slice(0, 12)
}
