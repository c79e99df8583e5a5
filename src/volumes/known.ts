/**
 * Which volumes there are, as submission asks it for every message that names one. Only a yes is remembered, for a
 * second: a volume just made works at once on every instance, one just deleted may be accepted that long elsewhere.
 */
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import { volumesExist, type WantedVolume } from './store.js'

export interface KnownVolumes {
  /** For each in order: may a message of this tenant and account use a volume of this name? One query a thousand. */
  exist(wanted: readonly WantedVolume[]): Promise<boolean[]>
  /** A volume was changed by this process. */
  forget(): void
}

const REMEMBER_MS = 1_000
/** Nobody names so many; who does must not hold up the others' queries. */
const MOST_A_QUERY = 1_000

export interface KnownVolumesDeps {
  readonly db: Db
  readonly clock: Clock
  /** What else remembers volumes has to forget them. */
  forgotten?(): void
}

export function createKnownVolumes({ db, clock, forgotten }: KnownVolumesDeps): KnownVolumes {
  let known = new Set<string>()
  let forgetAt = Number.NEGATIVE_INFINITY

  return {
    async exist(wanted) {
      const now = clock.monotonic()
      if (now >= forgetAt) {
        known = new Set()
        forgetAt = now + REMEMBER_MS
      }
      // What is forgotten while we read is not remembered: the answer goes into the set of when we asked.
      const remembered = known
      const unknown = new Map<string, WantedVolume>()
      for (const each of wanted) if (!remembered.has(keyOf(each))) unknown.set(keyOf(each), each)
      const asked = [...unknown]
      for (let start = 0; start < asked.length; start += MOST_A_QUERY) {
        const part = asked.slice(start, start + MOST_A_QUERY)
        const found = await volumesExist(
          db,
          part.map(([, each]) => each),
        )
        for (const [at, [key]] of part.entries()) if (found[at] === true) remembered.add(key)
      }
      return wanted.map(each => remembered.has(keyOf(each)))
    },
    forget() {
      known = new Set()
      forgotten?.()
    },
  }
}

// No id and no volume name holds a line feed.
function keyOf({ tenantId, accountId, name }: WantedVolume): string {
  return `${tenantId ?? ''}\n${accountId ?? ''}\n${name}`
}
