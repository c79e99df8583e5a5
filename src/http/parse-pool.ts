/**
 * The parse threads: started at the first large body, ended with the app. Two, because a third would only take the
 * processors from the dispatcher; what does not fit waits its turn.
 */

import { randomUUID } from 'node:crypto'
import { deserialize } from 'node:v8'
import { Worker } from 'node:worker_threads'
import type { InlineUpload } from '../messages/message.js'
import { InvalidJson } from './parse-json.js'
import type { ParseAnswer, ParseRequest } from './parse-worker.js'

export interface ParsedBody {
  readonly value: unknown
  /** Each a serialised array of at most 500 messages. */
  readonly chunks: readonly Uint8Array[]
  readonly count: number
  /** Long contents of attachments, by the mark that stands in their place. */
  readonly uploads: Map<string, InlineUpload>
}

export interface ParsePool {
  /** The blocks are handed over: they must not be touched afterwards. Rejects with InvalidJson. */
  parse(blocks: readonly Uint8Array[], split: boolean): Promise<ParsedBody>
  close(): Promise<void>
}

const THREADS = 2
/** After a body of so many octets its thread ends: it would keep the memory for the next one, which may never come. */
const ENDS_AFTER = 16 * 1024 * 1024

// Tests load the sources; a thread needs JavaScript, so they use the built worker.
const workerUrl = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/http/parse-worker.js' : './parse-worker.js',
  import.meta.url,
)

interface Job {
  readonly request: ParseRequest
  readonly sizeBytes: number
  resolve(body: ParsedBody): void
  reject(error: Error): void
}

export function createParsePool(): ParsePool {
  const threads = new Map<Worker, Job | null>()
  const waiting: Job[] = []
  let nextId = 1
  let closed = false

  const next = (): void => {
    for (const [thread, job] of threads) {
      if (job === null) give(thread)
    }
    while (waiting.length > 0 && threads.size < THREADS && !closed) give(start())
  }

  const give = (thread: Worker): void => {
    const job = waiting.shift()
    if (job === undefined) return
    threads.set(thread, job)
    const memory = job.request.blocks.map(block => block.buffer as ArrayBuffer)
    thread.postMessage(job.request, memory)
  }

  const start = (): Worker => {
    const thread = new Worker(workerUrl)
    thread.unref()
    threads.set(thread, null)
    thread.on('message', (answer: ParseAnswer) => {
      const job = threads.get(thread)
      threads.set(thread, null)
      if (job != null) settle(job, answer)
      if (job != null && job.sizeBytes > ENDS_AFTER) {
        threads.delete(thread)
        void thread.terminate()
      }
      next()
    })
    const lost = (error: Error) => {
      const job = threads.get(thread)
      threads.delete(thread)
      job?.reject(error)
      if (!closed) next()
    }
    thread.on('error', lost)
    thread.on('exit', () => lost(new Error('the parse thread ended')))
    return thread
  }

  return {
    parse(blocks, split) {
      return new Promise((resolve, reject) => {
        if (closed) return reject(new Error('the service is closed'))
        const sizeBytes = blocks.reduce((sum, block) => sum + block.length, 0)
        waiting.push({ request: { id: nextId++, blocks, split, mark: randomUUID() }, sizeBytes, resolve, reject })
        next()
      })
    },
    async close() {
      closed = true
      for (const job of waiting.splice(0)) job.reject(new Error('the service is closed'))
      await Promise.all([...threads.keys()].map(thread => thread.terminate()))
    },
  }
}

function settle({ request, resolve, reject }: Job, answer: ParseAnswer): void {
  if ('invalid' in answer) {
    reject(new InvalidJson(answer.invalid.reason, answer.invalid.position))
    return
  }
  const uploads = new Map(answer.uploads.map((each, i) => [`${request.mark}:${i}`, each]))
  resolve({ value: deserialize(answer.head), chunks: answer.chunks, count: answer.count, uploads })
}
