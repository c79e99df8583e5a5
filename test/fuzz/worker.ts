/** The thread in which one target is searched: what it runs stands in shared memory, for when it hangs. */
import { parentPort, workerData } from 'node:worker_threads'
import { search } from './loop.js'
import { TARGETS } from './targets.js'

export interface WorkerData {
  readonly name: string
  readonly corpus: readonly Uint8Array[]
  readonly forMs: number
  readonly seed: number
  /** Runs, length of the input that runs. */
  readonly counters: Int32Array<SharedArrayBuffer>
  readonly input: Uint8Array<SharedArrayBuffer>
}

export type WorkerSays =
  | { readonly kind: 'found'; readonly octets: Uint8Array; readonly error: string }
  | { readonly kind: 'progress'; readonly runs: number; readonly kept: number; readonly blocks: number }
  | { readonly kind: 'done'; readonly corpus: readonly Uint8Array[] }

const { name, corpus, forMs, seed, counters, input } = workerData as WorkerData
const say = (words: WorkerSays) => parentPort!.postMessage(words)

const fewest = await search(TARGETS.find(each => each.name === name)!, {
  corpus: corpus.map(each => Buffer.from(each)),
  forMs,
  seed,
  before(octets) {
    const length = Math.min(octets.length, input.length)
    input.set(octets.subarray(0, length))
    Atomics.store(counters, 1, length)
    Atomics.add(counters, 0, 1)
  },
  found: finding => say({ kind: 'found', ...finding }),
  progress: progress => say({ kind: 'progress', ...progress }),
})
say({ kind: 'done', corpus: fewest })
