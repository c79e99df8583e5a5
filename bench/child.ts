/** The service and the SMTP sink as processes of their own, so that each pays for its own work. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
const SINK = fileURLToPath(new URL('./sink.js', import.meta.url))
export const TOKEN = 'bench-admin-token'

export interface Running {
  readonly url: string
  readonly pid: number
  stop(): Promise<void>
}

export async function startService(databaseUrl: string | null, env: Record<string, string> = {}): Promise<Running> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-bench-'))
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: {
      PATH: process.env.PATH,
      HOME: dir,
      GMP_INSTANCES_DIR: dir,
      GMP_HOST: '127.0.0.1',
      GMP_PORT: '0',
      GMP_API_TOKEN: TOKEN,
      GMP_REQUESTS_PER_MINUTE: '0',
      // A line a message is for people; the figures are taken at warning level and say so.
      LOG_LEVEL: env.LOG_LEVEL ?? 'warning',
      ...(databaseUrl === null ? {} : { GMP_DB_PATH: databaseUrl }),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  child.stdout?.resume()
  const url = await firstUrl(child, dir)
  return {
    url,
    pid: child.pid!,
    async stop() {
      await ended(child, 'SIGTERM')
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** At warning level nothing tells the port: the folder's pid file does. */
async function firstUrl(child: ChildProcess, dir: string): Promise<string> {
  for (let i = 0; i < 400; i += 1) {
    if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}`)
    try {
      const url = readFileSync(join(dir, 'default', 'pid'), 'utf8').split('\n')[1] ?? ''
      if ((await fetch(`${url}/health`)).ok) return url
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
  const found = ['/usr/sbin/smtp-sink', '/usr/bin/smtp-sink'].find(path => spawnSync(path, ['-h']).error === undefined)
  const child =
    found !== undefined
      ? spawn(found, ['-u', 'nobody', `127.0.0.1:${port}`, '1000'], { stdio: 'ignore' })
      : spawn(process.execPath, [SINK, String(port)], { stdio: 'ignore' })
  await new Promise(done => setTimeout(done, 500))
  return {
    port,
    name: found !== undefined ? 'smtp-sink (Postfix)' : 'own sink (Node)',
    stop: () => ended(child, 'SIGTERM'),
  }
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise<void>(done => child.once('exit', () => done()))
  child.kill(signal)
  await exit
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>(done => probe.listen(0, '127.0.0.1', done))
  const { port } = probe.address() as { port: number }
  await new Promise(done => probe.close(done))
  return port
}

/** Resident memory in MiB, and CPU seconds used, from /proc. */
export function usage(pid: number): { rssMb: number; cpuSeconds: number } {
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return { rssMb: rss, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100 }
}
