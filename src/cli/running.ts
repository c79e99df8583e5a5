/** Is the instance served on this machine, and where? */
import type { CliIo } from './context.js'
import { type Running, readRunning } from './instance.js'
import { reachable } from './welcome.js'

/** The process of the folder's pid file when it is alive; a file left behind by a killed one counts for nothing. */
export function findProcess({ processes }: Pick<CliIo, 'processes'>, dir: string | null): Running | null {
  const noted = dir === null ? null : readRunning(dir)
  return noted !== null && processes.isAlive(noted.pid, noted.mark) ? noted : null
}

/** The same when it answers too, with an address that can be connected to. */
export async function findRunning(io: Pick<CliIo, 'processes'>, dir: string | null): Promise<Running | null> {
  const running = findProcess(io, dir)
  if (running === null) return null
  const url = reachable(running.url)
  return (await answers(url)) ? { ...running, url } : null
}

/** True when a mail-proxy answers there within `withinMs`. */
export async function answers(url: string, withinMs = 3_000): Promise<boolean> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(withinMs) })
    return response.ok && ((await response.json()) as { status?: string }).status === 'ok'
  } catch {
    return false
  }
}
