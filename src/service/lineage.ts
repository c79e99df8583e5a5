/**
 * Notices a database that was put back to an earlier state: a restored backup, or a standby that had not received the
 * last moments. What waits in it may have gone out since, so nothing is sent until an operator has looked and released
 * it (`--release`). The folder of an instance remembers how far it has seen its database grow; a database that has
 * grown less is older. A copy made by other tools that comes with a copy of the folder, or without any folder, cannot be
 * told from the original; our own backups and transfers bring their mark along (queue/release-mark.ts).
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Db } from '../db/db.js'
import type { Log } from '../lib/log.js'
import type { Step } from '../lib/loop.js'
import { readIfThere, writePrivate } from '../lib/private-file.js'
import { endRelease, needRelease, releaseNeeded } from '../queue/release-mark.js'

export interface Lineage {
  /** Called at the start, before anything is sent. `release`: the operator says that this database may send. */
  begin(release: boolean): Promise<void>
  /** Lets both grow, so that a backup made between two starts is noticed too. */
  step(): Promise<Step>
}

/** A backup younger than this may go unnoticed, ms. */
export const GROW_EVERY_MS = 600_000

const REASON =
  'the database is older than this instance has known it (restored from a backup?), and what waits in it may have been sent since'

/** `dir`: the instance folder; null: there is none, and nothing is noticed. */
export function createLineage(db: Db, dir: string | null, log: Log): Lineage {
  const path = dir === null ? null : join(dir, 'lineage')

  const remembered = (): { id: string; growth: number } | null => {
    const [id = '', growth = ''] = (path === null ? null : readIfThere(path))?.split('\n') ?? []
    return /^\d{1,15}$/.test(growth) ? { id, growth: Number(growth) } : null
  }

  const remember = (id: string, growth: number) => {
    if (path === null) return
    try {
      writePrivate(path, `${id}\n${growth}\n`)
    } catch (error) {
      log.warning(`${path} could not be written: ${(error as Error).message}`)
    }
  }

  /** The database first: the folder must never be ahead of it by itself. */
  const grow = async (): Promise<{ id: string; growth: number }> => {
    const [, , rows] = await db.write([
      {
        sql: "insert into meta (key, value) values ('database_id', $1) on conflict (key) do nothing",
        params: [randomUUID()],
      },
      {
        sql: `insert into meta (key, value) values ('growth', '1')
          on conflict (key) do update set value = cast(cast(meta.value as bigint) + 1 as text)`,
        params: [],
      },
      { sql: "select key, value from meta where key in ('database_id', 'growth')", params: [] },
    ])
    const meta = new Map(rows?.map(row => [row.key, row.value as string]))
    return { id: meta.get('database_id') ?? '', growth: Number(meta.get('growth')) }
  }

  return {
    async begin(release) {
      const before = remembered()
      const { id, growth } = await grow()
      if (release) await endRelease(db)
      // Of another database the folder remembers nothing: it was pointed to a new one.
      else if (before !== null && before.id === id && growth <= before.growth && (await releaseNeeded(db)) === null) {
        // A reason that stands already is kept: whoever restored or transferred it knows more.
        await needRelease(db, REASON)
      }
      const reason = await releaseNeeded(db)
      if (reason !== null) {
        log.error(
          `Nothing is sent and nothing is reported: ${reason}. Look at what waits, then start once with --release`,
        )
        // The memory stays until then, or the next start would find nothing odd.
        return
      }
      remember(id, growth)
    },
    async step() {
      if ((await releaseNeeded(db)) === null) {
        const { id, growth } = await grow()
        remember(id, growth)
      }
      return { nextAt: null, again: false }
    },
  }
}
