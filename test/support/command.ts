/**
 * `mail-proxy <command>` in this process, beside the processes of this machine: for what a command answers and does. One in
 * a process of its own (process.ts) costs 0.6 s of a processor until it has read its program, and 2 s where the instance is
 * stopped. What it starts in the background is a process as always.
 */
import { runCli } from '../../src/cli/index.js'
import { createProcesses } from '../../src/cli/processes.js'
import { cliEnds } from './cli-io.js'
import { learnSecrets, noteAnswer } from './output.js'
import { type CommandEnd, environmentOf, MAIN, type ProcessOptions } from './process.js'

export async function runCommandHere({
  dir,
  env,
  args = [],
}: Pick<ProcessOptions, 'dir' | 'env' | 'args'>): Promise<CommandEnd> {
  learnSecrets(env)
  const environment = environmentOf({ dir, env })
  // What is started detached would have our environment.
  const pairs = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  const processes = createProcesses(['/usr/bin/env', '-i', ...pairs, process.execPath, MAIN])
  const { io, state } = cliEnds({ env: environment, home: dir, processes })
  const code = await runCli(args, io)
  noteAnswer(args, state)
  return { code, out: state.out, err: state.err }
}
