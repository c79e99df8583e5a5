/**
 * The composition root: reads like a wiring diagram. createService opens nothing; start() does, in the order in which
 * things depend on each other, and stop() undoes it backwards.
 */
import { hostname } from 'node:os'
import type { FastifyInstance } from 'fastify'
import type { Account } from './accounts/account.js'
import { pausedAccounts } from './accounts/pause.js'
import { loadAccounts } from './accounts/store.js'
import type { Config } from './config.js'
import type { Db } from './db/db.js'
import { migrate, migrationStatus } from './db/migrate.js'
import { openDatabase } from './db/open.js'
import { fetchContext } from './delivery/attachments.js'
import { failureWords } from './delivery/classify.js'
import { createDispatcher, type Dispatcher } from './delivery/dispatcher.js'
import { createDeliveryEvents } from './delivery/events.js'
import { heldAccounts } from './delivery/held-accounts.js'
import { createPauses } from './delivery/pauses.js'
import { createSettings, type Settings } from './delivery/settings.js'
import { createSettler } from './delivery/settler.js'
import { buildApp } from './http/app.js'
import type { AccountTest, HttpDeps } from './http/deps.js'
import { listen } from './http/listen.js'
import { systemRoutes } from './http/routes/system.js'
import { type Clock, systemClock } from './lib/clock.js'
import type { Log } from './lib/log.js'
import { createLoop, type Loop } from './lib/loop.js'
import { createNetworkGuard } from './lib/network-guard.js'
import { VERSION } from './lib/version.js'
import { createFileRemover } from './maintenance/file-remover.js'
import { createJanitor } from './maintenance/janitor.js'
import { createLeaseKeeper } from './maintenance/lease-keeper.js'
import { createMetrics } from './metrics/metrics.js'
import { createFileJournal, createTableJournal, currentEpoch } from './queue/doubt-journal.js'
import { pullBackRetries } from './queue/due.js'
import { readQueueState } from './queue/state.js'
import { beginScheduler } from './queue/suspension.js'
import { pruneUploads } from './queue/uploads.js'
import { freeAllLeases, owedReports } from './reports/outbox.js'
import { createReporter } from './reports/reporter.js'
import { listRules } from './rules/store.js'
import { createAttachments } from './service/attachments.js'
import { watchClock } from './service/clock-watch.js'
import { readDiagnostics } from './service/diagnostics.js'
import { createDisk } from './service/disk.js'
import { createWake } from './service/hints.js'
import { openKeys } from './service/key.js'
import { createLineage, GROW_EVERY_MS } from './service/lineage.js'
import { type Boot, openSteadyClock, systemBoot } from './service/steady-clock.js'
import { createTestRoom } from './service/test-room.js'
import { volumeProblem } from './service/volume-problem.js'
import { createTransport } from './smtp/pool.js'
import { SmtpFailure } from './smtp/transport.js'
import { ensureDefaultTenant, loadTenants } from './tenants/store.js'
import { NO_TRACING, type Tracer } from './tracing/tracer.js'
import { createKnownVolumes } from './volumes/known.js'
import { seedVolumes } from './volumes/seed.js'

export interface Overrides {
  readonly clock?: Clock
  readonly random?: () => number
  /** In place of the machine's boot, with a clock of which it knows nothing. */
  readonly boot?: Boot
  /** None unless given. */
  readonly tracer?: Tracer
  /** Certificate authorities (PEM) trusted for SMTP in place of the system's. */
  readonly smtpCa?: string
  /** Nothing listens and no loop runs; see openOffline. */
  readonly offline?: boolean
}

export interface Service {
  /** For injected requests; null before start. */
  readonly app: FastifyInstance | null
  readonly db: Db | null
  start(): Promise<{ url: string }>
  /** Stops claiming, finishes or gives back what is in flight, flushes results, closes. Safe to call at any time. */
  stop(): Promise<void>
}

export function createService(config: Config, log: Log, overrides: Overrides = {}): Service {
  let app: FastifyInstance | null = null
  let db: Db | null = null
  let undo: (() => Promise<void>)[] = []
  let stopping: Promise<void> | null = null

  const stop = async () => {
    for (const each of undo.reverse()) {
      await each().catch(error => log.error(`Stopping: ${(error as Error).message}`))
    }
    undo = []
  }

  return {
    get app() {
      return app
    },
    get db() {
      return db
    },
    async start() {
      const started = await run(config, log, overrides, each => undo.push(each))
      app = started.app
      db = started.db
      return { url: started.url }
    },
    stop: () => (stopping ??= stop()),
  }
}

/**
 * The API on the database of an instance that does not run: the same handlers, for injected requests, each of them the
 * admin's. Nothing listens, nothing is sent and nothing reported. Rejects as a start would.
 */
export async function openOffline(
  config: Config,
  log: Log,
): Promise<{ readonly app: FastifyInstance; close(): Promise<void> }> {
  const server = { ...config.server, role: 'api' as const, insecureNoAuth: true }
  const service = createService({ ...config, server }, log, { offline: true })
  try {
    await service.start()
  } catch (error) {
    await service.stop()
    throw error
  }
  return { app: service.app!, close: service.stop }
}

async function run(config: Config, log: Log, overrides: Overrides, onStop: (undo: () => Promise<void>) => void) {
  const clock = watchClock(overrides.clock ?? systemClock)
  const random = overrides.random ?? Math.random
  const tracer = overrides.tracer ?? NO_TRACING
  const startedAt = clock.now()
  const works = config.server.role !== 'api'
  const state = { draining: false }

  // A clock put in place of the system's moves the database's time too, or its leases and limits would stand still.
  const db = await openDatabase(config, {
    log,
    exclusive: true,
    clock: overrides.clock === undefined ? 'database' : 'process',
  })
  onStop(() => db.close())
  await migrate(db)
  // Leases and limits on SQLite run on a clock that cannot jump; PostgreSQL uses its own.
  const unknownBoot = { id: null, uptimeMs: 0 }
  const boot = overrides.boot ?? (overrides.clock === undefined ? systemBoot() : unknownBoot)
  const steadyNow = await openSteadyClock(db, clock, boot)
  const { sealer, linkKey } = await openKeys(db, config)
  await beginScheduler(db, config.scheduler.active)
  await ensureDefaultTenant(db, clock.now())
  const volumeLines = { lines: config.volumes, variables: config.volumeVariables }
  await seedVolumes({ db, sealer, log, volumeProblem }, volumeLines, clock.now())
  const lineage = createLineage(db, config.instance.dir, log)
  if (overrides.offline !== true) await lineage.begin(config.database.release)
  const disk = createDisk(config)
  await disk.measure()

  const guard = createNetworkGuard(config.network)
  const transport = createTransport(config.smtp, { clock, guard, log, ca: overrides.smtpCa })
  onStop(() => transport.close())
  const unreadable = (what: string) => (id: string | number, error: unknown) =>
    log.error(`The secrets of ${what} ${id} cannot be opened: ${(error as Error).message}`)
  const accountsOf = async (keys: readonly number[]) => [
    ...(await loadAccounts(db, sealer, keys, unreadable('account'))).values(),
  ]
  const tenantsOf = (ids: readonly string[]) => loadTenants(db, sealer, ids, unreadable('tenant'))
  const settings = createSettings({
    db,
    clock,
    timezone: config.scheduler.timezone,
    loadAccounts: accountsOf,
    loadTenants: tenantsOf,
    loadRules: () => listRules(db),
  })
  await settings.refresh()

  const metrics = createMetrics({
    clock,
    queue: () => readQueueState(db, clock.now()),
    held: due => heldAccounts({ db, settings }, due, { now: clock.now(), steadyNow: steadyNow() }),
    paused: () => pausedAccounts(db, MOST_PAUSED_NAMED),
    reports: () => owedReports(db),
    sends: () => ({ ...dispatcher.stats(), most: config.queue.maxConcurrentSends }),
    connections: () => transport.stats(),
    cache: () => attachments.cache.stats(),
    loops: () => loops.filter(each => each.isRunning).map(each => each.progress()),
    diskFreeBytes: () => disk.freeBytes(),
    diskReserveBytes: config.queue.minFreeMb * 1024 * 1024,
    schedulerActive: () => settings.schedulerActive,
    releaseNeeded: () => settings.releaseNeeded !== null,
    startedAt,
    version: VERSION,
  })
  onStop(async () => metrics.stop())
  let lastAccountKey = 0
  /** Counters of accounts made since the last scrape appear, from 0, whichever instance made them. */
  const metricsText = async () => {
    const rows = await db
      .read({ sql: 'select key, tenant_id, id from accounts where key > $1 order by key', params: [lastAccountKey] })
      .catch(() => [])
    for (const row of rows) {
      metrics.account(row.tenant_id as string, row.id as string)
      lastAccountKey = Number(row.key)
    }
    return metrics.text()
  }

  // ---- the loops ----
  const loops: Loop[] = []
  const loop = (name: string, intervalMs: number, step: Parameters<typeof createLoop>[0]['step']): Loop => {
    const made = createLoop({ name, clock, log, intervalMs, step })
    loops.push(made)
    return made
  }
  const journal = db.dialect === 'sqlite' ? createFileJournal(config.database.url) : createTableJournal(db, steadyNow)
  onStop(async () => journal.close())
  const attachments = createAttachments(config, { db, sealer, clock, log, guard, linkKey })
  onStop(() => attachments.close())
  const settler = createSettler({ db, clock, log, journal, steadyNow })
  const reporter = createReporter({
    db,
    clock,
    log,
    random,
    guard,
    metrics,
    tracer,
    config,
    tenants: tenantsOf,
    leaseMarginMs: Math.min(30_000, config.queue.leaseMs),
    wakeLoop: () => reportLoop.wake(),
  })
  const pauses = createPauses(
    {
      db,
      clock,
      log,
      transport,
      loadAccounts: accountsOf,
      changed: () => wake.settings(),
      paused: account => metrics.accountPaused(account.tenantId, account.id),
      told(tenantId, accountId, deferred, failed) {
        if (deferred > 0) metrics.deferred(tenantId, accountId, deferred)
        if (failed > 0) metrics.error(tenantId, accountId, failed)
        local.reports([tenantId])
      },
      probed: ok => metrics.probed(ok),
      resumed: key => local.queue([key], 3),
    },
    {
      probeFirstMs: config.smtp.probeFirstMs,
      probeMaxMs: config.smtp.probeMaxMs,
      patienceMs: patience(config),
    },
  )
  const events = createDeliveryEvents({
    db,
    clock,
    log,
    metrics,
    steadyNow,
    logAttempts: config.logging.deliveryActivity,
    pause: (account, text, code) => pauses.pause(account, text, code).then(() => pauseLoop.wake()),
    worked: account => pauses.worked(account),
    reports: tenantIds => local.reports(tenantIds),
  })
  const dispatcher: Dispatcher = createDispatcher(
    {
      db,
      clock,
      log,
      random,
      steadyNow,
      transport,
      journal,
      settings,
      settler,
      async fetchAttachments(content, { tenant, account }, signal) {
        const origins = await attachments.volumeOrigins(tenant.id)
        const context = fetchContext(tenant, account.id, config.attachments, origins)
        return attachments.fetcher.fetch(content.attachments ?? [], context, signal)
      },
      offload: attachments.offloader.offload,
      lease: () => keeper.lease,
      mayClaim: () => !state.draining && !disk.isLow(),
      wakeLoop: () => dispatchLoop.wake(),
      events,
      tracer,
    },
    {
      maxConcurrentSends: config.queue.maxConcurrentSends,
      batchSizePerAccount: config.queue.batchSizePerAccount,
      maxRetries: config.queue.maxRetries,
      retryDelaysMs: config.queue.retryDelaysMs,
      slowSendMs: config.smtp.slowSendMs,
      leaseMs: config.queue.leaseMs,
      testMode: config.scheduler.testMode,
    },
  )
  const keeper = createLeaseKeeper({
    db,
    clock,
    log,
    steadyNow,
    holder: `${hostname()} process ${process.pid}`,
    leaseMs: config.queue.leaseMs,
    journal,
    epoch: () => currentEpoch(db),
    rescueDeps: epoch => ({
      db,
      log,
      journal,
      epoch,
      steadyNow,
      fallback: { maxRetries: config.queue.maxRetries, retryDelaysMs: config.queue.retryDelaysMs, inDoubt: 'retry' },
      async settingsOf(key) {
        const lookup = (await settings.get([key])).get(key)
        if (lookup === undefined) return null
        const { maxRetries, retryDelaysMs } = config.queue
        return { limits: lookup.limits, policy: { maxRetries, retryDelaysMs, inDoubt: lookup.account.inDoubt } }
      },
    }),
    flush: () => Promise.race([settler.idle(), clock.sleep(FLUSH_MS)]),
    changed: lease => (lease === null ? dispatcher.abandon() : dispatchLoop.wake()),
    rescued(result) {
      for (const each of result.doubts) events.leftInDoubt(each.claimed, each.transition)
      local.queue(result.accountKeys, 0)
      local.reports(result.tenantIds)
    },
  })
  const janitor = createJanitor({
    db,
    clock,
    retentionMs: config.queue.retentionMs,
    commandLogRetentionMs: config.queue.commandLogRetentionMs,
    ended: tenantIds => local.reports(tenantIds),
  })

  const fileRemover = createFileRemover({ db, sealer, clock, log, storeOf: attachments.offloadStore })

  const local = {
    queue(keys: readonly number[], priority: number) {
      dispatcher.hint(keys, priority)
      dispatchLoop.wake()
    },
    reports(tenantIds: readonly string[]) {
      reporter.wake(tenantIds)
      reportLoop.wake()
    },
    runNow(tenantId: string | null) {
      dispatcher.runNow(tenantId)
      reporter.runNow(tenantId)
      dispatchLoop.wake()
      reportLoop.wake()
    },
    settingsChanged() {
      settings.forget()
      dispatcher.reconsider()
      dispatchLoop.wake()
      pauseLoop.wake()
    },
  }
  const wake = createWake(
    db,
    local,
    () => settings.bump(),
    error => log.warning(`A change of settings could not be told to other instances: ${error.message}`),
  )

  const dispatchLoop = loop('dispatch', config.queue.loopIntervalMs, dispatcher.step)
  const reportLoop = loop('report', 1_000, async () => {
    if (settings.releaseNeeded !== null) return { nextAt: null, again: false }
    const { nextAt, busy } = await reporter.step()
    return { nextAt, again: busy }
  })
  // A pause is told to all instances when it begins.
  const pauseLoop = loop('pause', 5_000, async () =>
    settings.releaseNeeded === null ? pauses.step() : { nextAt: null, again: false },
  )
  const leaseLoop = loop('lease', config.queue.leaseMs / 4, keeper.step)
  const janitorLoop = loop('maintenance', 1_000, janitor.step)
  const cacheLoop = loop('cache', 60_000, async () => {
    await attachments.cache.sweep()
    await pruneUploads(db, clock.now(), UPLOAD_GRACE_MS)
    return { nextAt: null, again: false }
  })
  // A restored database may not know that a file was put into further mails since, and given more time.
  const fileLoop = loop('file', 60_000, async () =>
    settings.releaseNeeded === null ? fileRemover.step() : { nextAt: null, again: false },
  )
  const diskLoop = loop('disk', 5_000, async () => {
    await disk.measure()
    return { nextAt: null, again: false }
  })
  const lineageLoop = loop('lineage', GROW_EVERY_MS, lineage.step)
  /** What waits for an instant that a clock of before had reckoned. */
  const putTimesRight = () =>
    Promise.all([
      reporter.clockWasSet(),
      pauses.clockWasSet(),
      pullBackRetries(db, clock.now(), Math.max(...config.queue.retryDelaysMs) * 1.1),
    ])
  clock.onSet(byMs => {
    const direction = byMs > 0 ? 'ahead' : 'back'
    log.warning(`The clock was set ${direction} by ${Math.round(Math.abs(byMs) / 1000)} s`)
    dispatcher.reconsider()
    putTimesRight()
      .catch(error => log.warning(`What waits could not be put right: ${(error as Error).message}`))
      .finally(() => {
        for (const each of [dispatchLoop, reportLoop, pauseLoop]) each.wake()
      })
  })
  // An API process dispatches nothing, yet it tells whether the scheduler is on.
  const settingsLoop = loop('settings', 1_000, async () => {
    await settings.refresh()
    return { nextAt: null, again: false }
  })

  // ---- HTTP ----
  const testRoom = createTestRoom()
  const probe = async (account: Account): Promise<AccountTest> => {
    const conversation: string[] = []
    try {
      await transport.probe(account, AbortSignal.timeout(60_000), conversation)
      return { ok: true, conversation }
    } catch (error) {
      const why = error instanceof SmtpFailure ? failureWords(error) : (error as Error).message
      return { ok: false, conversation, error: why }
    }
  }
  const deps: HttpDeps = {
    config,
    db,
    clock,
    log,
    sealer,
    wake,
    tracer,
    version: VERSION,
    startedAt,
    status: () => ({
      schedulerActive: settings.schedulerActive,
      releaseNeeded: settings.releaseNeeded,
      draining: state.draining,
    }),
    ready: () => readiness(db, state.draining),
    metricsText,
    accepted({ queued, rejected }) {
      metrics.accepted(queued)
      for (const { code } of rejected) metrics.rejected(code, 1)
    },
    freeDiskMb: () => disk.freeMb(),
    files: attachments.files,
    knownVolumes: createKnownVolumes({ db, clock, forgotten: attachments.forgetOrigins }),
    volumeProblem,
    loops: () => loops.map(each => each.progress()),
    diagnostics: () => readDiagnostics({ db, clock, settings, steadyNow }),
    testSync: tenant => testRoom.during(tenant.id, () => reporter.test(tenant)),
    tenantDeleted: id => attachments.cache.forget(id),
    nextOpening: (accountKey, now) => nextOpening(settings, accountKey, now),
    probeAccount: account => testRoom.during(account.tenantId, () => probe(account)),
  }
  // A worker tells how it is and takes no messages.
  const app = config.server.role === 'worker' ? buildApp(deps, [systemRoutes]) : buildApp(deps)

  if (works) {
    await keeper.begin(db.dialect === 'sqlite')
    if (db.dialect === 'sqlite') await freeAllLeases(db)
    // The clock may have been set while nobody looked.
    await putTimesRight()
    onStop(async () => {
      await leaseLoop.stop()
      await keeper.end()
    })
    const housekeeping = [janitorLoop, diskLoop, lineageLoop, cacheLoop, fileLoop]
    for (const each of [dispatchLoop, reportLoop, pauseLoop, leaseLoop, ...housekeeping]) each.start()
  } else if (overrides.offline !== true) {
    for (const each of [diskLoop, settingsLoop, lineageLoop]) each.start()
  }
  onStop(async () => {
    // A client that never reads its answer must not hold up the rest of the stop.
    await Promise.race([app.close(), clock.sleep(CLOSE_MS)])
  })
  onStop(async () => {
    // The API answers until the mail under way is done: a load balancer sees /ready, a client the reason and when to retry.
    state.draining = true
    const others = loops.filter(each => each !== leaseLoop)
    // Claims end first, then what is in flight; the lease is renewed until the last of it is settled.
    const stopped = Promise.all(others.map(each => each.stop()))
    pauses.stop()
    fileRemover.stop()
    if (works) await dispatcher.drain(Math.max(1_000, config.queue.stopTimeoutMs - 4_000))
    await reporter.stop(1_000)
    await Promise.race([stopped, clock.sleep(2_000)])
  })
  if (overrides.offline === true) await app.ready()
  const url = overrides.offline === true ? '' : await listen(app, config.server)
  return { app, db, url }
}

/** A scrape names no more paused accounts than this; it counts them all. */
const MOST_PAUSED_NAMED = 1_000
/** How long results that waited for the database have to be written before what is left counts as doubtful, ms. */
const FLUSH_MS = 3_000
/** How long a large content may wait for its message to be accepted, ms. */
const UPLOAD_GRACE_MS = 3_600_000
/** How long open requests may take to end when the service stops, ms. */
const CLOSE_MS = 2_000

/** The sum of all waits of the retry schedule: a pause longer than this fails what waited through it. */
function patience({ queue }: Config): number {
  let sum = 0
  for (let i = 0; i < queue.maxRetries; i += 1)
    sum += queue.retryDelaysMs[Math.min(i, queue.retryDelaysMs.length - 1)] ?? 0
  return sum
}

async function readiness(db: Db, draining: boolean) {
  const problems: string[] = []
  if (draining) problems.push('stopping')
  try {
    const { current, latest } = await migrationStatus(db)
    if (current !== latest) problems.push(`the database has schema ${current}, this version needs ${latest}`)
  } catch {
    problems.push('the database cannot be reached')
  }
  return { ok: problems.length === 0, problems }
}

async function nextOpening(settings: Settings, accountKey: number, now: number): Promise<number | null> {
  const lookup = (await settings.get([accountKey])).get(accountKey)
  const opening = lookup?.opening(now)
  if (opening === undefined || opening.kind === 'continuous') return null
  return opening.kind === 'open' ? opening.nextTick : opening.opensAt
}
