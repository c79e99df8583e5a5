/**
 * The folder of an instance: `~/.mail-proxy/<name>/` with its database, `config.ini`, `key`, `token`, `pid` and `log`.
 * The folder has mode 0700 and what is written here 0600.
 */
import { existsSync, readdirSync, rmSync, unlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createPrivate, readIfThere, writePrivate } from '../lib/private-file.js'
import type { Environment } from '../load-config.js'
import { CliError, UsageError } from './errors.js'

/** The instance that `serve` runs. */
export const DEFAULT_INSTANCE = 'default'

/** First words of the command line; no instance can have such a name. */
export const COMMAND_NAMES = [
  'serve',
  'start',
  'stop',
  'restart',
  'status',
  'list',
  'delete',
  'completion',
  'complete',
  'help',
] as const

/** Where the instance's files are. Throws UsageError on a name that cannot be one. */
export function instanceFolder(name: string, env: Environment, home: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(name)) {
    throw new UsageError(`${JSON.stringify(name.slice(0, 80))} cannot be an instance: 1 to 64 of A-Z a-z 0-9 _ . -`)
  }
  if ((COMMAND_NAMES as readonly string[]).includes(name)) {
    throw new UsageError(`"${name}" is a command and cannot be an instance`)
  }
  return join(instancesFolder(env, home), name)
}

/** Where the folders of all instances are. */
export function instancesFolder(env: Environment, home: string): string {
  const base = env.GMP_INSTANCES_DIR?.trim() ?? ''
  return base === '' ? join(home, '.mail-proxy') : resolve(base)
}

export function folderExists(dir: string): boolean {
  return existsSync(dir)
}

/** Nothing of an instance is in the folder yet; the log of a first start may be, or the lock of a refused restore. */
export function isNewInstance(dir: string): boolean {
  return (
    !folderExists(dir) || readdirSync(dir).every(name => name === 'log' || name === 'pid' || name.includes('-lock'))
  )
}

/** A file of the folder; null: there is none. Throws CliError that says which one cannot be read, and why. */
function readOwn(dir: string, name: string): string | null {
  const path = join(dir, name)
  try {
    return readIfThere(path)
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException
    throw new CliError(`${path} cannot be read: ${UNREADABLE[code] ?? code}`, { cause: error })
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  EACCES: 'this user may not (EACCES)',
  EISDIR: 'it is a directory',
  ENOTDIR: 'what should be the folder of the instance is a file',
}

/** Text of config.ini, or undefined when the instance has none. */
export function readConfigIni(dir: string): string | undefined {
  return readOwn(dir, 'config.ini') ?? undefined
}

export function tokenPath(dir: string): string {
  return join(dir, 'token')
}

/** The admin token in the folder; null when none is kept here. */
export function readToken(dir: string): string | null {
  return readOwn(dir, 'token')?.trim() || null
}

export function writeToken(dir: string, token: string): void {
  writePrivate(tokenPath(dir), `${token}\n`)
}

/** Keeps the token unless the folder has one; false when it has. */
export function keepFirstToken(dir: string, token: string): boolean {
  return createPrivate(tokenPath(dir), `${token}\n`)
}

export function removeToken(dir: string): void {
  unlinkSync(tokenPath(dir))
}

/** What a serving process tells about itself. */
export interface Running {
  readonly pid: number
  /** Where it listens; empty while it is starting. */
  readonly url: string
  /** Tells it from a later process of the same id; null where the system does not say. */
  readonly mark: string | null
}

/** First line the process id, so that the file is also what other tools expect of a pid file. */
export function writeRunning(dir: string, { pid, url, mark }: Running): void {
  writePrivate(join(dir, 'pid'), runningText({ pid, url, mark }))
}

/** Writes the file unless one is there; false when another process was first. */
export function createRunning(dir: string, running: Running): boolean {
  return createPrivate(join(dir, 'pid'), runningText(running))
}

/** What a killed process left behind. */
export function removeStaleRunning(dir: string): void {
  rmSync(join(dir, 'pid'), { force: true })
}

function runningText({ pid, url, mark }: Running): string {
  return `${pid}\n${url}\n${mark ?? ''}\n`
}

export function readRunning(dir: string): Running | null {
  const [pid = '', url = '', mark = ''] = readOwn(dir, 'pid')?.split('\n') ?? []
  return /^[1-9]\d{0,9}$/.test(pid) ? { pid: Number(pid), url, mark: mark || null } : null
}

/** Removes the pid file if it is still this process's: a successor may have written its own. */
export function removeRunning(dir: string, pid: number): void {
  try {
    if (readRunning(dir)?.pid === pid) unlinkSync(join(dir, 'pid'))
  } catch {
    // In a folder that went read-only it stays, as after a kill, and counts for nothing.
  }
}
