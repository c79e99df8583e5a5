/** Where a symbolic link leads, for files that have others beside them: SQLite puts its own beside the real one. */
import { readlinkSync, realpathSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/** The path itself where it is no link. A link to a file that is not there yet is followed, too. */
export function followLinks(path: string): string {
  let target: string
  try {
    target = readlinkSync(path)
  } catch {
    return path
  }
  try {
    return realpathSync(path)
  } catch (error) {
    // Links in a circle lead nowhere; whoever opens the path is told so.
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? followLinks(resolve(dirname(path), target)) : path
  }
}
