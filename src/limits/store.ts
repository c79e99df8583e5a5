/**
 * The windows in the database: what claims may take (freeSlots, a fragment of the claim's own statement, so that
 * counting and taking are one), what settles add, and the projection for those who wait.
 */
import { type Db, rowsParam, type Statement } from '../db/db.js'
import {
  BUCKETS,
  type Bucket,
  bitOf,
  bucketWidth,
  type Limit,
  projectSlots,
  RING,
  SPANS,
  type Span,
} from './windows.js'

/**
 * PostgreSQL: locks the scopes for the rest of the unit, in a fixed order, for two instances must not count the same free
 * slot; SQLite has one writer at a time. A statement of its own before the claim, whose snapshot then sees all that
 * earlier holders committed.
 */
export function lockScopes(limits: readonly Limit[]): Statement[] {
  const scopes = [...new Set(limits.map(each => each.scope))].sort().map(scope => ({ s: scope }))
  const given = rowsParam(scopes)
  return [
    {
      sql: 'insert into limit_scopes (scope) select g.s from @rows($1: s text) g where true on conflict do nothing',
      params: [given],
    },
    {
      sql: 'select scope from limit_scopes where scope in (select g.s from @rows($1: s text) g) order by scope @for_update',
      params: [given],
    },
  ]
}

/**
 * SQL for the transactions that may start now: the least over all limits of limit - used - reserved. `limits` names a
 * @rows parameter of limitRows, `now` one of epoch ms. At most 0 when a window is full.
 */
export function freeSlotsSql(limits: string, now: string): string {
  return `(select min(${freeSql(now)}) from ${limitsSql(limits)})`
}

/** Of one row of limitsSql. */
const freeSql = (now: string) => `l.lim
      - coalesce((select sum(b.used) from limit_buckets b
          where b.scope = l.scope and b.span = l.span
            and (b.bucket + 1) * (l.span / ${BUCKETS}) + l.span > @now(${now})), 0)
      - (select count(*) from messages f where f.stage = 3 and f.account_key = l.account_key)
      - (select count(*) from messages f where f.stage = 3 and f.tenant_id = l.tenant_id)`
const limitsSql = (limits: string) =>
  `@rows(${limits}: scope text, span bigint, lim bigint, account_key bigint, tenant_id text) l`

/** The scopes among these limits that have a full window now; in one statement. */
export async function fullScopes(db: Db, limits: readonly Limit[], now: number): Promise<ReadonlySet<string>> {
  if (limits.length === 0) return new Set()
  const once = new Map(limits.map(limit => [`${limit.scope} ${limit.span}`, limit]))
  const rows = await db.read({
    sql: `select distinct l.scope from ${limitsSql('$1')} where ${freeSql('$2')} <= 0`,
    params: [limitRows([...once.values()]), now],
  })
  return new Set(rows.map(row => row.scope as string))
}

/** The parameter of freeSlotsSql. */
export function limitRows(limits: readonly Limit[]): string {
  return rowsParam(
    limits.map(({ scope, span, limit }) => ({
      scope,
      span,
      lim: limit,
      account_key: scope.startsWith('a:') ? Number(scope.slice(2)) : null,
      tenant_id: scope.startsWith('t:') ? scope.slice(2) : null,
    })),
  )
}

const WINDOWS = [false, true]
  .flatMap(isTenants => SPANS.map(span => `select ${bitOf(isTenants, span)} as bit, ${span} as span`))
  .join(' union all ')

/**
 * Counts settled transactions into their buckets at the database's time. `from` is a row source with a row for each of
 * them: account_key, tenant_id and windows, a sum of windowBits. A place of the ring still holding an older bucket starts
 * anew. One holding a later bucket (the clock was set back) keeps it and adds up: too many are counted for a while, never
 * too few.
 */
export function countUsedSql(from: string, now: string): string {
  return `insert into limit_buckets (scope, span, slot, bucket, used)
    select u.scope, u.span, (clock.at / (u.span / ${BUCKETS})) % ${RING}, clock.at / (u.span / ${BUCKETS}), count(*)
    -- read once: place and bucket must be of the same instant
    from (select @now(${now}) as at) clock cross join
      (select case when w.bit < ${bitOf(true, SPANS[0])} then 'a:' || r.account_key else 't:' || r.tenant_id end as scope, w.span
        from ${from} r join (${WINDOWS}) w on r.windows & w.bit <> 0) u
    where true group by u.scope, u.span, clock.at
    order by u.scope, u.span
    on conflict (scope, span, slot) do update set
      used = case when limit_buckets.bucket < excluded.bucket then excluded.used else limit_buckets.used + excluded.used end,
      bucket = case when limit_buckets.bucket < excluded.bucket then excluded.bucket else limit_buckets.bucket end`
}

/** Forgets the windows of accounts that go: their keys never come again. `keys`: a select of them, with these parameters. */
export function forgetAccounts(keys: string, params: readonly string[]): Statement[] {
  return ['limit_buckets', 'limit_scopes'].map(table => ({
    sql: `delete from ${table} where scope in (select 'a:' || o.key from (${keys}) o)`,
    params,
  }))
}

/** When the next `count` waiting messages may expect their turn: the latest over all limits, ascending. */
export async function projectTurns(db: Db, limits: readonly Limit[], now: number, count: number): Promise<number[]> {
  let turns: number[] = new Array(count).fill(now)
  for (const { scope, span, limit } of limits) {
    const { buckets, inFlight } = await useOf(db, scope, span, now)
    const times = projectSlots(limit, span, buckets, inFlight, now, count)
    turns = turns.map((turn, i) => Math.max(turn, times[i] ?? now))
  }
  return turns
}

async function useOf(db: Db, scope: string, span: Span, now: number): Promise<{ buckets: Bucket[]; inFlight: number }> {
  const inFlight = scope.startsWith('a:')
    ? 'select count(*) from messages where stage = 3 and account_key = $5'
    : 'select count(*) from messages where stage = 3 and tenant_id = $5'
  // One statement: what settles between two would stand in neither answer, and its slot would seem free.
  const rows = await db.read({
    sql: `select bucket, used from limit_buckets where scope = $1 and span = $2 and (bucket + 1) * $3 + $2 > @now($4)
      union all select null, (${inFlight})`,
    params: [scope, span, bucketWidth(span), now, scope.startsWith('a:') ? Number(scope.slice(2)) : scope.slice(2)],
  })
  return {
    buckets: rows.flatMap(row => (row.bucket === null ? [] : [{ bucket: Number(row.bucket), used: Number(row.used) }])),
    inFlight: Number(rows.find(row => row.bucket === null)?.used ?? 0),
  }
}
