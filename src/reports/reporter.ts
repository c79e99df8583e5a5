/**
 * The reporter: tells tenants what became of their messages. `step` looks for what is due and starts calls, which run
 * beside each other and go on by themselves; hints only spare the wait for the next look.
 * A tenant has one call in flight at most, over all instances; one whose endpoint is dead holds up no other.
 */
import { setMaxListeners } from 'node:events'
import type { Config } from '../config.js'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import type { Tenant } from '../tenants/tenant.js'
import { NO_TRACING, type Tracer } from '../tracing/tracer.js'
import { createLane, dueAt, isForgettable, type Lane } from './lane.js'
import { endQuiet, findDue, findIdle, findSyncable, forgetBackoff } from './outbox.js'
import { createPoster, type Poster } from './post.js'
import { type ReportMetrics, type RoundDeps, syncTenant } from './round.js'
import { type SyncTest, testEndpoint } from './test-endpoint.js'

export type { ReportMetrics } from './round.js'

export interface ReporterDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
  readonly guard: NetworkGuard
  readonly metrics: ReportMetrics
  /** None unless given. */
  readonly tracer?: Tracer
  readonly config: Pick<Config, 'reports' | 'scheduler' | 'logging'>
  /** Tenant records with open secrets; ids without a tenant are missing from the answer. */
  readonly tenants: (ids: readonly string[]) => Promise<ReadonlyMap<string, Tenant>>
  /** Called when something became due earlier than the last step told. */
  readonly wakeLoop?: () => void
  /** How long after a call's deadline the tenant of a dead instance is given to another, ms; 30 s unless told. */
  readonly leaseMarginMs?: number
  /** In place of the service's own HTTP connections. */
  readonly poster?: Poster
}

export interface Reporter {
  /** Looks for what is due and starts it. `nextAt`: when something is due, epoch ms; null: nothing known. Each second at least. */
  step(): Promise<{ readonly nextAt: number | null; readonly busy: boolean }>
  /** These tenants have new entries. */
  wake(tenantIds: readonly string[]): void
  /** The next step calls the tenant at once, whatever its backoff or do-not-disturb; null: every tenant. */
  runNow(tenantId: string | null): void
  /** The wall clock was set: nothing waits any longer for an instant of before. */
  clockWasSet(): Promise<void>
  /** An empty report to the tenant's endpoint, whose answer changes nothing: for an operator. */
  test(tenant: Tenant): Promise<SyncTest>
  /** Resolves when no call is in flight. */
  drained(): Promise<void>
  /** Starts nothing more; calls under way have `graceMs` to end, then they are cut off and tried again another time. */
  stop(graceMs?: number): Promise<void>
}

/** How often the outbox is searched for tenants nobody gave a hint about: at each step that is not by a wake. */
const SCAN_MS = 900
const IDLE_CHECK_MS = 5_000
/** In test mode one run-now also covers what the dispatcher, started by the same run-now, reports in this time. */
const TEST_RUN_MS = 30_000
const STOP_GRACE_MS = 5_000
const LEASE_MARGIN_MS = 30_000

export function createReporter(deps: ReporterDeps): Reporter {
  const { db, clock, log, random } = deps
  const { reports, scheduler } = deps.config
  const { testMode } = scheduler
  const poster = deps.poster ?? createPoster({ clock, guard: deps.guard, timeoutMs: reports.timeoutMs })
  const ended = new AbortController()
  // Each call under way listens, and from the eleventh on Node would warn of a leak.
  setMaxListeners(0, ended.signal)
  const round: RoundDeps = {
    db,
    clock,
    log,
    random,
    poster,
    metrics: deps.metrics,
    tracer: deps.tracer ?? NO_TRACING,
    global: reports,
    hasGlobal: reports.url !== null && reports.url !== '',
    timeoutMs: reports.timeoutMs,
    leaseMarginMs: deps.leaseMarginMs ?? LEASE_MARGIN_MS,
    syncIntervalMs: reports.syncIntervalMs,
    giveUpMs: reports.giveUpMs,
    logSyncs: deps.config.logging.deliveryActivity,
    signal: ended.signal,
  }
  const { hasGlobal } = round
  const idleCheckMs = Math.max(250, Math.min(IDLE_CHECK_MS, reports.syncIntervalMs / 10))
  const idleSyncs = reports.syncIntervalMs > 0 && !testMode

  // In the order in which they wait: a lane that gets its turn moves to the end.
  const lanes = new Map<string, Lane>()
  const jobs = new Set<Promise<void>>()
  const hints = new Set<string>()
  let forced = new Map<string | null, number>()
  let known = new Map<string, Tenant | null>()
  let scanAt = 0
  let idleCheckAt = 0
  let openUntil = testMode ? 0 : Number.POSITIVE_INFINITY
  /** null: nobody is to be woken. */
  let promisedAt: number | null = null
  let stopped = false

  async function step() {
    const now = clock.now()
    if (stopped || now >= openUntil) {
      promisedAt = null
      return { nextAt: null, busy: false }
    }
    known = new Map()
    for (const tenantId of hints) laneOf(tenantId).pending = true
    hints.clear()
    if (forced.size > 0) await force()
    if (now >= scanAt) await scan(now)
    if (idleSyncs && now >= idleCheckAt) await checkIdle(now)
    await know([...lanes.values()].filter(lane => isDue(lane, now)).map(lane => lane.tenantId))
    pump()
    promisedAt = nextLook()
    return { nextAt: Number.isFinite(promisedAt) ? promisedAt : null, busy: false }
  }

  async function force(): Promise<void> {
    const asked = forced
    forced = new Map()
    try {
      const all = asked.has(null) ? await findSyncable(db, hasGlobal) : []
      const named = [...asked.keys()].filter(tenantId => tenantId !== null)
      if (named.length > 0) await endQuiet(db, named)
      for (const tenantId of [...all, ...named]) {
        const lane = laneOf(tenantId)
        lane.forcedAt = asked.get(tenantId) ?? asked.get(null) ?? clock.now()
        lane.notBefore = 0
      }
      // Tenants that are not active have reports too.
      const due = asked.has(null) ? await findDue(db, clock.now()) : []
      for (const { tenantId } of due) laneOf(tenantId).forcedAt ??= clock.now()
    } catch (error) {
      for (const [tenantId, at] of asked) forced.set(tenantId, at)
      throw error
    }
  }

  async function scan(now: number): Promise<void> {
    for (const { tenantId, failures, retryAt, leaseUntil } of await findDue(db, now)) {
      const lane = laneOf(tenantId)
      if (lane.posting || (leaseUntil ?? 0) > now) continue
      lane.pending ||= now >= lane.heldUntil
      lane.retryAt = retryAt ?? 0
      lane.troubled ||= failures > 0
    }
    for (const lane of lanes.values()) if (isForgettable(lane, now)) lanes.delete(lane.tenantId)
    scanAt = now + SCAN_MS
  }

  /** After a start or an outage all tenants may be due at once: only as many are called as spreads them over half an interval. */
  async function checkIdle(now: number): Promise<void> {
    const { syncIntervalMs } = reports
    const { tenantIds, active } = await findIdle(db, { now, intervalMs: syncIntervalMs, globalEndpoint: hasGlobal })
    const share = Math.max(1, Math.ceil((active * idleCheckMs * 2) / syncIntervalMs))
    for (const tenantId of tenantIds.slice(0, share)) laneOf(tenantId).idle = true
    idleCheckAt = now + idleCheckMs
  }

  /** Answers where they stand by then: a step that begins meanwhile knows of nobody yet. */
  async function know(tenantIds: readonly string[]): Promise<ReadonlyMap<string, Tenant | null>> {
    const records = known
    const missing = tenantIds.filter(tenantId => !records.has(tenantId))
    if (missing.length === 0) return records
    const found = await deps.tenants(missing)
    for (const tenantId of missing) records.set(tenantId, found.get(tenantId) ?? null)
    return records
  }

  function pump(): void {
    const now = clock.now()
    if (stopped || now >= openUntil) return
    // A fifth of the places is kept for tenants whose last call went well.
    const troubledPlaces = Math.max(1, reports.maxConcurrent - Math.ceil(reports.maxConcurrent / 5))
    let troubled = 0
    for (const lane of lanes.values()) if (lane.posting && lane.troubled) troubled += 1
    for (const lane of [...lanes.values()]) {
      if (jobs.size >= reports.maxConcurrent) return
      if (!isDue(lane, now) || (lane.troubled && troubled >= troubledPlaces)) continue
      if (lane.troubled) troubled += 1
      start(lane)
    }
  }

  function start(lane: Lane): void {
    lanes.delete(lane.tenantId)
    lanes.set(lane.tenantId, lane)
    lane.posting = true
    const job = call(lane).then(() => {
      lane.posting = false
      jobs.delete(job)
      pump()
      const due = dueAt(lane)
      if (due !== null && promisedAt !== null && due < promisedAt) deps.wakeLoop?.()
    })
    jobs.add(job)
  }

  async function call(lane: Lane): Promise<void> {
    try {
      const records = await know([lane.tenantId])
      await syncTenant(lane, records.get(lane.tenantId) ?? null, round)
    } catch (error) {
      lane.notBefore = clock.now() + SCAN_MS
      lane.pending = true
      log.warning(`Reports of tenant ${lane.tenantId} wait: ${(error as Error).message}`, { tenant_id: lane.tenantId })
    }
  }

  function laneOf(tenantId: string): Lane {
    let lane = lanes.get(tenantId)
    if (lane === undefined) {
      lane = createLane(tenantId, random)
      lanes.set(tenantId, lane)
    }
    return lane
  }

  function isDue(lane: Lane, now: number): boolean {
    const due = dueAt(lane)
    return due !== null && due <= now
  }

  /** When a call is due; Infinity: none is known. What is looked for each second is left to the loop's own interval. */
  function nextLook(): number {
    const now = clock.now()
    let next = idleSyncs && idleCheckMs < SCAN_MS ? idleCheckAt : Number.POSITIVE_INFINITY
    for (const lane of lanes.values()) {
      const due = dueAt(lane)
      // What is due already waits for a place, and a call that ends gives it one without a step.
      if (due !== null && due > now) next = Math.min(next, due)
    }
    return next
  }

  async function drained(): Promise<void> {
    while (jobs.size > 0) await Promise.all(jobs)
  }

  return {
    step,
    wake(tenantIds) {
      for (const tenantId of tenantIds) hints.add(tenantId)
    },
    runNow(tenantId) {
      const now = clock.now()
      forced.set(tenantId, now)
      scanAt = 0
      if (testMode) openUntil = now + TEST_RUN_MS
    },
    async clockWasSet() {
      scanAt = 0
      idleCheckAt = 0
      // A lane is made anew from the next scan; one that is posting sets its times when it ends.
      for (const lane of lanes.values()) if (!lane.posting) lanes.delete(lane.tenantId)
      await forgetBackoff(db)
    },
    test: tenant => testEndpoint(tenant, round),
    drained,
    async stop(graceMs = STOP_GRACE_MS) {
      stopped = true
      const timer = new AbortController()
      if (graceMs > 0) void clock.sleep(graceMs, timer.signal).then(() => ended.abort())
      else ended.abort()
      await drained()
      timer.abort()
      await poster.close()
    },
  }
}
