/**
 * The outbox: events rows with pending = 1, posted by tenant in id order, and each tenant's sync_state. A lease on
 * that row keeps two instances from posting for one tenant at once; a dead instance's lease runs out.
 * What was acknowledged costs nothing here: every query starts from the partial index over what is pending.
 */
import { type Db, keysParam, rowsParam, type Statement } from '../db/db.js'

export interface OutboxEntry {
  readonly id: number
  /** The message, over all its entries. */
  readonly seq: number
  readonly at: number
  /** JSON, ready to post. */
  readonly entry: string
  /** traceparent of the attempt that led to it, if one did while there were traces. */
  readonly trace: string | null
}

export interface SyncState {
  readonly lastSyncAt: number | null
  readonly quietUntil: number | null
  readonly failures: number
  readonly batchLimit: number | null
}

export interface DueTenant {
  readonly tenantId: string
  readonly failures: number
  readonly retryAt: number | null
  /** Another instance is (or was, when it died) posting for this tenant until then at most. */
  readonly leaseUntil: number | null
}

/**
 * The pending entries of tenant $1 as one range of the index events_pending. `tenant_id = $1 order by id` means the
 * same, but lets PostgreSQL walk the primary key past all that was ever acknowledged, whenever its statistics date from
 * a backlog. For the opposite case, rows already known by id or seq, the queries below say `pending > 0`: that keeps
 * PostgreSQL from reading the whole of this index beside (500 ms instead of 5 a batch, measured).
 */
const PENDING_OF_TENANT = '(p.tenant_id, p.id) >= ($1, 0) and p.tenant_id <= $1 and p.pending = 1'

/**
 * All tenants with something pending: one index step each, however many entries they have. Backoffs and leases run by the
 * database's clock, and come by that of whoever asks (`now`).
 */
export async function findDue(db: Db, now: number): Promise<DueTenant[]> {
  const rows = await db.read({
    sql: `with recursive due(tenant_id) as (
        select (select e.tenant_id from events e where e.pending = 1 order by e.tenant_id limit 1)
        union all
        select (select e.tenant_id from events e where e.pending = 1 and e.tenant_id > d.tenant_id
          order by e.tenant_id limit 1)
        from due d where d.tenant_id is not null
      )
      select d.tenant_id, s.failures, s.retry_at - @now($1) as retry_in, s.lease_until - @now($1) as lease_left
      from due d left join sync_state s on s.tenant_id = d.tenant_id
      where d.tenant_id is not null`,
    params: [now],
  })
  const at = (inMs: unknown) => (inMs === null ? null : now + Number(inMs))
  return rows.map(row => ({
    tenantId: String(row.tenant_id),
    failures: Number(row.failures ?? 0),
    retryAt: at(row.retry_in),
    leaseUntil: at(row.lease_left),
  }))
}

export interface OwedReports {
  readonly tenantId: string
  readonly entries: number
  /** When the oldest of them was made, epoch ms. */
  readonly oldestAt: number
}

/** What each tenant has not acknowledged yet, for metrics; costs by what is pending. */
export async function owedReports(db: Db): Promise<OwedReports[]> {
  const rows = await db.read({
    // Ids grow with time: the first is the oldest, give or take what was written at once.
    sql: `select p.tenant_id, p.n, e.at
      from (select tenant_id, count(*) as n, min(id) as first from events where pending = 1 group by tenant_id) p
      join events e on e.id = p.first order by e.at`,
    params: [],
  })
  return rows.map(row => ({
    tenantId: row.tenant_id as string,
    entries: Number(row.n),
    oldestAt: Number(row.at),
  }))
}

/** Active tenants with an endpoint whose last sync is `intervalMs` ago, the longest ago first, and how many there are in all. */
export async function findIdle(
  db: Db,
  { now, intervalMs, globalEndpoint }: { now: number; intervalMs: number; globalEndpoint: boolean },
): Promise<{ readonly tenantIds: string[]; readonly active: number }> {
  const rows = await db.read({
    sql: `select t.id, (select count(*) from tenants a where a.active = 1) as active
      from tenants t left join sync_state s on s.tenant_id = t.id
      where t.active = 1 and (coalesce(t.client_base_url, '') <> '' or cast($1 as bigint) = 1)
        and coalesce(s.last_sync_at, 0) <= @now($2) - cast($3 as bigint) and coalesce(s.quiet_until, 0) <= cast($2 as bigint)
        and coalesce(s.retry_at, 0) <= @now($2) and coalesce(s.lease_until, 0) <= @now($2)
      order by coalesce(s.last_sync_at, 0), t.id limit 1000`,
    params: [globalEndpoint ? 1 : 0, now, intervalMs],
  })
  return { tenantIds: rows.map(row => String(row.id)), active: Number(rows[0]?.active ?? 0) }
}

/** Active tenants with an endpoint. */
export async function findSyncable(db: Db, globalEndpoint: boolean): Promise<string[]> {
  const rows = await db.read({
    sql: `select t.id from tenants t
      where t.active = 1 and (coalesce(t.client_base_url, '') <> '' or cast($1 as bigint) = 1) order by t.id`,
    params: [globalEndpoint ? 1 : 0],
  })
  return rows.map(row => String(row.id))
}

export interface ClaimOptions {
  readonly tenantId: string
  /** Drawn by the caller, never used twice. */
  readonly lease: number
  readonly leaseMs: number
  readonly now: number
  /** Run-now: the backoff does not count. */
  readonly ignoreBackoff: boolean
  /** At most so many entries; fewer while the tenant's batch_limit says so, or when they grow past `maxBytes`. */
  readonly limit: number
  readonly maxBytes: number
  /** Messages to leave out. */
  readonly without: readonly number[]
  /** Take the first entry of this message alone. */
  readonly only: number | null
}

/**
 * Takes the tenant's lease and then reads its first entries in id order, beside the writers: on SQLite reading them costs
 * as much as acknowledging them. Null: another instance has the lease, the tenant must wait, or is gone.
 */
export async function claimBatch(
  db: Db,
  options: ClaimOptions,
): Promise<{ readonly state: SyncState; readonly entries: readonly OutboxEntry[] } | null> {
  const { tenantId, lease, leaseMs, now, ignoreBackoff } = options
  const [taken] = await db.writeRelaxed([
    {
      sql: `insert into sync_state (tenant_id, lease, lease_until)
        select t.id, cast($2 as bigint), @now($3) + cast($4 as bigint) from tenants t where t.id = $1
        on conflict (tenant_id) do update set lease = excluded.lease, lease_until = excluded.lease_until
        where coalesce(sync_state.lease_until, 0) <= @now($3)
          and (cast($5 as bigint) = 1 or coalesce(sync_state.retry_at, 0) <= @now($3))
        returning last_sync_at - @now($3) + cast($3 as bigint) as last_sync_at, quiet_until, failures, batch_limit`,
      params: [tenantId, lease, now, leaseMs, ignoreBackoff ? 1 : 0],
    },
  ])
  const row = taken?.[0]
  if (row === undefined) return null
  const entries = await db.read(options.only === null ? firstEntries(options) : firstEntryOf(options, options.only))
  return {
    state: {
      lastSyncAt: row.last_sync_at as number | null,
      quietUntil: row.quiet_until as number | null,
      failures: Number(row.failures),
      batchLimit: row.batch_limit as number | null,
    },
    entries: entries as unknown as OutboxEntry[],
  }
}

/** From now on it runs for another `leaseMs`; false: it has run out, and another instance may have the tenant. */
export async function extendLease(
  db: Db,
  { tenantId, lease, leaseMs, now }: Pick<ClaimOptions, 'tenantId' | 'lease' | 'leaseMs' | 'now'>,
): Promise<boolean> {
  const [rows] = await db.writeRelaxed([
    {
      sql: `update sync_state set lease_until = @now($3) + cast($4 as bigint)
        where tenant_id = $1 and lease = cast($2 as bigint) and lease_until > @now($3) returning tenant_id`,
      params: [tenantId, lease, now, leaseMs],
    },
  ])
  return rows!.length === 1
}

/** The running size is summed before the entries leave the database: a batch of giants would not fit the process. */
function firstEntries({ tenantId, lease, limit, maxBytes, without }: ClaimOptions): Statement {
  return {
    sql: `select f.id, f.seq, f.at, f.entry, f.trace from (
        select e.id, e.seq, e.at, e.entry, e.trace, sum(length(e.entry)) over (order by e.id) - length(e.entry) as before
        from (
          select p.id, p.seq, p.at, p.entry, p.trace from events p
          where ${PENDING_OF_TENANT}
            and exists (select 1 from sync_state s where s.tenant_id = $1 and s.lease = cast($2 as bigint))
            and p.seq not in (select w.key from @keys($5) w)
          order by p.tenant_id, p.id
          limit (select @least(coalesce(min(s.batch_limit), cast($3 as bigint)), cast($3 as bigint))
            from sync_state s where s.tenant_id = $1)
        ) e
      ) f where f.before < cast($4 as bigint) order by f.id`,
    params: [tenantId, lease, limit, maxBytes, keysParam(without)],
  }
}

function firstEntryOf({ tenantId, lease }: ClaimOptions, seq: number): Statement {
  return {
    sql: `select e.id, e.seq, e.at, e.entry, e.trace from events e
      where e.seq = cast($3 as bigint) and e.pending > 0 and e.tenant_id = $1
        and exists (select 1 from sync_state s where s.tenant_id = $1 and s.lease = cast($2 as bigint))
      order by e.id limit 1`,
    params: [tenantId, lease, seq],
  }
}

/** Of these messages the traceparents they came with, by seq; for entries that no attempt led to. */
export async function tracesOf(db: Db, seqs: readonly number[]): Promise<ReadonlyMap<number, string>> {
  const rows = await db.read({
    sql: `select c.seq, c.trace from @keys($1) g join contents c on c.seq = g.key where c.trace is not null`,
    params: [keysParam(seqs)],
  })
  return new Map(rows.map(row => [Number(row.seq), row.trace as string]))
}

/**
 * The first entries of a tenant that has nowhere to report to, or is gone; none where that is not so, whatever the caller
 * takes it for: it may have an old record, or one whose secrets it cannot open. Nothing needs a lease then.
 */
export async function readUntold(
  db: Db,
  tenantId: string,
  { limit, globalEndpoint }: { readonly limit: number; readonly globalEndpoint: boolean },
): Promise<OutboxEntry[]> {
  const rows = await db.read({
    sql: `select p.id, p.seq, p.at, '' as entry, null as trace from events p where ${PENDING_OF_TENANT}
        and not exists (select 1 from tenants t where t.id = $1
          and (coalesce(t.client_base_url, '') <> '' or cast($3 as bigint) = 1))
      order by p.tenant_id, p.id limit cast($2 as bigint)`,
    params: [tenantId, limit, globalEndpoint ? 1 : 0],
  })
  return rows as unknown as OutboxEntry[]
}

/** Pending entries older than `before` (epoch ms). */
export async function readExpired(db: Db, tenantId: string, before: number, limit: number): Promise<OutboxEntry[]> {
  const rows = await db.read({
    sql: `select p.id, p.seq, p.at, '' as entry, null as trace from events p where ${PENDING_OF_TENANT} and p.at < cast($2 as bigint)
      order by p.tenant_id, p.id limit cast($3 as bigint)`,
    params: [tenantId, before, limit],
  })
  return rows as unknown as OutboxEntry[]
}

/**
 * The entries are owed no more; a message is reported once it has ended and none of its entries is left.
 * Carries no lease: that the client has acknowledged stays true whoever posts for the tenant by now.
 */
export function acknowledge(entries: readonly OutboxEntry[], now: number): Statement[] {
  return settleEntries(entries, now, now)
}

/** Like acknowledge, for entries given up: the events keep no reported_at, for nobody was told. */
export function drop(entries: readonly OutboxEntry[], now: number): Statement[] {
  return settleEntries(entries, now, null)
}

function settleEntries(entries: readonly OutboxEntry[], now: number, reportedAt: number | null): Statement[] {
  if (entries.length === 0) return []
  const seqs = [...new Set(entries.map(({ seq }) => seq))].sort((a, b) => a - b)
  return [
    {
      sql: `update events set pending = 0, reported_at = cast($2 as bigint)
        where pending > 0 and id in (select g.key from @keys($1) g)`,
      params: [keysParam(entries.map(({ id }) => id)), reportedAt],
    },
    {
      sql: `update messages set reported_at = cast($2 as bigint)
        where stage = 0 and reported_at is null and seq in (select g.key from @keys($1) g)
          and not exists (select 1 from events e where e.seq = messages.seq and e.pending > 0)`,
      params: [keysParam(seqs), now],
    },
  ]
}

export interface Release {
  readonly tenantId: string
  readonly lease: number
  readonly now: number
  readonly failures: number
  /** Not before this long from now; null: at any time. */
  readonly waitMs: number | null
  readonly batchLimit: number | null
  /** Epoch ms; null ends it; undefined keeps it. */
  readonly quietUntil: number | null | undefined
}

/** Gives the lease back after a call, whatever came of it. Changes nothing when the lease was lost meanwhile. */
export function releaseAfterSync(release: Release): Statement {
  const { tenantId, lease, now, failures, waitMs, batchLimit, quietUntil } = release
  return {
    sql: `update sync_state set lease = null, lease_until = null, last_sync_at = @now($3), failures = cast($4 as bigint),
        retry_at = @now($3) + cast($5 as bigint), batch_limit = cast($6 as bigint),
        quiet_until = case when cast($7 as bigint) = 1 then cast($8 as bigint) else quiet_until end
      where tenant_id = $1 and lease = cast($2 as bigint)`,
    params: [tenantId, lease, now, failures, waitMs, batchLimit, quietUntil === undefined ? 0 : 1, quietUntil ?? null],
  }
}

/** Gives the lease back when no call was made. */
export function release(tenantId: string, lease: number): Statement {
  return {
    sql: `update sync_state set lease = null, lease_until = null where tenant_id = $1 and lease = cast($2 as bigint)`,
    params: [tenantId, lease],
  }
}

/** Frees what calls of an earlier process left taken. Only for one who is alone, as the process on a SQLite file is. */
export async function freeAllLeases(db: Db): Promise<void> {
  await db.write([
    { sql: 'update sync_state set lease = null, lease_until = null where lease_until is not null', params: [] },
  ])
}

/** Ends every tenant's backoff: after the clock was set its instants mean nothing. */
export async function forgetBackoff(db: Db): Promise<void> {
  await db.write([{ sql: 'update sync_state set retry_at = null where retry_at is not null', params: [] }])
}

/** Ends a tenant's do-not-disturb. */
export async function endQuiet(db: Db, tenantIds: readonly string[]): Promise<void> {
  await db.write([
    {
      sql: `update sync_state set quiet_until = null
        where quiet_until is not null and tenant_id in (select g.id from @rows($1: id text) g)`,
      params: [rowsParam(tenantIds.map(id => ({ id })))],
    },
  ])
}
