/** The service and the SMTP sink as processes of their own, so that each pays for its own work. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../test/support/free-port.js'
import { programNamed } from './programs.js'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
const SINK = fileURLToPath(new URL('./sink.js', import.meta.url))
/** smtp-sink lets 256 in unless told otherwise; thousands of accounts hold a connection each. */
const MOST_CONNECTIONS = '16000'
export const TOKEN = 'bench-admin-token'

export interface Running {
  readonly url: string
  readonly pid: number
  stop(): Promise<void>
}

/** `database`: a path or a URL, which outlives the service; null: a SQLite file that goes with it. */
export async function startService(database: string | null, env: Record<string, string> = {}): Promise<Running> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-bench-'))
  const port = await freePort()
  if (database?.startsWith('/')) await mkdir(dirname(database), { recursive: true })
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: {
      PATH: process.env.PATH,
      HOME: dir,
      GMP_INSTANCES_DIR: dir,
      GMP_HOST: '127.0.0.1',
      GMP_PORT: String(port),
      GMP_API_TOKEN: TOKEN,
      GMP_REQUESTS_PER_MINUTE: '0',
      // A line a message is for people; the figures are taken at warning level and say so.
      LOG_LEVEL: 'warning',
      ...(database === null ? {} : { GMP_DB_PATH: database }),
      ...env,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const url = `http://127.0.0.1:${port}`
  await answers(child, url)
  return {
    url,
    pid: child.pid!,
    async stop() {
      await ended(child, 'SIGTERM')
      await rm(dir, { recursive: true, force: true })
    },
  }
}

async function answers(child: ChildProcess, url: string): Promise<void> {
  for (let i = 0; i < 400; i += 1) {
    if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}`)
    try {
      if ((await fetch(`${url}/health`)).ok) return
    } catch {
      // Not there yet.
    }
    await new Promise(done => setTimeout(done, 50))
  }
  throw new Error('the service did not start within 20 s')
}

export interface Sink {
  readonly port: number
  readonly name: string
  stop(): Promise<void>
}

/** Postfix's smtp-sink where it is installed, else ours. */
export async function startSink(): Promise<Sink> {
  const port = await freePort()
  const found = programNamed('smtp-sink')
  const child =
    found !== null
      ? spawn(found, ['-u', 'nobody', '-m', MOST_CONNECTIONS, `127.0.0.1:${port}`, '1000'], { stdio: 'ignore' })
      : spawn(process.execPath, [SINK, String(port)], { stdio: 'ignore' })
  await new Promise(done => setTimeout(done, 500))
  return { port, name: nameOfSink(), stop: () => ended(child, 'SIGTERM') }
}

export function nameOfSink(): string {
  return programNamed('smtp-sink') !== null ? 'smtp-sink (Postfix)' : 'own sink (Node)'
}

export async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise<void>(done => child.once('exit', () => done()))
  child.kill(signal)
  await exit
}

/** Resident memory in MiB, and CPU seconds used, from /proc. */
export function usage(pid: number): { rssMb: number; cpuSeconds: number } {
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return { rssMb: rss, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100 }
}
