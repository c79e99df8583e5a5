/**
 * One call for one tenant: claim its first entries under the tenant's lease, post them, settle by the answer.
 * The lane is left telling what is due next.
 */
import { DatabaseUnavailable, type Db, type Row, type Statement } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import { type Endpoint, type GlobalEndpoint, reportEndpoint } from '../tenants/endpoint.js'
import type { Tenant } from '../tenants/tenant.js'
import { NO_SPAN, type ReportSpan, type Tracer } from '../tracing/tracer.js'
import { judgeAnswer, type Verdict } from './acknowledge.js'
import type { Lane } from './lane.js'
import {
  acknowledge,
  claimBatch,
  drop,
  extendLease,
  type OutboxEntry,
  readExpired,
  readUntold,
  release,
  releaseAfterSync,
  type SyncState,
  tracesOf,
} from './outbox.js'
import { type AfterFailure, afterFailure, afterSuccess, type Batch, backoffMs, MAX_ENTRIES } from './pace.js'
import type { Poster } from './post.js'
import { batchId } from './sign.js'

export interface ReportMetrics {
  /** A call was acknowledged: `entries` of it (0 for an idle sync) after `seconds`. */
  posted(tenantId: string, entries: number, seconds: number): void
  failed(tenantId: string): void
  dropped(tenantId: string, entries: number): void
}

export interface RoundDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
  readonly poster: Poster
  readonly metrics: ReportMetrics
  readonly tracer: Tracer
  readonly global: GlobalEndpoint
  /** It has a URL. */
  readonly hasGlobal: boolean
  readonly timeoutMs: number
  /** How long a tenant's lease outlasts the deadline of the call, for the settle. */
  readonly leaseMarginMs: number
  readonly syncIntervalMs: number
  readonly giveUpMs: number
  /** GMP_LOG_DELIVERY_ACTIVITY: empty syncs are worth a line too. */
  readonly logSyncs: boolean
  /** Ends calls under way when the service stops. */
  readonly signal: AbortSignal
}

/** Clients and the proxies before them commonly refuse bodies over a megabyte. */
const MAX_BODY_CHARACTERS = 512 * 1024
/** Between two calls that were not full: entries that come one by one share a request instead of having one each. */
const GAP_MS = 200
/** Between two scans for new entries behind those held, should their hint have got lost. */
const HELD_SCAN_MS = 5_000
const BUSY_ELSEWHERE_MS = 1_000
/** Between two tries to read a tenant's record: each is told in the log. */
const UNREADABLE_MS = 5_000
const ACCELERATED_SYNC_MS = 1_000
/** An answer that takes longer than this occupies its place like a failure does. */
const SLOW_MS = 5_000
const SETTLE_PAUSES_MS = [200, 1_000, 5_000]
const CHUNK = 1_000

/** Rejects only when the database fails; the lease then runs out by itself. */
export async function syncTenant(lane: Lane, tenant: Tenant | null, deps: RoundDeps): Promise<void> {
  const endpoint = tenant === null ? null : reportEndpoint(tenant, deps.global)
  if (tenant === null || endpoint === null) return countAsReported(lane, tenant !== null, deps)

  const now = deps.clock.now()
  const asked = { forcedAt: lane.forcedAt, again: lane.againAt !== null && lane.againAt <= now, idle: lane.idle }
  const only = lane.probed ? null : lane.holds.due(now)
  const lease = 1 + Math.floor(deps.random() * 2 ** 52)
  const leasedAt = deps.clock.monotonic()
  lane.pending = false
  lane.idle = false
  const claim = await claimBatch(deps.db, {
    tenantId: lane.tenantId,
    lease,
    leaseMs: deps.timeoutMs + deps.leaseMarginMs,
    now,
    ignoreBackoff: asked.forcedAt !== null,
    limit: MAX_ENTRIES,
    maxBytes: MAX_BODY_CHARACTERS,
    without: lane.holds.excluded(now),
    only,
  })
  if (claim === null) {
    lane.notBefore = now + BUSY_ELSEWHERE_MS
    // The other instance is posting what run-now asked for, or is gone and its lease is about to end.
    if (asked.forcedAt !== null && now - asked.forcedAt > deps.timeoutMs + deps.leaseMarginMs) answered(lane, asked)
    return
  }
  lane.probed = only !== null
  const seen = claim.entries.map(({ seq }) => seq)
  if (only === null && !isCut(claim)) lane.holds.keepOnly(seen, now)
  if (asked.again) lane.againAt = null
  if (claim.entries.length === 0 && (only !== null || !wantsEmptySync(asked, claim.state, deps, now))) {
    await deps.db.writeRelaxed([release(lane.tenantId, lease)])
    if (only !== null) lane.holds.release([only])
    else answered(lane, asked)
    if (only !== null) lane.pending = true
    lane.heldUntil = heldUntil(lane, now)
    return
  }
  answered(lane, asked)
  await postAndSettle(lane, { tenant, endpoint, lease, leasedAt, only, ...claim }, deps)
}

interface Asked {
  readonly forcedAt: number | null
  readonly again: boolean
  readonly idle: boolean
}

function heldUntil({ holds }: Lane, now: number): number {
  return Math.min(holds.nextAt() ?? now, now + HELD_SCAN_MS)
}

/** A run-now that came in the meantime stays asked. */
function answered(lane: Lane, { forcedAt }: Asked): void {
  if (lane.forcedAt === forcedAt) lane.forcedAt = null
}

/** Decided under the lease: another instance may have called in the meantime. */
function wantsEmptySync({ forcedAt, again, idle }: Asked, state: SyncState, deps: RoundDeps, now: number): boolean {
  if (again || (forcedAt !== null && (state.lastSyncAt ?? 0) < forcedAt)) return true
  return idle && (state.lastSyncAt ?? 0) <= now - deps.syncIntervalMs && (state.quietUntil ?? 0) <= now
}

interface Claim {
  readonly tenant: Tenant
  readonly endpoint: Endpoint
  readonly lease: number
  /** When it was asked for, monotonic. */
  readonly leasedAt: number
  /** The message set aside that this call is for. */
  readonly only: number | null
  readonly state: SyncState
  readonly entries: readonly OutboxEntry[]
}

async function postAndSettle(lane: Lane, claim: Claim, deps: RoundDeps): Promise<void> {
  const { db, clock } = deps
  const { tenant, endpoint, entries, lease } = claim
  const span = await beginSpan(lane.tenantId, endpoint, entries, deps)
  // The call may take its whole time, and its end has to be written within the lease. Who was frozen until now would post
  // what another has posted meanwhile.
  let { leasedAt } = claim
  while (clock.monotonic() - leasedAt > deps.leaseMarginMs / 2) {
    leasedAt = clock.monotonic()
    const leaseMs = deps.timeoutMs + deps.leaseMarginMs
    if (!(await extendLease(db, { tenantId: lane.tenantId, lease, leaseMs, now: clock.now() }))) {
      span.end(null, true)
      throw new Error('their lease ran out before they could be posted')
    }
  }
  const started = clock.monotonic()
  const answer = await deps.poster.post(
    {
      endpoint,
      id: batchId(
        lane.tenantId,
        entries.map(({ id }) => id),
      ),
      body: `{"delivery_report":[${entries.map(({ entry }) => entry).join(',')}]}`,
      signingSecrets: tenant.signingSecrets,
      traceparent: span.context,
    },
    deps.signal,
  )
  const tookMs = deps.clock.monotonic() - started
  const status = answer.answered ? answer.status : null
  if (!answer.answered && deps.signal.aborted) {
    span.end(status, true)
    await settle(deps, [release(lane.tenantId, lease)])
    return
  }
  const verdict: Verdict = answer.answered
    ? judgeAnswer(answer, deps.clock.now())
    : { acknowledged: false, cause: answer.cause }
  span.end(status, !verdict.acknowledged)
  if (verdict.acknowledged) await settleAcknowledged(lane, claim, verdict, tookMs, deps)
  else await settleFailed(lane, claim, verdict.cause, deps)
}

/** Stands in the traces of its entries: behind their attempts, or, where none led to an entry, behind what brought the message. */
async function beginSpan(
  tenantId: string,
  { url }: Endpoint,
  entries: readonly OutboxEntry[],
  { db, tracer }: RoundDeps,
): Promise<ReportSpan> {
  if (!tracer.isOn) return NO_SPAN
  const bare = entries.filter(({ trace }) => trace === null).map(({ seq }) => seq)
  // A trace that is cut short is no reason not to report.
  const brought = bare.length === 0 ? null : await tracesOf(db, bare).catch(() => null)
  const port = url === null ? null : Number(url.port) || (url.protocol === 'https:' ? 443 : 80)
  const call = { tenantId, host: url?.hostname ?? null, port, entries: entries.length }
  return tracer.report(
    call,
    entries.map(({ trace, seq }) => trace ?? brought?.get(seq) ?? null),
  )
}

async function settleAcknowledged(
  lane: Lane,
  { state, entries, only, lease }: Claim,
  verdict: Extract<Verdict, { acknowledged: true }>,
  tookMs: number,
  deps: RoundDeps,
): Promise<void> {
  const now = deps.clock.now()
  const { tenantId, holds } = lane
  const again = verdict.again.size === 0 ? [] : entries.filter(each => verdict.again.has(messageIdOf(each)))
  const wanted = new Set(again)
  const told = again.length === 0 ? entries : entries.filter(entry => !wanted.has(entry))
  const expired = again.filter(({ at }) => at < now - deps.giveUpMs)

  holds.release(told.map(({ seq }) => seq))
  const held = [...new Set(again.map(({ seq }) => seq))].map(seq => holds.refuse(seq, now))
  if (only !== null && again.length === 0) holds.pardon()
  // More ids to send again than can be stepped over: the tenant as a whole waits, or they would go round without end.
  const waitMs = held.includes(false) ? backoffMs(4, deps.random) : null
  const next =
    only === null
      ? afterSuccess(lane.suspects, batchOf(entries))
      : { batchLimit: state.batchLimit, suspects: lane.suspects }
  await settle(deps, [
    ...acknowledge(told, now),
    ...drop(expired, now),
    releaseAfterSync({
      tenantId,
      lease,
      now,
      failures: 0,
      waitMs,
      batchLimit: next.batchLimit,
      quietUntil: verdict.quietUntil,
    }),
  ])

  const full = only !== null || isCut({ state, entries })
  lane.suspects = next.suspects
  lane.troubled = tookMs > SLOW_MS
  lane.retryAt = waitMs === null ? 0 : now + waitMs
  // By the time that passed: the wall clock may have been set back while the call was under way.
  lane.notBefore = full ? now : now + Math.max(0, GAP_MS - tookMs)
  lane.pending ||= full
  lane.heldUntil = heldUntil(lane, now)
  if (verdict.wantsSync) lane.againAt = now + Math.max(0, ACCELERATED_SYNC_MS - tookMs)

  deps.metrics.posted(tenantId, told.length, tookMs / 1000)
  const fields = { tenant_id: tenantId, entries: told.length, again: again.length, duration_ms: Math.round(tookMs) }
  if (entries.length > 0) deps.log.info(`Delivery report posted to tenant ${tenantId}: ${told.length} entries`, fields)
  else if (deps.logSyncs) deps.log.info(`Sync call to tenant ${tenantId}: nothing to report`, fields)
  if (again.length > 0) {
    deps.log.warning(`Tenant ${tenantId} asked for ${again.length} report entries again`, fields)
  }
  if (expired.length > 0) tellDropped(tenantId, expired.length, deps)
}

async function settleFailed(lane: Lane, claim: Claim, cause: string, deps: RoundDeps): Promise<void> {
  const { state, entries, only, lease, endpoint } = claim
  const now = deps.clock.now()
  const { tenantId, holds } = lane
  const next = only === null ? afterFailure(state, batchOf(entries), deps.random) : afterProbe(lane, state, deps.random)
  const aside = only ?? (next.setAside ? entries[0]!.seq : null)
  if (aside !== null) holds.setAside(aside, now)
  const waitMs = next.waitMs === 0 ? null : next.waitMs
  await settle(deps, [
    releaseAfterSync({
      tenantId,
      lease,
      now,
      failures: next.failures,
      waitMs,
      batchLimit: next.batchLimit,
      quietUntil: undefined,
    }),
  ])
  lane.suspects = next.suspects
  lane.troubled = next.failures > 0
  lane.retryAt = now + next.waitMs
  lane.notBefore = now
  lane.pending ||= entries.length > 0

  deps.metrics.failed(tenantId)
  deps.log.warning(`Delivery report to tenant ${tenantId} failed: ${cause}`, {
    tenant_id: tenantId,
    host: endpoint.url?.host,
    cause,
    entries: entries.length,
    failures: next.failures,
    retry_in_s: Math.round(next.waitMs / 1000),
    set_aside: aside !== null,
  })
  if (entries.some(({ at }) => at < now - deps.giveUpMs)) await giveUp(lane, deps)
}

/** A message set aside failed again. While all else goes through, that is its own matter and delays nothing. */
function afterProbe(lane: Lane, state: SyncState, random: () => number): AfterFailure {
  const failures = state.failures === 0 ? 0 : state.failures + 1
  const waitMs = failures === 0 ? 0 : backoffMs(failures, random)
  return { failures, batchLimit: state.batchLimit, waitMs, suspects: lane.suspects, setAside: true }
}

async function giveUp(lane: Lane, deps: RoundDeps): Promise<void> {
  const now = deps.clock.now()
  let dropped = 0
  for (let chunk = CHUNK; chunk === CHUNK && !deps.signal.aborted; dropped += chunk) {
    const expired = await readExpired(deps.db, lane.tenantId, now - deps.giveUpMs, CHUNK)
    chunk = expired.length
    if (chunk > 0) await deps.db.write(drop(expired, now))
    lane.holds.release(expired.map(({ seq }) => seq))
  }
  if (dropped > 0) tellDropped(lane.tenantId, dropped, deps)
}

function tellDropped(tenantId: string, entries: number, deps: RoundDeps): void {
  const days = Math.round(deps.giveUpMs / 86_400_000)
  deps.metrics.dropped(tenantId, entries)
  deps.log.error(`Dropped ${entries} report entries of tenant ${tenantId}: not acknowledged for ${days} days`, {
    tenant_id: tenantId,
    entries,
  })
}

/** A tenant with nowhere to report to: a message counts as reported at its end. One that cannot be read waits. */
async function countAsReported(lane: Lane, isKnown: boolean, deps: RoundDeps): Promise<void> {
  lane.pending = false
  lane.idle = false
  lane.forcedAt = null
  lane.againAt = null
  const entries = await readUntold(deps.db, lane.tenantId, { limit: CHUNK, globalEndpoint: deps.hasGlobal })
  if (entries.length > 0) await deps.db.write(acknowledge(entries, deps.clock.now()))
  lane.pending ||= entries.length === CHUNK
  const gapMs = isKnown ? GAP_MS : UNREADABLE_MS
  lane.notBefore = deps.clock.now() + (entries.length === CHUNK ? 0 : gapMs)
}

/** Tries on while the database is away for a moment: an acknowledgement forgotten is a report told twice. */
async function settle({ db, clock }: RoundDeps, unit: readonly Statement[]): Promise<Row[][]> {
  for (const pauseMs of SETTLE_PAUSES_MS) {
    try {
      return await db.write(unit)
    } catch (error) {
      if (!(error instanceof DatabaseUnavailable)) throw error
      await clock.sleep(pauseMs)
    }
  }
  return await db.write(unit)
}

function messageIdOf({ entry }: OutboxEntry): string {
  return String((JSON.parse(entry) as { id?: unknown }).id)
}

function batchOf(entries: readonly OutboxEntry[]): Batch {
  return { size: entries.length, lastId: entries.at(-1)?.id ?? null }
}

/** There may be more behind these. */
function isCut({ state, entries }: Pick<Claim, 'state' | 'entries'>): boolean {
  if (entries.length >= (state.batchLimit ?? MAX_ENTRIES)) return true
  let characters = 0
  for (const { entry } of entries) characters += entry.length
  return characters >= MAX_BODY_CHARACTERS
}
