/**
 * The doubt journal: which claims may have sent their final dot. An entry is written before each dot and means
 * something only while its claim is unsettled. No fsync a message: it must survive the death of the process, not of
 * the machine; after that every unsettled claim counts as journalled (see epoch).
 *
 * SQLite: one unsynced append to a file beside the database. PostgreSQL: a row for all that come at once, written
 * without waiting for the disk.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { uptime } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type Db, keysParam, rowsParam, type Statement } from '../db/db.js'
import { beforeTurnEnds } from '../lib/turn-end.js'
import type { Claimed } from './claim.js'

/** One claim of a message under a lease. */
export type OneClaim = Pick<Claimed, 'seq' | 'claim'>

export interface DoubtJournal {
  /** This claim will come to its dot in a moment: its entry may be written by then, so that the dot need not wait for it. */
  expect(lease: number, claimed: OneClaim): void
  /** Journals one claim. Returns at once (file, or it was expected) or resolves once the database has it. Throws when it cannot. */
  append(lease: number, claimed: OneClaim): undefined | Promise<void>
  /**
   * After an append that failed throws its error until one could be made again: whatever is claimed or sent meanwhile would
   * come to its final dot in vain.
   */
  check(lease: number): void
  /** These claims are over; a later claim of the same message starts without doubt. */
  settled(lease: number, claims: Iterable<OneClaim>): void
  /** The messages (seq) whose unsettled claim under this lease is journalled. */
  read(lease: number): Promise<ReadonlySet<number>>
  /** The lease is over and its claims are settled: forget its entries. */
  forget(lease: number): Promise<void>
  close(): void
}

/** Lines after which a new file is begun, so that files stay small. */
const ROTATE_AFTER = 200_000
/** The settle of a message that never was. */
const NOTHING = '-0'

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
  /** By message, its claim. */
  const unsettled = new Map<number, number>()
  let file: OpenFile | null = null
  let isBroken = false

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
      write(next, [...unsettled.keys()].map(seq => `${seq}\n`).join(''), unsettled.size)
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

  const beginNewFile = () => {
    if (file !== null) file.lines = ROTATE_AFTER
  }

  const add = (lease: number, line: string) => {
    try {
      write(fileFor(lease), `${line}\n`, 1)
      isBroken = false
    } catch (cause) {
      isBroken = true
      // It may be written where this one has the largest size that is allowed.
      beginNewFile()
      throw new Error(`the doubt journal cannot be written: ${(cause as Error).message}`, { cause })
    }
  }

  return {
    // An entry takes no time.
    expect() {},
    append(lease, { seq, claim }) {
      // Synchronous on purpose: 2 µs, and the dot may leave when it returns.
      add(lease, String(seq))
      unsettled.set(seq, claim)
    },
    check(lease) {
      if (isBroken) add(lease, NOTHING)
    },
    settled(lease, claims) {
      if (file?.lease !== lease) return
      let lines = ''
      let count = 0
      for (const { seq, claim } of claims) {
        if (unsettled.get(seq) !== claim) continue
        unsettled.delete(seq)
        lines += `-${seq}\n`
        count += 1
      }
      try {
        write(file, lines, count)
      } catch {
        // The settle stands whatever becomes of this line. Until the next entry begins a new file, which leaves its claim out, a
        // crash may doubt too much, never too little.
        beginNewFile()
      }
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

/**
 * Whole lines or none: on a full disk half a number would read as another message's. Digits, of which a character is an
 * octet, go as the string they are: a Buffer of them takes half as long again as the write.
 */
function write(file: OpenFile, lines: string, count: number): void {
  let written = 0
  try {
    while (written < lines.length) written += writeSync(file.fd, lines.slice(written))
  } catch (error) {
    if (written > 0) ftruncateSync(file.fd, file.sizeBytes)
    throw error
  }
  file.sizeBytes += lines.length
  file.lines += count
}

/** The lease ended before the entry could be written: another may have the message, no final dot may be sent. */
export class LeaseEnded extends Error {
  override name = 'LeaseEnded'
}

interface Waiting {
  readonly lease: number
  readonly claimed: OneClaim
  /** Its claim was settled meanwhile. */
  isOver: boolean
  done(): void
  failed(error: unknown): void
}

/** A row of the table: claims journalled in one go. */
interface Batch {
  readonly lease: number
  readonly number: number
  /** Its claims that are not known to be over. */
  left: number
}

/** Rows whose claims are all over that go together. */
const REMOVED_AT_ONCE = 32

/**
 * An entry names its claim, so it stands for nothing once that is settled, and the settle need not touch it: what is over
 * is removed by the row. `steadyNow`: as for leases; PostgreSQL uses its own clock.
 */
export function createTableJournal(db: Db, steadyNow: () => number): DoubtJournal {
  let waiting: Waiting[] = []
  /** By message, its last entry that is not written yet, and what waits for that. */
  const asked = new Map<number, { readonly entry: Waiting; readonly written: Promise<void> }>()
  let running = false
  let batches = 0
  /** By message, the row its last entry stands in. */
  const unsettled = new Map<number, { readonly claim: number; readonly batch: Batch }>()
  let ended: Batch[] = []

  // What is asked for while one insert is under way goes with the next: a round trip for many, not for each.
  const flush = async () => {
    running = true
    while (waiting.length > 0) {
      // What the rest of this turn of the event loop asks for goes along.
      await new Promise<void>(beforeTurnEnds)
      const { lease } = waiting[0]!
      const entries = waiting.filter(each => each.lease === lease)
      waiting = waiting.filter(each => each.lease !== lease)
      try {
        const isWritten = await insert(lease, entries)
        for (const entry of entries) {
          if (isWritten) entry.done()
          else entry.failed(new LeaseEnded('the lease ended before the attempt was journalled'))
        }
      } catch (error) {
        for (const entry of entries) entry.failed(error)
      }
      for (const entry of entries) noLongerAsked(entry)
    }
    running = false
  }

  const insert = async (lease: number, entries: readonly Waiting[]): Promise<boolean> => {
    // Never a number twice, also not after a failure.
    const batch: Batch = { lease, number: batches++, left: 0 }
    const claims = rowsParam(entries.map(({ claimed: { seq, claim } }) => ({ k: seq, cl: claim })))
    const unit: Statement[] = [
      {
        // The share lock makes whoever declares the lease dead wait for us, or us see that it is: an entry is never
        // written after the rescuer has read the journal.
        sql: `with alive as (select id from leases where id = $1 and until > @now($4) for share)
          insert into doubts (lease, batch, claims) select id, $2, $3 from alive returning lease`,
        params: [lease, batch.number, claims, steadyNow()],
      },
    ]
    const removed = ended.length < REMOVED_AT_ONCE ? [] : ended.splice(0)
    for (const [of, numbers] of byLease(removed)) {
      const sql = 'delete from doubts where lease = $1 and batch in (select g.key from @keys($2) g)'
      unit.push({ sql, params: [of, keysParam(numbers)] })
    }
    const [rows] = await db.writeRelaxed(unit).catch(error => {
      // No dot is sent for its claims; its row may be there nevertheless.
      ended.push(...removed, batch)
      throw error
    })
    if (rows?.length !== 1) return false
    for (const entry of entries) {
      noLongerAsked(entry)
      if (!entry.isOver) note(entry.claimed, batch)
    }
    if (batch.left === 0) ended.push(batch)
    return true
  }

  const noLongerAsked = (entry: Waiting) => {
    const { seq } = entry.claimed
    if (asked.get(seq)?.entry === entry) asked.delete(seq)
  }

  const note = ({ seq, claim }: OneClaim, batch: Batch) => {
    const before = unsettled.get(seq)
    batch.left += 1
    unsettled.set(seq, { claim, batch })
    // It was claimed anew, so the claim before is over.
    if (before !== undefined) leave(before.batch)
  }

  const leave = (batch: Batch) => {
    batch.left -= 1
    if (batch.left === 0) ended.push(batch)
  }

  const append = (lease: number, claimed: OneClaim): undefined | Promise<void> => {
    const { seq, claim } = claimed
    const there = unsettled.get(seq)
    if (there?.claim === claim && there.batch.lease === lease) return undefined
    const late = asked.get(seq)
    if (late !== undefined && isOf(late.entry, lease, claim)) return late.written
    const written = new Promise<void>((done, failed) => {
      waiting.push({ lease, claimed, isOver: false, done, failed })
    })
    asked.set(seq, { entry: waiting.at(-1)!, written })
    if (!running) void flush()
    return written
  }

  return {
    expect(lease, claimed) {
      // Asked for again at its dot.
      append(lease, claimed)?.catch(() => {})
    },
    append,
    settled(lease, claims) {
      for (const { seq, claim } of claims) {
        const late = asked.get(seq)
        if (late !== undefined && isOf(late.entry, lease, claim)) late.entry.isOver = true
        const entry = unsettled.get(seq)
        if (entry === undefined || entry.claim !== claim || entry.batch.lease !== lease) continue
        unsettled.delete(seq)
        leave(entry.batch)
      }
    },
    async read(lease) {
      const rows = await db.read({
        // A settled one names no lease.
        sql: `select m.seq from doubts d cross join lateral @rows(d.claims: k bigint, cl bigint) g
          join messages m on m.seq = g.k and m.claim = g.cl and m.lease = d.lease
          where d.lease = $1`,
        params: [lease],
      })
      return new Set(rows.map(row => Number(row.seq)))
    },
    async forget(lease) {
      for (const [seq, { batch }] of unsettled) if (batch.lease === lease) unsettled.delete(seq)
      ended = ended.filter(batch => batch.lease !== lease)
      await db.write([{ sql: 'delete from doubts where lease = $1', params: [lease] }])
    },
    // It is in the database, without which nothing is claimed.
    check() {},
    close() {},
  }
}

function isOf({ lease, claimed }: Waiting, otherLease: number, claim: number): boolean {
  return lease === otherLease && claimed.claim === claim
}

function byLease(batches: readonly Batch[]): Map<number, number[]> {
  const numbers = new Map<number, number[]>()
  for (const { lease, number } of batches) {
    const known = numbers.get(lease)
    if (known === undefined) numbers.set(lease, [number])
    else known.push(number)
  }
  return numbers
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
