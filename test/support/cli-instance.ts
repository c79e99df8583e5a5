/**
 * An instance with its folder for tests of commands, run in this process: on a service that runs, or on the database of
 * one that is stopped. Nobody sits at its terminal.
 */
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { runCli } from '../../src/cli/index.js'
import { removeRunning, writeRunning } from '../../src/cli/instance.js'
import { tempDir } from './process.js'
import { opened } from './scene.js'
import { ADMIN_TOKEN, startTestService, type TestService } from './service.js'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface CliInstance {
  readonly name: string
  readonly folder: string
  /** For commands in a process of their own. */
  readonly env: Record<string, string>
  /** The service; null while it is stopped. */
  readonly service: TestService | null
  /** Runs `mail-proxy <argv>`; `input` is what standard input holds. */
  run(argv: readonly string[], input?: string): Promise<Ran>
  /** The same, with the words of the command separated by spaces. */
  line(text: string): Promise<Ran>
  stop(): Promise<void>
}

/** A running instance `shop`; all of it is gone when the test ends. */
export async function openCliInstance(env: Record<string, string> = {}): Promise<CliInstance> {
  const { dir: home } = await opened(tempDir(), each => each.remove())
  const folder = join(home, 'instances', 'shop')
  let service: TestService | null = await startTestService({ dir: folder, env })
  const stop = async () => {
    await service?.stop()
    if (service !== null) removeRunning(folder, process.pid)
    service = null
  }
  await opened(Promise.resolve(), stop)
  writeRunning(folder, { pid: process.pid, url: service.url, mark: null })
  const settings = {
    LOG_LEVEL: 'error',
    GMP_INSTANCES_DIR: join(home, 'instances'),
    GMP_API_TOKEN: ADMIN_TOKEN,
    GMP_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
    GMP_MIN_FREE_MB: '1',
    ...env,
  }
  const run = async (argv: readonly string[], input = ''): Promise<Ran> => {
    let out = ''
    let err = ''
    const code = await runCli(argv, {
      env: settings,
      home,
      pid: process.pid,
      out: text => {
        out += text
      },
      err: text => {
        err += text
      },
      stdin: Readable.from([input]),
      stderr: new PassThrough(),
      terminal: { stdin: false, stdout: false, stderr: false, columns: 0 },
      onSignal: () => () => {},
      onUncaught: () => () => {},
      processes: {
        isAlive: pid => pid === process.pid,
        markOf: () => null,
        signal: () => {},
        startDetached: () => {
          throw new Error('no test starts a process here')
        },
      },
      exitNow: () => {},
    })
    return { code, out, err }
  }
  return {
    name: 'shop',
    folder,
    env: { HOME: home, ...settings },
    get service() {
      return service
    },
    run,
    line: text => run(text.split(' ')),
    stop,
  }
}
