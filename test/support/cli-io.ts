/** The ends of a command line that is run in this process: what it writes is kept, nobody sits at its terminal. */
import { PassThrough, Readable } from 'node:stream'
import type { CliIo } from '../../src/cli/context.js'

export interface CliEnds {
  readonly io: CliIo
  /** All it wrote so far, and the codes with which it wanted to end this process at once. */
  readonly state: { out: string; err: string; readonly exits: number[] }
  /** Sends a signal to the command while it runs. */
  signal(name?: 'SIGTERM' | 'SIGINT'): void
  /** Listeners for signals that are still there. */
  readonly listening: readonly unknown[]
}

/** `given` replaces what stands here; `processes` knows this process alone and starts none. */
export function cliEnds(given: Partial<CliIo> = {}): CliEnds {
  const heard: ((signal: 'SIGTERM' | 'SIGINT') => void)[] = []
  const state = { out: '', err: '', exits: [] as number[] }
  const io: CliIo = {
    env: {},
    home: '/nowhere',
    pid: process.pid,
    stdin: Readable.from([]),
    stderr: new PassThrough(),
    terminal: { stdin: false, stdout: false, stderr: false, columns: 0 },
    out(text) {
      state.out += text
    },
    err(text) {
      state.err += text
    },
    onSignal(listener) {
      heard.push(listener)
      return () => heard.splice(heard.indexOf(listener), 1)
    },
    onUncaught: () => () => {},
    processes: {
      isAlive: pid => pid === process.pid,
      markOf: () => null,
      signal() {},
      startDetached() {
        throw new Error('no test starts a process here')
      },
    },
    exitNow(code) {
      state.exits.push(code)
    },
    ...given,
  }
  const signal = (name: 'SIGTERM' | 'SIGINT' = 'SIGTERM') => {
    for (const listener of [...heard]) listener(name)
  }
  return { io, state, signal, listening: heard }
}
