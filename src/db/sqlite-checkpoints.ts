/**
 * Keeps SQLite's write-ahead log short without holding up the writer. SQLite's own way has the COMMIT that makes the log
 * long also copy it into the database and sync that, and all units wait. Here a thread copies (sqlite-checkpointer.ts)
 * while the writer goes on. The little that came meanwhile is copied by the writer, for the log begins anew only when
 * it was copied to its end, which beside a busy writer nobody else can reach.
 */
import { Worker } from 'node:worker_threads'
import { prepareCheckpoint, type SqliteConnection } from './sqlite-driver.js'

export type CopierRequest = 'copy' | 'close'
/** Whether few pages of the log are left to copy; they are more where somebody reads what stood in the database before. */
export type CopierAnswer = boolean

export interface Checkpoints {
  /** To be called after each COMMIT, once its units are answered. */
  committed(): void
  /** Ends the thread. To be called before the connection is closed. */
  close(): Promise<void>
}

/** Pages that make the log long: 16 MB. With 1000 what is written again and again is copied too often (2 µs a message). */
const LONG = 2_000
/** A log that could not begin anew, for somebody read from it, is copied again after so many pages more. */
const AGAIN = 250

/** `path`: of the database in WAL mode that `writer` is connected to. */
export function createCheckpoints(writer: SqliteConnection, path: string): Checkpoints {
  const look = prepareCheckpoint(writer, 'noop')
  let long = LONG
  let thread: Worker | null = null
  let isCopying = false
  let isLeftToSqlite = false

  const leaveToSqlite = (isLeft: boolean) => {
    isLeftToSqlite = isLeft
    writer.exec(`pragma wal_autocheckpoint = ${isLeft ? LONG : 0}`)
  }
  const start = () => {
    const started = new Worker(new URL('./sqlite-checkpointer.js', import.meta.url), { workerData: { path } })
    started.on('message', (isNearlyDone: CopierAnswer) => {
      isCopying = false
      if (isNearlyDone) copyRest()
      long = Math.max(LONG, length() + AGAIN)
    })
    // It could not start, or not copy. What is wrong is told by the COMMIT that meets it too.
    started.on('error', () => {
      isCopying = false
      thread = null
      leaveToSqlite(true)
    })
    return started
  }
  const copyRest = () => {
    try {
      writer.exec('pragma wal_checkpoint(passive)')
    } catch {
      // Tried again with what comes.
    }
  }
  const length = () => {
    try {
      return look().log
    } catch {
      return 0
    }
  }

  leaveToSqlite(false)
  return {
    committed() {
      if (isCopying) return
      const log = length()
      if (log < LONG) {
        long = LONG
        if (isLeftToSqlite) leaveToSqlite(false)
      }
      if (log < long || isLeftToSqlite) return
      isCopying = true
      thread ??= start()
      thread.postMessage('copy' satisfies CopierRequest)
    },
    async close() {
      if (thread === null) return
      const ended = new Promise(done => thread?.once('exit', done))
      thread.postMessage('close' satisfies CopierRequest)
      await ended
    },
  }
}
