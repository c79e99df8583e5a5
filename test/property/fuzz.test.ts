/**
 * Every parser against inputs that were made of honest ones: what it may not do is said by its target in test/fuzz/.
 * `npm run test:fuzz` looks for more of them, guided by what the code does; what it found stands in test/fuzz/corpus/.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TARGETS } from '../fuzz/targets.js'

const CORPUS = join(import.meta.dirname, '../fuzz/corpus')
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const times = Number(process.env.FUZZ_TIMES ?? 1)
console.info(`FUZZ_SEED=${seed} FUZZ_TIMES=${times}`)

/** Of a seed: somewhere so much is cut out, and a piece put in so many times. */
function inputsFor(seeds: readonly Buffer[], words: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const piece = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...words) },
    fc.uint8Array({ maxLength: 8 }).map(octets => Buffer.from(octets)),
    fc.constantFrom(...seeds),
  )
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat(6),
    piece,
    times: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, fc.nat(40)),
  })
  return fc.tuple(fc.constantFrom(...seeds), fc.array(edit, { maxLength: 5 })).map(([start, edits]) =>
    edits.reduce<Buffer>((octets, { at, cut, piece: added, times }) => {
      const from = Math.floor(at * octets.length)
      return Buffer.concat([octets.subarray(0, from), ...Array(times).fill(added), octets.subarray(from + cut)])
    }, start),
  )
}

describe.each(TARGETS.map(target => [target.name, target] as const))('%s', (name, target) => {
  const seeds = target.seeds.map(each => Buffer.from(each as string))
  const words = target.words.map(each => Buffer.from(each))

  it('holds for what is honest, and for what was found', async () => {
    const found = readdirSync(CORPUS, { withFileTypes: true }).some(each => each.name === name)
      ? readdirSync(join(CORPUS, name)).map(file => readFileSync(join(CORPUS, name, file)))
      : []
    for (const octets of [...seeds, ...found]) await target.run(octets)
  })

  it('holds for what is made of it', async () => {
    // Not fast-check's own limit, which fails where a busy machine lets not even the first input end within it.
    const end = performance.now() + 500 * times
    await fc.assert(
      fc.asyncProperty(inputsFor(seeds, words), async octets => {
        if (performance.now() < end) await target.run(octets)
      }),
      { seed, numRuns: 200 * times },
    )
  })

  it('takes no more than in proportion for ten times as much', async () => {
    const most = target.mostOctets ?? 30_000
    for (const [i, word] of words.entries()) {
      if (word.length === 0) continue
      const start = seeds[i % seeds.length]!
      const middle = start.length >> 1
      const grown = (octets: number) =>
        Buffer.concat([
          start.subarray(0, middle),
          ...Array(Math.ceil(octets / word.length)).fill(word),
          start.subarray(middle),
        ])
      const timed = (octets: number) => cpuMs(() => target.run(grown(octets)))
      const first = await timed(most)
      if (first < 100) continue
      // Slow is no fault; slower than in proportion is. The better of two, for the machine has other work, and the first
      // run may have met what was not compiled yet.
      const short = Math.min(await timed(most / 10), await timed(most / 10))
      const long = Math.min(first, await timed(most))
      expect(long / Math.max(short, 2), `${JSON.stringify(String(word))} many times`).toBeLessThan(50)
    }
  })
})

async function cpuMs(work: () => unknown): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}
