/** The service as a user runs it: `node dist/main.js serve` as a process of its own, spoken to over HTTP alone. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface ServiceProcess {
  readonly url: string
  readonly adminToken: string
  readonly logPath: string
  /** Aborts, with the reason, when the process ends unasked. */
  readonly lost: AbortSignal
  call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>>
  /** Values of /metrics, summed over their labels. */
  metrics(): Promise<(name: string) => number>
  /** Asks it to finish what is in flight and waits for its end. */
  stop(): Promise<void>
}

const START_MS = 20_000
const STOP_MS = 10_000
/** Of its log, told when it ends unasked. */
const LAST_LINES = 12

/** `main` is dist/main.js; everything the process writes goes into `dir`. */
export async function startServiceProcess(
  main: string,
  dir: string,
  userEnv: NodeJS.ProcessEnv,
  ownSettings: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<ServiceProcess> {
  const adminToken = randomBytes(24).toString('base64url')
  // A group of its own: Ctrl-C reaches the demo alone, which then stops the service in order.
  const child = spawn(process.execPath, [main, 'serve', '--host', '127.0.0.1', '--port', '0'], {
    cwd: dir,
    env: { ...withoutSettings(userEnv), ...settings(dir, adminToken), ...ownSettings },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    windowsHide: true,
  })
  const log = keepLog(child, join(dir, 'service.log'))
  const kill = () => void child.kill('SIGKILL')
  process.once('exit', kill)
  const lost = new AbortController()
  const ended = new Promise<void>(resolve => {
    child.once('error', error => resolve(lost.abort(error)))
    child.once('close', (code, by) => {
      lost.abort(new Error(`the service ended by itself (${by ?? `exit code ${code}`})${log.lastWords()}`))
      resolve()
    })
  })
  const stop = async () => {
    child.kill('SIGTERM')
    const timer = setTimeout(kill, STOP_MS)
    await ended
    clearTimeout(timer)
    process.off('exit', kill)
  }

  try {
    const whileItRuns = AbortSignal.any([signal, lost.signal])
    const url = await log.address(whileItRuns)
    const call = caller(url, adminToken, whileItRuns)
    await call('GET', '/ready')
    return { url, adminToken, logPath: log.path, lost: lost.signal, call, metrics: () => readMetrics(url), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function settings(dir: string, adminToken: string): NodeJS.ProcessEnv {
  return {
    GMP_DB_PATH: join(dir, 'mail_service.db'),
    GMP_API_TOKEN: adminToken,
    // Seconds instead of the default's minutes, so that the greylisted message can be waited for.
    GMP_RETRY_DELAYS: '3',
    GMP_MIN_FREE_MB: '16',
  }
}

/** What the user has set for a service of their own must not reach this one. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(GMP_|MAIL_PROXY_|API_TOKEN|LOG_)/.test(name)))
}

/** Keeps all the process says in a file, its last lines at hand, and finds the address it listens on. */
function keepLog(child: ChildProcess, path: string) {
  const file = createWriteStream(path)
  const recent: string[] = []
  let found: (url: string) => void
  const url = new Promise<string>(resolve => {
    found = resolve
  })
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on('line', line => {
      file.write(`${line}\n`)
      recent.push(line)
      if (recent.length > LAST_LINES) recent.shift()
      const address = / listens on (http:\S+)/.exec(line)?.[1]
      if (address !== undefined) found(address)
    })
  }
  child.once('close', () => file.end())
  const lastWords = () =>
    recent.length === 0 ? '' : `; its last words:\n${recent.map(each => `  ${each}`).join('\n')}`

  return {
    path,
    lastWords,
    address: (signal: AbortSignal) =>
      new Promise<string>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`the service did not start${lastWords()}`)), START_MS)
        const giveUp = () => {
          clearTimeout(timer)
          reject(signal.reason)
        }
        signal.addEventListener('abort', giveUp, { once: true })
        url.then(address => {
          clearTimeout(timer)
          resolve(address)
        })
      }),
  }
}

function caller(url: string, token: string, signal: AbortSignal): ServiceProcess['call'] {
  return async (method, path, body) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { 'X-API-Token': token, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    })
    const told = (await response.json()) as Record<string, unknown>
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${String(told.error)}`)
    return told
  }
}

async function readMetrics(url: string): Promise<(name: string) => number> {
  const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) })
  const sums = new Map<string, number>()
  for (const line of (await response.text()).split('\n')) {
    const [, name, value] = /^([a-z_]+)(?:\{.*\})? (\S+)$/.exec(line) ?? []
    if (name !== undefined) sums.set(name, (sums.get(name) ?? 0) + Number(value))
  }
  return name => sums.get(name) ?? 0
}
