/**
 * The doubt journal: which claims may have sent their final dot. An entry is written before each dot and means
 * something only while its claim is unsettled. No fsync a message: it must survive the death of the process, not of
 * the machine; after that every unsettled claim counts as journalled (see epoch).
 *
 * SQLite: one unsynced append to a file beside the database. PostgreSQL: an insert without waiting for the disk,
 * many at once.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { uptime } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type Db, rowsParam } from '../db/db.js'

export interface DoubtJournal {
  /** Journals one claim. Returns at once (file) or resolves once the database has it. Throws when it cannot. */
  append(lease: number, seq: number): undefined | Promise<void>
  /** These claims are settled; a later claim of the same message starts without doubt. */
  settled(lease: number, seqs: Iterable<number>): void
  /** The claims of this lease that are journalled and not settled. */
  read(lease: number): Promise<ReadonlySet<number>>
  /** The lease is over and its claims are settled: forget its entries. */
  forget(lease: number): Promise<void>
  close(): void
}

/** Lines after which a new file is begun, so that files stay small. */
const ROTATE_AFTER = 200_000

interface OpenFile {
  readonly fd: number
  readonly name: string
  readonly lease: number
  readonly part: number
  lines: number
  sizeBytes: number
}

/** `path`: the database's; the files are `<path>-doubt.<lease>.<part>`, a line `seq` a dot, `-seq` a settle. */
export function createFileJournal(path: string): DoubtJournal {
  const dir = dirname(path)
  const prefix = `${basename(path)}-doubt.`
  const unsettled = new Set<number>()
  let file: OpenFile | null = null

  const filesOf = (lease: number) =>
    readdirSync(dir)
      .filter(name => name.startsWith(`${prefix}${lease}.`))
      .sort((a, b) => Number(a.split('.').at(-1)) - Number(b.split('.').at(-1)))

  const fileFor = (lease: number): OpenFile => {
    if (file !== null && file.lease === lease && file.lines < ROTATE_AFTER) return file
    const old = file
    const part = old?.lease === lease ? old.part + 1 : 0
    if (part === 0) unsettled.clear()
    const name = `${prefix}${lease}.${part}`
    const fd = openSync(join(dir, name), 'a', 0o600)
    const next: OpenFile = { fd, name, lease, part, lines: 0, sizeBytes: 0 }
    try {
      // What is still open moves along before the old file goes: a reply may take ten minutes.
      write(next, [...unsettled].map(String))
    } catch (error) {
      // The old file still holds it all, and goes on.
      closeSync(fd)
      rmSync(join(dir, name), { force: true })
      throw error
    }
    file = next
    if (old !== null) {
      closeSync(old.fd)
      if (old.lease === lease) rmSync(join(dir, old.name), { force: true })
    }
    return file
  }

  const close = () => {
    if (file !== null) closeSync(file.fd)
    file = null
  }

  return {
    append(lease, seq) {
      // Synchronous on purpose: 2 µs, and the dot may leave when it returns.
      write(fileFor(lease), [String(seq)])
      unsettled.add(seq)
    },
    settled(lease, seqs) {
      if (file?.lease !== lease) return
      const ended = [...seqs].filter(seq => unsettled.has(seq))
      try {
        write(
          file,
          ended.map(seq => `-${seq}`),
        )
      } catch {
        // The settle stands whatever becomes of this line. Without it a later crash may doubt too much, never too little.
        return
      }
      for (const seq of ended) unsettled.delete(seq)
    },
    async read(lease) {
      const seqs = new Set<number>()
      for (const name of filesOf(lease)) {
        for (const line of readFileSync(join(dir, name), 'utf8').split('\n')) {
          if (line.startsWith('-')) seqs.delete(Number(line.slice(1)))
          else if (line !== '') seqs.add(Number(line))
        }
      }
      return seqs
    },
    async forget(lease) {
      if (file?.lease === lease) close()
      for (const name of filesOf(lease)) rmSync(join(dir, name), { force: true })
    },
    close,
  }
}

/** Whole lines or none: on a full disk half a number would read as another message's. */
function write(file: OpenFile, lines: readonly string[]): void {
  const bytes = Buffer.from(lines.map(line => `${line}\n`).join(''))
  let written = 0
  try {
    while (written < bytes.length) written += writeSync(file.fd, bytes, written)
  } catch (error) {
    if (written > 0) ftruncateSync(file.fd, file.sizeBytes)
    throw error
  }
  file.sizeBytes += bytes.length
  file.lines += lines.length
}

/** The lease ended before the entry could be written: another may have the message, no final dot may be sent. */
export class LeaseEnded extends Error {
  override name = 'LeaseEnded'
}

interface Waiting {
  readonly lease: number
  readonly seq: number
  done(): void
  failed(error: unknown): void
}

/** `steadyNow`: as for leases; PostgreSQL uses its own clock. */
export function createTableJournal(db: Db, steadyNow: () => number): DoubtJournal {
  let waiting: Waiting[] = []
  let running = false

  // What is asked for while one insert is under way goes with the next: a round trip for many, not for each.
  const flush = async () => {
    running = true
    // The rest of this turn of the event loop joins the first insert.
    await null
    while (waiting.length > 0) {
      const entries = waiting
      waiting = []
      try {
        const written = await insert(entries)
        for (const entry of entries) {
          if (written.has(`${entry.lease} ${entry.seq}`)) entry.done()
          else entry.failed(new LeaseEnded('the lease ended before the attempt was journalled'))
        }
      } catch (error) {
        for (const entry of entries) entry.failed(error)
      }
    }
    running = false
  }

  const insert = async (entries: readonly Waiting[]): Promise<ReadonlySet<string>> => {
    const [rows] = await db.writeRelaxed([
      {
        // The share lock makes whoever declares the lease dead wait for us, or us see that it is: an entry is never
        // written after the rescuer has read the journal.
        sql: `with alive as (select id from leases where until > @now($2)
            and id in (select g.l from @rows($1: l bigint) g) for share)
          insert into doubts (seq, lease)
          select distinct g.k, g.l from @rows($1: k bigint, l bigint) g join alive a on a.id = g.l
          on conflict (seq, lease) do update set lease = excluded.lease
          returning seq, lease`,
        params: [rowsParam(entries.map(({ lease, seq }) => ({ k: seq, l: lease }))), steadyNow()],
      },
    ])
    return new Set((rows ?? []).map(row => `${row.lease} ${row.seq}`))
  }

  return {
    append(lease, seq) {
      return new Promise((done, failed) => {
        waiting.push({ lease, seq, done, failed })
        if (!running) void flush()
      })
    },
    // The settle itself deletes the entry, in its own transaction.
    settled() {},
    async read(lease) {
      const rows = await db.read({ sql: 'select seq from doubts where lease = $1', params: [lease] })
      return new Set(rows.map(row => Number(row.seq)))
    },
    async forget(lease) {
      await db.write([{ sql: 'delete from doubts where lease = $1', params: [lease] }])
    },
    close() {},
  }
}

/**
 * What stays the same from the moment a journal entry is written to the moment it can be trusted: the boot of this
 * machine for a file; for a table a mark that a crash of PostgreSQL wipes out together with its last unsynced commits,
 * also one after which the server recovered by itself.
 */
export async function currentEpoch(db: Db): Promise<string> {
  if (db.dialect === 'postgres') {
    const [, rows] = await db.write([
      {
        sql: 'insert into journal_epoch (one, epoch) values (1, $1) on conflict (one) do nothing',
        params: [randomUUID()],
      },
      { sql: 'select epoch from journal_epoch', params: [] },
    ])
    return `postgres ${rows?.[0]?.epoch}`
  }
  try {
    return `boot ${(await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()}`
  } catch {
    // No boot id on this system: the time of boot, rough enough that a moment's drift does not change it.
    return `boot ${Math.round((Date.now() / 1000 - uptime()) / 600)}`
  }
}
