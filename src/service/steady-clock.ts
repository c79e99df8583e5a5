/**
 * The time of leases and limits on SQLite, which has no clock of its own: it goes on evenly whatever is done to the wall
 * clock, also over a restart of the process. Within one boot of the machine it is the uptime and a base kept in the
 * database; after a reboot only the wall clock is left to ask, and it is never put back before what was counted.
 */
import { readFileSync } from 'node:fs'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import { bucketWidth, SPANS } from '../limits/windows.js'

export interface Boot {
  /** Which start of the machine this is; null: cannot be told. */
  readonly id: string | null
  /** Since then, ms, without the time in which the machine was suspended: as the clock of a running process has it. */
  readonly uptimeMs: number
}

export function systemBoot(): Boot {
  // Not os.uptime, which goes on while the machine is suspended: what was counted after it by a process that lived through
  // it would be older by that for the next process, and the windows would open early.
  const uptimeMs = Number(process.hrtime.bigint()) / 1e6
  try {
    return { id: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(), uptimeMs }
  } catch {
    return { id: null, uptimeMs }
  }
}

/** Answers epoch ms, near the wall clock's where that was right when the machine started. */
export async function openSteadyClock(db: Db, clock: Clock, boot: Boot): Promise<() => number> {
  const at = clock.monotonic()
  const start = db.dialect === 'sqlite' ? await startOf(db, clock.now(), boot) : clock.now()
  return () => Math.floor(start + clock.monotonic() - at)
}

async function startOf(db: Db, wall: number, { id, uptimeMs }: Boot): Promise<number> {
  const [known] = await db.read({ sql: "select value from meta where key = 'steady_base'", params: [] })
  const { boot, base } = JSON.parse((known?.value as string | undefined) ?? '{}') as { boot?: string; base?: number }
  if (id !== null && boot === id && base !== undefined) return base + uptimeMs
  const start = Math.max(wall, await lastCounted(db))
  if (id !== null) {
    await db.write([
      {
        sql: `insert into meta (key, value) values ('steady_base', $1)
          on conflict (key) do update set value = excluded.value`,
        params: [JSON.stringify({ boot: id, base: start - uptimeMs })],
      },
    ])
  }
  return start
}

/** The beginning of the latest bucket in use. */
async function lastCounted(db: Db): Promise<number> {
  const rows = await db.read({ sql: 'select span, max(bucket) as bucket from limit_buckets group by span', params: [] })
  const starts = SPANS.flatMap(span =>
    rows.filter(row => Number(row.span) === span).map(row => Number(row.bucket) * bucketWidth(span)),
  )
  return Math.max(0, ...starts)
}
