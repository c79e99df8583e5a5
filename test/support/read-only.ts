/** Files and directories that nobody may write, root not either: what a disk does after an error, and wrong rights to others. */
import { execFileSync } from 'node:child_process'

export interface ReadOnly {
  /** A file's content or a directory's entries cannot be changed any more, by whoever has it open neither. */
  lock(...paths: readonly string[]): void
  unlock(): void
}

/** null where the file system or the user cannot do that: it takes ext4 or the like, and root. */
export function openReadOnly(probe: string): ReadOnly | null {
  const locked = new Set<string>()
  const set = (flag: string, path: string) => execFileSync('chattr', [flag, path], { stdio: 'pipe' })
  const unlock = () => {
    for (const path of locked) set('-i', path)
    locked.clear()
  }
  const lock = (...paths: readonly string[]) => {
    for (const path of paths) {
      set('+i', path)
      locked.add(path)
    }
  }
  try {
    lock(probe)
  } catch (error) {
    console.log(`nothing can be made read-only, skipped: ${(error as Error).message}`)
    return null
  }
  unlock()
  return { lock, unlock }
}
