/**
 * Directories that settings name, looked at when the process starts: a wrong one is one line then, and not a failure of
 * each mail later.
 */
import { accessSync, constants, mkdirSync, statSync } from 'node:fs'
import { ConfigError } from './errors.js'

/** Makes it, with mode 0700, where it is missing. Throws ConfigError that names the setting when nothing can be kept there. */
export function makeDirectory(dir: string, setting: string): void {
  refuseOther(dir, setting)
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const todo = 'let this user write there, or name another directory'
    throw new ConfigError(`${setting}: ${dir} cannot be made or written (${code}): ${todo}`, { cause: error })
  }
}

/** Throws ConfigError that names the setting when something is there that is no directory. One that is missing may come. */
export function refuseOther(dir: string, setting: string): void {
  let isOther: boolean
  try {
    isOther = !statSync(dir).isDirectory()
  } catch (error) {
    // ENOTDIR: something above it is a file.
    isOther = (error as NodeJS.ErrnoException).code === 'ENOTDIR'
  }
  if (isOther) throw new ConfigError(`${setting}: ${dir} is no directory`)
}
