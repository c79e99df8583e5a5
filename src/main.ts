#!/usr/bin/env node
/** Entry of the process: hands argv and the environment to the command line and exits with its answer. */
import { homedir } from 'node:os'
import type { CliIo } from './cli/context.js'
import { runCli } from './cli/index.js'

const io: CliIo = {
  env: process.env,
  home: homedir(),
  pid: process.pid,
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
  isAlive(pid) {
    try {
      process.kill(pid, 0)
      return true
    } catch (error) {
      // Alive, but another user's.
      return (error as NodeJS.ErrnoException).code === 'EPERM'
    }
  },
  exitNow: code => process.exit(code),
}

process.exit(await runCli(process.argv.slice(2), io))
