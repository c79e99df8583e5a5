/**
 * The lease of a worker: one row that it renews, and every claim names it. A worker that cannot renew in time (frozen,
 * cut off) is declared dead by another and its claims are freed; what it still does then changes nothing, because
 * claims and settles ask for the lease. Times are the database's, the margin before the final dot is monotonic.
 */
import { randomInt } from 'node:crypto'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'

export interface Lease {
  readonly id: number
  /** True while at least `marginMs` of the lease are left by the monotonic clock; false: do not send a final dot. */
  hasMargin(marginMs: number): boolean
  /** Renews; answers false when the lease is lost, which is final: take a new one. Rejects when the database is away. */
  renew(now: number): Promise<boolean>
  /** Gives it back at the end of a graceful stop. */
  end(): Promise<void>
}

export interface LeaseOptions {
  readonly db: Db
  readonly clock: Clock
  readonly leaseMs: number
  /** Host and process, for people. */
  readonly holder: string
  /** Changes when the machine (SQLite) or the database server (PostgreSQL) starts anew; see doubt journal. */
  readonly epoch: string
}

export async function takeLease({ db, clock, leaseMs, holder, epoch }: LeaseOptions, now: number): Promise<Lease> {
  const id = randomInt(1, 2 ** 47)
  // Taken before the statement leaves, so our own reckoning ends before the database's.
  let from = clock.monotonic()
  await db.write([
    {
      sql: `insert into leases (id, holder, epoch, until, started_at) values ($1, $2, $3, @now($4) + $5, @now($4))`,
      params: [id, holder, epoch, now, leaseMs],
    },
  ])
  let lost = false
  return {
    id,
    hasMargin: marginMs => !lost && clock.monotonic() < from + leaseMs - marginMs,
    async renew(at) {
      const asked = clock.monotonic()
      const [rows] = await db.write([
        {
          sql: 'update leases set until = @now($2) + $3 where id = $1 and until > @now($2) returning id',
          params: [id, at, leaseMs],
        },
      ])
      if (rows === undefined || rows.length === 0) lost = true
      else from = asked
      return !lost
    },
    async end() {
      lost = true
      await db.write([{ sql: 'delete from leases where id = $1', params: [id] }])
    },
  }
}

export interface WorkerLease {
  /** Host and process, for people. */
  readonly holder: string
  /** Epoch ms by the database's clock. */
  readonly startedAt: number
  /** How much of it is left, ms; below 0 it has run out. */
  readonly leftMs: number
}

/** The workers on this database, the newest first; those that died are listed until they are rescued. */
export async function listLeases(db: Db, now: number): Promise<WorkerLease[]> {
  const rows = await db.read({
    sql: 'select holder, started_at, until - @now($1) as left_ms from leases order by started_at desc limit 1000',
    params: [now],
  })
  return rows.map(row => ({
    holder: row.holder as string,
    startedAt: Number(row.started_at),
    leftMs: Number(row.left_ms),
  }))
}

export interface DeadLease {
  readonly id: number
  readonly holder: string
  readonly epoch: string
}

/**
 * Marks leases that ran out as dead, so that no late renewal brings them back, and answers them and those that were
 * given up while a claim under them was still being written. `all`: a SQLite process that starts has proved that it is
 * alone, so every lease it finds is a dead one's.
 */
export async function declareDead(db: Db, now: number, all: boolean): Promise<DeadLease[]> {
  const [rows] = await db.write([
    {
      sql: `update leases set until = 0 where ${all ? '$1 = $1' : 'until <= @now($1)'} returning id, holder, epoch`,
      params: [now],
    },
  ])
  const dead = (rows ?? []).map(row => ({
    id: Number(row.id),
    holder: row.holder as string,
    epoch: row.epoch as string,
  }))
  return [...dead, ...(await orphanedLeases(db))]
}

/**
 * Leases that are gone and yet named by a claim. A claim checks its lease when it begins; a worker frozen (or a
 * connection stalled) between that and the commit writes it after the rescuer has been through. Locking the lease for
 * the claim instead would let one frozen worker hold up the rescue of all.
 */
export async function orphanedLeases(db: Db): Promise<DeadLease[]> {
  const rows = await db.read({
    sql: `select distinct m.lease as id from messages m
      where m.stage = 3 and not exists (select 1 from leases l where l.id = m.lease)`,
    params: [],
  })
  return rows.map(row => ({ id: Number(row.id), holder: 'an unknown worker', epoch: 'unknown' }))
}
