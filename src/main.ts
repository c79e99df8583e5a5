#!/usr/bin/env node
/** Entry of the process: hands argv and the environment to the command line and exits with its answer. */
import { homedir, userInfo } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import type { CliIo } from './cli/context.js'
import { runCli } from './cli/index.js'
import { createProcesses } from './cli/processes.js'

// Left alone V8 lets garbage of finished messages grow the heap to four times what lives in it: 295 MB under full load,
// with this 240 MB. Less costs more: decision 0013. Not a cap: large messages may still take what they need.
setFlagsFromString('--heap-growing-percent=100')
// Where contents wait for their claim for long V8 begins to make all contents among its old objects, also those that are soon
// done: each then holds its body until a full collection, 2 of 3 KB that a POST left there (decision 0053).
setFlagsFromString('--no-allocation-site-pretenuring')

// The reader of a pipe may leave early, as `head` does: that ends the answer and is no fault.
process.stdout.on('error', error => {
  if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(0)
})

// Every user of the machine may read the list of processes.
const shown = process.argv.slice(2).map(word => word.replace(/(:\/\/[^:@/\s]*):[^@\s]*@/, '$1:***@'))
if (shown.some((word, i) => word !== process.argv[i + 2])) process.title = `mail-proxy ${shown.join(' ')}`

const io: CliIo = {
  env: process.env,
  // HOME may be set and empty, which would mean the directory at hand.
  home: homedir() || userInfo().homedir,
  pid: process.pid,
  stdin: process.stdin,
  stderr: process.stderr,
  terminal: {
    stdin: process.stdin.isTTY === true,
    stdout: process.stdout.isTTY === true,
    stderr: process.stderr.isTTY === true,
    columns: process.stdout.columns ?? 0,
  },
  out: text => {
    process.stdout.write(text)
  },
  err: text => {
    process.stderr.write(text)
  },
  onSignal(listener) {
    process.on('SIGTERM', listener)
    process.on('SIGINT', listener)
    return () => {
      process.off('SIGTERM', listener)
      process.off('SIGINT', listener)
    }
  },
  onUncaught(listener) {
    process.on('uncaughtException', listener)
    process.on('unhandledRejection', listener)
    return () => {
      process.off('uncaughtException', listener)
      process.off('unhandledRejection', listener)
    }
  },
  processes: createProcesses([process.execPath, ...process.execArgv, process.argv[1]!]),
  exitNow: code => process.exit(code),
}

const code = await runCli(process.argv.slice(2), io)
// A long answer into a pipe is written piece by piece; to exit before would cut it.
await new Promise(resolve => process.stdout.write('', resolve))
process.exit(code)
