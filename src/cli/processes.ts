/** Other processes of this machine, as the system tells of them. */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import type { Processes } from './context.js'

/** `program`: what runs this command line, as in `[process.execPath, script]`. */
export function createProcesses(program: readonly [string, ...string[]]): Processes {
  return {
    isAlive(pid, mark) {
      if (!exists(pid)) return false
      const stat = statOf(pid)
      if (stat === null) return true
      // Ended, though nobody has asked for its exit code: for good where a container's first process does not.
      if (stat.state === 'Z') return false
      return mark === null || stat.began === mark
    },
    markOf: pid => statOf(pid)?.began ?? null,
    signal(pid, signal) {
      process.kill(pid, signal)
    },
    startDetached(argv, logPath) {
      const log = openSync(logPath, 'a', 0o600)
      const [command, ...script] = program
      const child = spawn(command, [...script, ...argv], { detached: true, stdio: ['ignore', log, log] })
      closeSync(log)
      const ended = new Promise<number>((resolve, reject) => {
        child.once('error', reject)
        child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
      })
      // Whoever leaves early does not hear of it.
      ended.catch(() => {})
      return { pid: child.pid ?? 0, ended, leave: () => child.unref() }
    },
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Alive, but another user's.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/**
 * Linux, proc(5): the state, and the clock tick at which the process began. The name in field 2 may hold spaces and
 * brackets.
 */
function statOf(pid: number): { readonly state: string; readonly began: string } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0]!, began: fields[19]! }
  } catch {
    return null
  }
}
