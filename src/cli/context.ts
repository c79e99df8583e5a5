/** What a command gets of the world, so that only main.ts touches the process. Tests put their own in its place. */
import type { Readable, Writable } from 'node:stream'
import type { Environment } from '../load-config.js'

export interface CliIo {
  readonly env: Environment
  readonly home: string
  readonly pid: number
  readonly stdin: Readable
  /** Where questions are written: stdout belongs to the answer. */
  readonly stderr: Writable
  readonly terminal: Terminal
  out(text: string): void
  err(text: string): void
  /** Hears SIGTERM and SIGINT until the answer is called. */
  onSignal(listener: (signal: 'SIGTERM' | 'SIGINT') => void): () => void
  /** Hears what nobody caught until the answer is called; without a listener such an error ends the process. */
  onUncaught(listener: (error: unknown) => void): () => void
  readonly processes: Processes
  exitNow(code: number): void
}

/** Which ends are terminals, and how wide stdout is. */
export interface Terminal {
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  readonly columns: number
}

/** Other processes of this machine. */
export interface Processes {
  /** False too when the id belongs by now to another process than the one of that mark; null: no mark was noted. */
  isAlive(pid: number, mark: string | null): boolean
  /** Tells a process from a later one of the same id; null where the system does not say. */
  markOf(pid: number): string | null
  signal(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void
  /** This program once more, on its own, both outputs appended to the file. */
  startDetached(argv: readonly string[], logPath: string): Detached
}

export interface Detached {
  readonly pid: number
  /** The exit code (128 + n after a signal) once it has ended; pending while it runs. */
  readonly ended: Promise<number>
  /** Lets this process end before that one. */
  leave(): void
}
