/** Is the instance served on this machine, and where? */
import type { CliIo } from './context.js'
import { createRunning, type Running, readRunning, removeStaleRunning } from './instance.js'
import { reachable } from './welcome.js'

/** The process of the folder's pid file when it is alive; a file left behind by a killed one counts for nothing. */
export function findProcess({ processes }: Pick<CliIo, 'processes'>, dir: string | null): Running | null {
  const noted = dir === null ? null : readRunning(dir)
  return noted !== null && processes.isAlive(noted.pid, noted.mark) ? noted : null
}

/**
 * Notes this process as one that is starting, so that a stop or a deletion meanwhile finds it. Answers the process that
 * is noted already and lives, whose note stays.
 */
export function noteStarting({ processes, pid }: Pick<CliIo, 'processes' | 'pid'>, dir: string): Running | null {
  const note = { pid, url: '', mark: processes.markOf(pid) }
  for (;;) {
    // Removed only after it was seen to be left behind: of several that start at once one is first.
    if (createRunning(dir, note)) return null
    const other = findProcess({ processes }, dir)
    if (other !== null && other.pid !== pid) return other
    removeStaleRunning(dir)
  }
}

export type State = 'running' | 'starting' | 'not answering' | 'stopped'

export interface Seen {
  readonly state: State
  /** null: stopped. Its address can be connected to; empty while it is starting. */
  readonly process: Running | null
}

/** How the instance of the folder does. */
export async function lookAtProcess(io: Pick<CliIo, 'processes'>, dir: string | null): Promise<Seen> {
  const process = findProcess(io, dir)
  if (process === null) return { state: 'stopped', process }
  if (process.url === '') return { state: 'starting', process }
  const url = reachable(process.url)
  return { state: (await answers(url)) ? 'running' : 'not answering', process: { ...process, url } }
}

/** True when a mail-proxy answers there within `withinMs`. */
export async function answers(url: string, withinMs = 3_000): Promise<boolean> {
  if (url === '') return false
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(withinMs) })
    return response.ok && ((await response.json()) as { status?: string }).status === 'ok'
  } catch {
    return false
  }
}
