/** The version of this package, as its package.json has it. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const VERSION: string = findVersion(dirname(fileURLToPath(import.meta.url)))

// Sources, dist/ and build/ lie at different depths below package.json.
function findVersion(dir: string): string {
  try {
    const { name, version } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'))
    if (name === 'genro-mail-proxy') return version
  } catch {
    // No package.json here, or another's: one higher up.
  }
  const above = dirname(dir)
  return above === dir ? 'unknown' : findVersion(above)
}
