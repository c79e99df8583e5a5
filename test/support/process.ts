/** The service as a process of its own, for stories in which it is killed, frozen or shares a database with others. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { learnSecrets, noteStream } from './output.js'

export const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

export interface ServiceProcess {
  readonly url: string
  readonly pid: number
  /** All it wrote so far, stdout and stderr. */
  output(): string
  kill(signal: NodeJS.Signals): void
  /** Resolves with the exit code, null when a signal ended it. */
  readonly exited: Promise<number | null>
}

export interface ProcessOptions {
  /** Home and instance folder; the same one for a restart. */
  readonly dir: string
  readonly env?: Record<string, string>
  readonly args?: readonly string[]
  /** A program that runs it, with arguments before its own. It has to become the service by exec. */
  readonly within?: readonly string[]
  readonly startTimeoutMs?: number
  /** The service's main.js, in place of the one in dist. */
  readonly main?: string
}

/** Starts `mail-proxy serve` and resolves when it listens; rejects with its output when it ends before. */
export async function startProcess({
  args = [],
  startTimeoutMs = 30_000,
  onOutput = () => {},
  ...options
}: ProcessOptions & {
  /** All it wrote so far, at each piece until it listens. */
  readonly onOutput?: (text: string) => void
}): Promise<ServiceProcess> {
  const child = spawnMain({ ...options, args: ['serve', ...args] })
  let text = ''
  const exited = new Promise<number | null>(done => child.once('exit', code => done(code)))
  const url = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`not listening within ${startTimeoutMs} ms:\n${text}`))
    }, startTimeoutMs)
    const hear = (chunk: Buffer) => {
      text += chunk.toString()
      onOutput(text)
      const found = /listens on (http:\S+)/.exec(text)
      if (found === null) return
      clearTimeout(timer)
      resolve(found[1]!)
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    void exited.then(code => {
      clearTimeout(timer)
      reject(new Error(`ended with ${code} before it listened:\n${text}`))
    })
  })
  return { url, pid: child.pid!, output: () => text, kill: signal => void child.kill(signal), exited }
}

/** Runs `mail-proxy serve` that is expected to end by itself; answers exit code and all it wrote. */
export async function runToEnd(options: ProcessOptions): Promise<{ code: number | null; output: string }> {
  const { args = [], startTimeoutMs = 60_000 } = options
  const { code, out, err } = await runCommand({ ...options, args: ['serve', ...args] }, startTimeoutMs)
  return { code, output: out + err }
}

export interface CommandEnd {
  /** null: killed. */
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs any command of `mail-proxy` to its end, or kills it after `killAfterMs`. */
export async function runCommand(options: ProcessOptions, killAfterMs = 60_000): Promise<CommandEnd> {
  const child = spawnMain(options)
  const heard = { out: '', err: '' }
  child.stdout.on('data', chunk => (heard.out += String(chunk)))
  child.stderr.on('data', chunk => (heard.err += String(chunk)))
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  const code = await new Promise<number | null>(done => child.once('close', ended => done(ended)))
  clearTimeout(timer)
  return { code, ...heard }
}

export async function tempDir(): Promise<{ dir: string; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-process-'))
  return { dir, remove: () => rm(dir, { recursive: true, force: true }) }
}

/** What a process has for its environment: this and nothing of ours. It logs at the finest level. */
export function environmentOf({ dir, env }: Pick<ProcessOptions, 'dir' | 'env'>): Record<string, string> {
  const home = { PATH: process.env.PATH!, HOME: dir, GMP_INSTANCES_DIR: join(dir, 'instances') }
  return { ...home, GMP_HOST: '127.0.0.1', GMP_PORT: '0', LOG_LEVEL: 'debug', ...env }
}

/** What it writes is searched for secrets. */
function spawnMain({ dir, env, args = [], within = [], main = MAIN }: ProcessOptions) {
  const [program = process.execPath, ...before] = [...within, process.execPath]
  learnSecrets(env)
  const child = spawn(program, [...before, main, ...args], {
    env: environmentOf({ dir, env }),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  noteStream(child.stdout)
  noteStream(child.stderr)
  return child
}
