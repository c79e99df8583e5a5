/**
 * Loaded into each thread of the service by `node --import`: profiles it from when it is warm to its end, and leaves
 * what it found in BENCH_PROFILE_DIR.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'

/** After the start, and after some messages. */
export const WARM_AFTER_MS = 6_000

const dir = process.env.BENCH_PROFILE_DIR
if (dir !== undefined) {
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.setSamplingInterval', { interval: 500 })
  setTimeout(() => session.post('Profiler.start'), WARM_AFTER_MS).unref()
  process.on('exit', () => {
    session.post('Profiler.stop', (_, stopped) => {
      mkdirSync(dir, { recursive: true })
      if (stopped !== undefined) writeFileSync(join(dir, `${threadId}.cpuprofile`), JSON.stringify(stopped.profile))
    })
  })
}
