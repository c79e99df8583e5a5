/** Prometheus's own tools, where they are installed: promtool run to its end, and a server that scrapes for a test. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deadPort } from './story.js'
import { until } from './world.js'

export const hasPrometheus = ['promtool', 'prometheus'].every(
  name => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
)

/** Says aloud what is not being looked at. */
export const WITHOUT =
  'promtool and prometheus are not there: rules, alerts and queries are not tried. Debian: apt-get download prometheus, ' +
  'dpkg-deb -x, and put its usr/bin into PATH (installing it would start a server)'

/** Answers what it printed. Throws with it when it is not content. */
export function promtool(...args: string[]): string {
  try {
    return execFileSync('promtool', args, { encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`promtool ${args.join(' ')}\n${stdout}${stderr}`)
  }
}

export interface Series {
  readonly metric: Readonly<Record<string, string>>
  /** Finite ones only. */
  readonly values: readonly number[]
}

export interface Prometheus {
  /** A query over the last `seconds`, a step a second. */
  range(expr: string, seconds: number): Promise<Series[]>
  get(path: string): Promise<any>
  stop(): Promise<void>
}

/** On a free port of 127.0.0.1, with its data in a temporary folder. `config` is the text of prometheus.yml. */
export async function startPrometheus(config: string): Promise<Prometheus> {
  const dir = await mkdtemp(join(tmpdir(), 'gmp-prometheus-'))
  await writeFile(join(dir, 'prometheus.yml'), config)
  const port = await deadPort()
  const child = spawn(
    'prometheus',
    [
      `--config.file=${dir}/prometheus.yml`,
      `--storage.tsdb.path=${dir}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (output += String(chunk)))
  const exited = new Promise<void>(done => child.once('close', () => done()))
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`)
    const body = (await response.json()) as { status: string; error?: string; data: any }
    if (body.status !== 'success') throw new Error(`${path}: ${body.error}`)
    return body.data
  }
  const stop = async () => {
    child.kill('SIGTERM')
    await exited
    await rm(dir, { recursive: true, force: true })
  }
  try {
    await until('Prometheus', async () => (await fetch(`http://127.0.0.1:${port}/-/ready`)).ok)
  } catch (error) {
    await stop()
    throw new Error(`Prometheus does not start:\n${output}`, { cause: error })
  }
  return {
    get,
    async range(expr, seconds) {
      const end = Date.now() / 1000
      const query = new URLSearchParams({ query: expr, start: String(end - seconds), end: String(end), step: '1' })
      const { result } = await get(`/api/v1/query_range?${query}`)
      return result.map((each: { metric: Record<string, string>; values: [number, string][] }) => ({
        metric: each.metric,
        values: each.values.map(([, value]) => Number(value)).filter(Number.isFinite),
      }))
    },
    stop,
  }
}
