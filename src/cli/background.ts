/** Starting an instance on its own and stopping one, seen from the process that asks for it. */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../lib/clock.js'
import { makePrivateDirectory } from '../lib/private-file.js'
import type { CliIo, Detached } from './context.js'
import { CliError } from './errors.js'
import { type Running, readRunning } from './instance.js'
import { answers } from './running.js'
import { reachable } from './welcome.js'

const LOOK_MS = 100
/** A large database or one that is far away takes its time. */
const START_MS = 60_000

export function logPath(dir: string): string {
  return join(dir, 'log')
}

/**
 * Starts `mail-proxy <argv>` on its own and answers when it serves. A start that fails is told with its last words; one
 * that takes longer than a minute goes on by itself, and the error says where to look.
 */
export async function startInBackground(io: CliIo, dir: string, argv: readonly string[]): Promise<Running> {
  makePrivateDirectory(dir)
  const path = logPath(dir)
  const begin = existsSync(path) ? statSync(path).size : 0
  const child = io.processes.startDetached(argv, path)
  try {
    const running = await Promise.race([untilServing(child, dir), diesFirst(child, path, begin)])
    if (running !== null) return running
    const said = lastLine(path, begin)
    throw new CliError(
      `not ready after ${START_MS / 1000} s; process ${child.pid} goes on: look into ${path}${said === '' ? '' : `, which ends with: ${said}`}`,
    )
  } finally {
    child.leave()
  }
}

/** Asks the process to stop and waits for its end; after `withinMs` it is killed (`force`) or the error says how to. */
export async function stopProcess(
  { processes }: Pick<CliIo, 'processes'>,
  { pid, mark }: Running,
  { withinMs, force }: { readonly withinMs: number; readonly force: boolean },
): Promise<'stopped' | 'killed'> {
  const gone = async (ms: number) => {
    for (let waited = 0; waited < ms; waited += LOOK_MS) {
      if (!processes.isAlive(pid, mark)) return true
      await systemClock.sleep(LOOK_MS)
    }
    return !processes.isAlive(pid, mark)
  }
  if (signalled(processes, pid, 'SIGTERM') === 'gone') return 'stopped'
  if (await gone(withinMs)) return 'stopped'
  if (!force) {
    throw new CliError(`process ${pid} has not ended after ${Math.round(withinMs / 1000)} s; --force kills it`)
  }
  if (signalled(processes, pid, 'SIGKILL') === 'gone' || (await gone(10_000))) return 'killed'
  throw new CliError(`process ${pid} was killed and is still there: the system waits for its disk or network`)
}

/** It may end by itself at any moment, and may be another user's. */
function signalled(processes: CliIo['processes'], pid: number, name: 'SIGTERM' | 'SIGKILL'): 'sent' | 'gone' {
  try {
    processes.signal(pid, name)
    return 'sent'
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return 'gone'
    throw new CliError(`process ${pid} is another user's: stop it as that user`, { cause })
  }
}

async function untilServing(child: Detached, dir: string): Promise<Running | null> {
  for (let waited = 0; waited < START_MS; waited += LOOK_MS) {
    const running = readRunning(dir)
    if (running?.pid === child.pid && (await answers(reachable(running.url)))) return running
    await systemClock.sleep(LOOK_MS)
  }
  return null
}

async function diesFirst(child: Detached, path: string, begin: number): Promise<never> {
  const code = await child.ended
  if (code === 0) throw new CliError('the instance was stopped while it was starting')
  const said = lastLine(path, begin)
  const how = code > 128 ? `was ended by signal ${code - 128}` : `ended with ${code}`
  throw new CliError(said === '' ? `the instance ${how} and said nothing` : said.replace(/^Error: /, ''))
}

/** Of what was written since `begin`. */
function lastLine(path: string, begin: number): string {
  const file = openSync(path, 'r')
  try {
    const from = Math.max(begin, fstatSync(file).size - 8192)
    const bytes = Buffer.alloc(8192)
    const read = readSync(file, bytes, 0, bytes.length, from)
    return bytes.subarray(0, read).toString('utf8').trimEnd().split('\n').at(-1) ?? ''
  } finally {
    closeSync(file)
  }
}
