/** What a command gets of the world, so that only main.ts touches the process. Tests put their own in its place. */
import type { Environment } from '../load-config.js'

export interface CliIo {
  readonly env: Environment
  readonly home: string
  readonly pid: number
  out(text: string): void
  err(text: string): void
  /** Hears SIGTERM and SIGINT until the answer is called. */
  onSignal(listener: (signal: 'SIGTERM' | 'SIGINT') => void): () => void
  /** Hears what nobody caught until the answer is called; without a listener such an error ends the process. */
  onUncaught(listener: (error: unknown) => void): () => void
  isAlive(pid: number): boolean
  exitNow(code: number): void
}
