/** Which sealing keys a copy of a database needs. */
import type { SqliteConnection } from '../db/sqlite-driver.js'
import { keyCheckValue } from '../lib/seal.js'
import type { Rotation } from '../sealing/rotation.js'

/** Check values: two while the key was being changed, none before one was used. */
export function neededKeys(copy: SqliteConnection): readonly string[] {
  const known = copy.prepare('select value from meta where key = ?1')
  const meta = (key: string) => (known.all(key)[0]?.value as string | undefined) ?? null
  const rotation = meta('key_rotation')
  const { from, finishedAt } = (rotation === null ? {} : JSON.parse(rotation)) as Partial<Rotation>
  return [meta('key_check'), from !== undefined && finishedAt === null ? from : null].filter(each => each !== null)
}

/** `keys`: null: there are none. */
export function holdsAll(keys: readonly Buffer[] | null, checks: readonly string[]): boolean {
  const there = keys?.map(keyCheckValue) ?? []
  return checks.every(check => there.includes(check))
}
