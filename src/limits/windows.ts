/**
 * Sliding windows, kept as rings of buckets (spec section 4.5). Pure arithmetic; the SQL of limits/store.ts says the
 * same in the database. A transaction counts from its reservation (the claim) until its bucket is wholly past:
 *
 *   reserved ------- settled at t, in bucket b = floor(t / width) ------- freed when (b + 1) * width + span <= now
 *
 * The server answered between reservation and settlement, so no window of length `span` on the server's side holds
 * more than the limit. What the rounding costs is one bucket in a hundred: a backlog uses 99 % of the limit.
 */

/** Window lengths in ms: minute, hour, day. */
export const SPANS = [60_000, 3_600_000, 86_400_000] as const
export type Span = (typeof SPANS)[number]

/** A window is cut into this many buckets. */
export const BUCKETS = 100
/** Places in the ring: more than BUCKETS + 2, so that a bucket is past before its place is used again. */
export const RING = 128

export interface Limit {
  /** `a:<account key>` or `t:<tenant id>`. */
  readonly scope: string
  readonly span: Span
  readonly limit: number
}

export interface Bucket {
  readonly bucket: number
  readonly used: number
}

export function bucketWidth(span: Span): number {
  return span / BUCKETS
}

export function bucketAt(span: Span, at: number): number {
  return Math.floor(at / bucketWidth(span))
}

/** When the last transaction of this bucket stops counting, epoch ms. */
export function freedAt(span: Span, bucket: number): number {
  return (bucket + 1) * bucketWidth(span) + span
}

/**
 * When each of the next `count` transactions could be reserved if nothing but time changed, epoch ms, ascending;
 * a projection for people, not a promise. In flight ones are taken as settling now.
 */
export function projectSlots(
  limit: number,
  span: Span,
  buckets: readonly Bucket[],
  inFlight: number,
  now: number,
  count: number,
): number[] {
  if (limit <= 0) return []
  const frees: number[] = []
  for (const { bucket, used } of [...buckets].sort((a, b) => a.bucket - b.bucket)) {
    const at = freedAt(span, bucket)
    if (at > now) for (let i = 0; i < Math.min(used, limit + count); i += 1) frees.push(at)
  }
  for (let i = 0; i < inFlight; i += 1) frees.push(now + span + bucketWidth(span))
  const free = Math.max(0, limit - frees.length)
  const over = Math.max(0, frees.length - limit)
  const times: number[] = []
  for (let i = 0; i < count; i += 1) {
    // Each use takes a slot for a whole window more; the i-th waits for the slot that the (i - limit)-th gave back.
    if (i < free) times.push(now)
    else {
      const index = over + i - free
      const at = index < frees.length ? frees[index]! : times[i - limit]! + span + bucketWidth(span)
      times.push(at)
    }
  }
  return times
}

/**
 * Which windows these are, as a sum of bits: the account's minute, hour and day, then the tenant's. All limits have to be of one
 * account and its tenant.
 */
export function windowBits(limits: readonly Limit[]): number {
  return limits.reduce((bits, { scope, span }) => bits | bitOf(scope.startsWith('t:'), span), 0)
}

export function bitOf(isTenants: boolean, span: Span): number {
  return 1 << (SPANS.indexOf(span) + (isTenants ? SPANS.length : 0))
}

/** Limits of an account and of its tenant as the windows they act through. */
export function limitsOf(
  account: {
    key: number
    tenantId: string
    limitPerMinute: number | null
    limitPerHour: number | null
    limitPerDay: number | null
  },
  tenant: { rateHourly: number | null; rateDaily: number | null } | null,
): Limit[] {
  const own = `a:${account.key}`
  const shared = `t:${account.tenantId}`
  const given: [string, Span, number | null][] = [
    [own, 60_000, account.limitPerMinute],
    [own, 3_600_000, account.limitPerHour],
    [own, 86_400_000, account.limitPerDay],
    [shared, 3_600_000, tenant?.rateHourly ?? null],
    [shared, 86_400_000, tenant?.rateDaily ?? null],
  ]
  return given.flatMap(([scope, span, limit]) => (limit === null || limit <= 0 ? [] : [{ scope, span, limit }]))
}
