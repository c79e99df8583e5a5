/**
 * A coverage-guided search on V8's own block coverage: an input that makes the product do what none did before is kept,
 * and the next ones are made of those. Runs in a thread (main.ts watches it), one target at a time.
 */
import { Session } from 'node:inspector'
import type { FuzzTarget } from './target.js'

export interface Found {
  readonly octets: Buffer
  readonly error: string
}

export interface Progress {
  readonly runs: number
  readonly kept: number
  readonly blocks: number
}

export interface LoopOptions {
  readonly corpus: readonly Buffer[]
  readonly forMs: number
  readonly seed: number
  /** Before each run, so that somebody else can tell what hangs. */
  before(octets: Buffer): void
  found(finding: Found): void
  progress(progress: Progress): void
}

/** Taking the coverage costs some milliseconds, so it is taken of so many runs together, and of each alone only when there was something new. */
const BATCH = 100
const MOST_OCTETS = 4_096
const SLOW_MS = 2_000
const TOLD_EVERY_MS = 10_000

/** Answers the smallest set of inputs that does all that was seen. */
export async function search(target: FuzzTarget, options: LoopOptions): Promise<Buffer[]> {
  const random = mulberry32(options.seed)
  const coverage = openCoverage()
  const words = target.words.map(each => Buffer.from(each))
  const kept: { octets: Buffer; blocks: ReadonlySet<string> }[] = []
  const seen = new Set<string>()
  const errors = new Set<string>()
  const most = target.mostOctets ?? MOST_OCTETS
  let runs = 0

  const run = async (octets: Buffer): Promise<void> => {
    options.before(octets)
    runs += 1
    const startedAt = process.cpuUsage()
    try {
      await target.run(Buffer.from(octets))
      const { user } = process.cpuUsage(startedAt)
      if (user / 1_000 > SLOW_MS) throw new Error(`slow: ${Math.round(user / 1_000)} ms`)
    } catch (error) {
      const { message, stack = '' } = error as Error
      // One of a kind: by where it was thrown and the beginning of what it says.
      const kind = `${message.slice(0, 30)}${/\n\s+at (?!check\b)[^\n]*/.exec(stack)?.[0] ?? ''}`
      if (errors.has(kind)) return
      errors.add(kind)
      options.found({ octets, error: stack })
    }
  }

  /** Runs it alone and keeps it when it does something new. */
  const consider = async (octets: Buffer): Promise<void> => {
    coverage.take()
    await run(octets)
    const { ran, often } = coverage.take()
    const blocks = new Set([...ran, ...often])
    if (![...blocks].some(block => !seen.has(block))) return
    for (const block of blocks) seen.add(block)
    kept.push({ octets, blocks })
  }

  const startedAt = performance.now()
  let toldAt = startedAt
  for (const octets of [Buffer.alloc(0), ...target.seeds.map(each => Buffer.from(each as string)), ...options.corpus]) {
    await consider(octets)
  }
  while (performance.now() - startedAt < options.forMs) {
    const batch: Buffer[] = []
    for (let i = 0; i < BATCH; i += 1) {
      const start = kept[Math.floor(random() ** 0.5 * kept.length)]!.octets
      const other = kept[Math.floor(random() * kept.length)]!.octets
      batch.push(mutated(start, other, words, random).subarray(0, most))
    }
    coverage.take()
    for (const octets of batch) await run(octets)
    const { ran } = coverage.take()
    if ([...ran].some(block => !seen.has(block))) for (const octets of batch) await consider(octets)
    if (performance.now() - toldAt > TOLD_EVERY_MS) {
      toldAt = performance.now()
      options.progress({ runs, kept: kept.length, blocks: seen.size })
    }
  }
  options.progress({ runs, kept: kept.length, blocks: seen.size })
  coverage.close()
  return fewest(kept)
}

/** Greedy: short ones first, each that adds something to those before. */
function fewest(kept: readonly { octets: Buffer; blocks: ReadonlySet<string> }[]): Buffer[] {
  const covered = new Set<string>()
  const few: Buffer[] = []
  for (const { octets, blocks } of [...kept].sort((a, b) => a.octets.length - b.octets.length)) {
    if (![...blocks].some(block => !covered.has(block))) continue
    for (const block of blocks) covered.add(block)
    few.push(octets)
  }
  return few
}

interface Covered {
  readonly url: string
  readonly functions: readonly {
    readonly ranges: readonly { startOffset: number; endOffset: number; count: number }[]
  }[]
}

/**
 * Which blocks of the product ran since the last time. V8 names a block only where it ran another number of times than what
 * is around it, so those that did not run once are remembered: they ran when V8 does not say that they did not. Those
 * that ran several times count anew with each power of two.
 */
function openCoverage() {
  const session = new Session()
  session.connect()
  const known = new Map<string, Map<string, readonly [number, number]>>()
  let covered: readonly Covered[] = []
  /** The answers come before the call returns: the session is of this thread. */
  const ask = (method: string, params?: object) => {
    session.post(method, params, (error: Error | null, answer?: object) => {
      if (error !== null) throw error
      covered = (answer as { result?: readonly Covered[] } | undefined)?.result ?? []
    })
  }
  ask('Profiler.enable')
  ask('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  return {
    /** `often`: those that ran several times; of several runs together it says nothing. */
    take(): { ran: Set<string>; often: Set<string> } {
      ask('Profiler.takePreciseCoverage')
      const ran = new Set<string>()
      const often = new Set<string>()
      for (const { url, functions } of covered) {
        if (!url.includes('/build/src/')) continue
        for (const { ranges } of functions) {
          const [whole] = ranges
          if (whole === undefined || whole.count === 0) continue
          const name = `${url} ${whole.startOffset}`
          const skipped = ranges.filter(({ count }) => count === 0)
          const ofFunction = known.get(name) ?? new Map()
          known.set(name, ofFunction)
          for (const { startOffset, endOffset } of skipped)
            ofFunction.set(`${startOffset} ${endOffset}`, [startOffset, endOffset])
          for (const [block, [from, to]] of ofFunction) {
            if (!skipped.some(each => each.startOffset <= from && each.endOffset >= to)) ran.add(`${name} ${block}`)
          }
          for (const { startOffset, endOffset, count } of ranges) {
            if (count === 0) continue
            ran.add(`${name} ${startOffset} ${endOffset}`)
            often.add(`${name} ${startOffset} ${endOffset} ${Math.min(Math.floor(Math.log2(count)), 6)}`)
          }
        }
      }
      return { ran, often }
    },
    close() {
      ask('Profiler.stopPreciseCoverage')
      session.disconnect()
    },
  }
}

/** One to eight edits: words put in, octets changed, pieces taken out, doubled, or had from another input. */
function mutated(start: Buffer, other: Buffer, words: readonly Buffer[], random: () => number): Buffer {
  const any = (below: number) => Math.floor(random() * below)
  let octets = start
  for (let edits = 1 + any(random() < 0.2 ? 8 : 3); edits > 0; edits -= 1) {
    const at = any(octets.length + 1)
    const end = Math.min(octets.length, at + any(8))
    const splice = (from: number, to: number, piece: Uint8Array) =>
      Buffer.concat([octets.subarray(0, from), piece, octets.subarray(to)])
    switch (any(8)) {
      case 0:
      case 1:
        octets = splice(at, random() < 0.5 ? at : end, words[any(words.length)]!)
        break
      case 2:
        octets = splice(at, at + 1, Buffer.from([any(256)]))
        break
      case 3:
        octets = splice(at, at, Buffer.from([32 + any(95)]))
        break
      case 4:
        octets = splice(at, end, Buffer.alloc(0))
        break
      case 5:
        octets = splice(end, end, octets.subarray(at, at + any(64)))
        break
      case 6: {
        const from = any(other.length + 1)
        octets = splice(at, end, other.subarray(from, from + any(64)))
        break
      }
      default: {
        const word = words[any(words.length)]!
        octets = splice(at, at, Buffer.concat(Array(1 + any(random() < 0.1 ? 300 : 4)).fill(word)))
      }
    }
  }
  return octets
}

/** The same numbers for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
