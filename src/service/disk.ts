/** Free space of the database's disk, measured now and then; below the reserve nothing new is accepted or claimed. */
import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Config } from '../config.js'

export interface Disk {
  /** As last measured; null for a remote database. */
  freeMb(): number | null
  freeBytes(): number | null
  isLow(): boolean
  measure(): Promise<void>
}

export function createDisk({ database, queue }: Config): Disk {
  let free: number | null = null
  return {
    freeMb: () => free,
    freeBytes: () => (free === null ? null : Math.round(free * 1024 * 1024)),
    isLow: () => free !== null && free < queue.minFreeMb,
    async measure() {
      if (database.dialect !== 'sqlite') return
      try {
        const { bavail, bsize } = await statfs(dirname(database.url))
        free = (bavail * bsize) / 1024 / 1024
      } catch {
        // Not measurable here: SQLite's own refusal is the next wall.
        free = null
      }
    },
  }
}
