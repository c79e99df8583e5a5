/**
 * An instance with its folder for tests of commands, run in this process: on a service that runs, or on the database of
 * one that is stopped. Nobody sits at its terminal.
 */
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { runCli } from '../../src/cli/index.js'
import { removeRunning, writeRunning } from '../../src/cli/instance.js'
import { cliEnds } from './cli-io.js'
import { type Answer, settingsOf } from './cli-world.js'
import { noteAnswer } from './output.js'
import { tempDir } from './process.js'
import { opened } from './scene.js'
import { startTestService, type TestService } from './service.js'

export interface CliInstance {
  readonly name: string
  readonly folder: string
  /** For commands in a process of their own. */
  readonly env: Record<string, string>
  /** The service; null while it is stopped. */
  readonly service: TestService | null
  /** Runs `mail-proxy <argv>`; `input` is what standard input holds. */
  run(argv: readonly string[], input?: string): Promise<Answer>
  /** The same, with the words of the command separated by spaces; `env` over the instance's. */
  line(text: string, env?: Record<string, string>): Promise<Answer>
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
  const settings = { ...settingsOf(join(home, 'instances')), ...env }
  const run = async (argv: readonly string[], input = '', own: Record<string, string> = {}): Promise<Answer> => {
    const { io, state } = cliEnds({ env: { ...settings, ...own }, home, stdin: Readable.from([input]) })
    const code = await runCli(argv, io)
    noteAnswer(argv, state)
    return { code, out: state.out, err: state.err }
  }
  return {
    name: 'shop',
    folder,
    env: { HOME: home, ...settings },
    get service() {
      return service
    },
    run,
    line: (text, own) => run(text.split(' '), '', own),
    stop,
  }
}
