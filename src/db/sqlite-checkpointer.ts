/**
 * The thread that copies the write-ahead log into the database while the writer goes on; see sqlite-checkpoints.ts. What it
 * meets ends it: a connection may keep what it met when it was opened, as a file that could only be read.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import type { CopierAnswer, CopierRequest } from './sqlite-checkpoints.js'
import { openDriver, prepareCheckpoint } from './sqlite-driver.js'

/** Beside a writer that is faster there would be no end. */
const MAX_ROUNDS = 5
/** So few frames are left to the writer, which copies them within a millisecond or two. */
const FEW = 100

const { path } = workerData as { path: string }
const port = parentPort as MessagePort
const db = await openDriver(path, false)
db.exec('pragma synchronous = full; pragma cache_size = -100')
const checkpoint = prepareCheckpoint(db, 'passive')
port.on('message', (request: CopierRequest) => {
  if (request === 'copy') return port.postMessage(copy())
  db.close()
  port.close()
})

/** Each round copies what the writer added during the one before, which is less and less. */
function copy(): CopierAnswer {
  let before = 0
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const { busy, log, checkpointed } = checkpoint()
    if (busy !== 0 || log - checkpointed > FEW) return false
    if (checkpointed - before <= FEW) return true
    before = checkpointed
  }
  return true
}
