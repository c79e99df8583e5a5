/** Programs of Debian's postfix package, which a bench uses where they are. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const DIRS = ['/usr/sbin', '/usr/bin', '/usr/local/sbin', '/usr/local/bin']

/** Its path; null: not installed. */
export function programNamed(name: 'smtp-sink' | 'smtp-source' | 'postfix' | 'postconf'): string | null {
  return DIRS.map(dir => join(dir, name)).find(existsSync) ?? null
}
