/**
 * The command line on an instance `shop` of its own, once served in this process and once stopped: both ways go to the
 * same database, so the same command can be asked twice.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import type { Terminal } from '../../src/cli/context.js'
import { runCli } from '../../src/cli/index.js'
import { removeRunning, writeRunning } from '../../src/cli/instance.js'
import { cliEnds } from './cli-io.js'
import { noteAnswer } from './output.js'
import { TEST_KEY } from './secrets.js'
import { ADMIN_TOKEN, startTestService, type TestService } from './service.js'

export interface Answer {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface Asked {
  readonly stdin?: string | Buffer
  /** Keys to press once the terminal shows something, one after the other; what it shows comes back in `err`. */
  readonly typed?: readonly (readonly [shown: RegExp, keys: string])[]
  readonly terminal?: Partial<Terminal>
  readonly env?: Readonly<Record<string, string>>
  /** Hears how to send a signal to the command while it runs. */
  readonly onStart?: (signal: (name: 'SIGTERM' | 'SIGINT') => void) => void
}

export interface CliWorld {
  /** The instance folder. */
  readonly dir: string
  /** The service; throws while it is stopped. */
  readonly service: TestService
  start(env?: Readonly<Record<string, string>>): Promise<TestService>
  stop(): Promise<void>
  /** `mail-proxy shop <argv>`. */
  run(argv: readonly string[], asked?: Asked): Promise<Answer>
  /** The same with --json; the answer parsed. Fails when it is not one line of JSON. */
  json(argv: readonly string[]): Promise<any>
  close(): Promise<void>
}

/** What a command needs in its environment to reach an instance of a test, below `instancesDir`. */
export function settingsOf(instancesDir: string): Record<string, string> {
  return {
    GMP_INSTANCES_DIR: instancesDir,
    GMP_API_TOKEN: ADMIN_TOKEN,
    GMP_ENCRYPTION_KEY: TEST_KEY,
    GMP_MIN_FREE_MB: '1',
    LOG_LEVEL: 'error',
  }
}

export async function openCliWorld(dialectUrl?: string): Promise<CliWorld> {
  const base = await mkdtemp(join(tmpdir(), 'gmp-cli-world-'))
  const dir = join(base, 'shop')
  await mkdir(dir)
  const databaseUrl = dialectUrl ?? join(dir, 'mail_service.db')
  let service: TestService | null = null

  const world: CliWorld = {
    dir,
    get service() {
      if (service === null) throw new Error('the instance is stopped')
      return service
    },
    async start(env) {
      service = await startTestService({ dir, databaseUrl, env })
      writeRunning(dir, { pid: process.pid, url: service.url, mark: null })
      return service
    },
    async stop() {
      if (service === null) return
      removeRunning(dir, process.pid)
      await service.stop()
      service = null
    },
    async run(argv, asked = {}) {
      const ends = cliEnds({
        env: { ...settingsOf(base), GMP_DB_PATH: databaseUrl, ...asked.env },
        home: base,
        ...inputOf(asked, text => {
          ends.state.err += text
        }),
        processes: { ...cliEnds().io.processes, isAlive: pid => pid === process.pid && service !== null },
      })
      asked.onStart?.(ends.signal)
      const code = await runCli(['shop', ...argv], ends.io)
      noteAnswer(argv, ends.state)
      return { code, out: ends.state.out, err: ends.state.err }
    },
    async json(argv) {
      const { code, out, err } = await world.run([...argv, '--json'])
      if (!/^[^\n]+\n$/.test(out)) throw new Error(`${argv.join(' ')}: exit ${code}, ${err || JSON.stringify(out)}`)
      return JSON.parse(out)
    },
    async close() {
      await world.stop()
      await rm(base, { recursive: true, force: true })
    },
  }
  return world
}

function inputOf({ stdin, terminal, typed }: Asked, onShown: (text: string) => void) {
  const stderr = new PassThrough()
  if (typed === undefined) {
    const given = Readable.from(stdin === undefined ? [] : [Buffer.from(stdin)])
    return { stdin: given, stderr, terminal: { stdin: false, stdout: false, stderr: false, columns: 0, ...terminal } }
  }
  const keyboard = new PassThrough()
  const left = [...typed]
  let shown = ''
  stderr.on('data', chunk => {
    shown += String(chunk)
    onShown(String(chunk))
    const [next] = left
    if (next?.[0].test(shown) !== true) return
    left.shift()
    shown = ''
    // The question hears keys only once it stands.
    setImmediate(() => keyboard.write(next[1]))
  })
  return { stdin: keyboard, stderr, terminal: { stdin: true, stdout: false, stderr: true, columns: 0, ...terminal } }
}
