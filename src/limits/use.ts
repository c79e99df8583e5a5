/** How far the windows are used, for people who ask what holds mail up. */
import { type Db, rowsParam } from '../db/db.js'
import { BUCKETS, type Limit, type Span } from './windows.js'

export interface LimitUse extends Limit {
  /** Transactions that count right now, those under way not among them. */
  readonly used: number
  /** When the oldest of them stops counting, on the clock of limits, epoch ms; null: none counts. */
  readonly nextFreeAt: number | null
}

/** `now`: on the clock of limits. */
export async function readUse(db: Db, limits: readonly Limit[], now: number): Promise<LimitUse[]> {
  if (limits.length === 0) return []
  const asked = limits.map(({ scope, span }) => ({ s: scope, span }))
  const rows = await db.read({
    sql: `select b.scope, b.span, sum(b.used) as used, min((b.bucket + 1) * (b.span / ${BUCKETS}) + b.span) as free_at
      from @rows($1: s text, span bigint) g join limit_buckets b on b.scope = g.s and b.span = g.span
      where b.used > 0 and (b.bucket + 1) * (b.span / ${BUCKETS}) + b.span > @now($2)
      group by b.scope, b.span`,
    params: [rowsParam(asked), now],
  })
  const found = new Map(rows.map(row => [keyOf(row.scope as string, Number(row.span) as Span), row]))
  return limits.map(limit => {
    const row = found.get(keyOf(limit.scope, limit.span))
    return { ...limit, used: Number(row?.used ?? 0), nextFreeAt: row === undefined ? null : Number(row.free_at) }
  })
}

function keyOf(scope: string, span: Span): string {
  return `${span} ${scope}`
}
