/**
 * The composition root: reads like a wiring diagram. createService opens nothing; start() does, in the order in which
 * things depend on each other, and stop() undoes it backwards.
 */
import type { FastifyInstance } from 'fastify'
import type { Config } from './config.js'
import type { Db } from './db/db.js'
import { fetchContext } from './delivery/attachments.js'
import { createDispatcher, type Dispatcher } from './delivery/dispatcher.js'
import { createDeliveryEvents } from './delivery/events.js'
import { createPauses } from './delivery/pauses.js'
import { createSettler } from './delivery/settler.js'
import { buildApp } from './http/app.js'
import { listen } from './http/listen.js'
import { systemRoutes } from './http/routes/system.js'
import type { Log } from './lib/log.js'
import { createLoop, type Loop } from './lib/loop.js'
import { anyOf, type Ready } from './lib/wake.js'
import { createFileRemover } from './maintenance/file-remover.js'
import { createJanitor } from './maintenance/janitor.js'
import { createLeaseKeeper } from './maintenance/lease-keeper.js'
import { createFileJournal, createTableJournal, currentEpoch } from './queue/doubt-journal.js'
import { pullBackRetries } from './queue/due.js'
import { pruneUploads } from './queue/uploads.js'
import { freeAllLeases } from './reports/outbox.js'
import { createReporter } from './reports/reporter.js'
import { CLOSE_MS, type GroundOptions, openGround } from './service/ground.js'
import { createWake } from './service/hints.js'
import { httpDeps } from './service/http-deps.js'
import { GROW_EVERY_MS } from './service/lineage.js'
import { createServiceMetrics } from './service/own-metrics.js'
import { NO_TRACING, type Tracer } from './tracing/tracer.js'

export interface Overrides extends GroundOptions {
  readonly random?: () => number
  /** None unless given. */
  readonly tracer?: Tracer
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
  const random = overrides.random ?? Math.random
  const tracer = overrides.tracer ?? NO_TRACING
  const works = config.server.role !== 'api'
  const state = { draining: false }
  const ground = await openGround(config, log, overrides, onStop)
  const { clock, db, steadyNow, sealer, guard, transport, settings, disk, lineage, attachments } = ground
  const { accountsOf, tenantsOf, keptContents, holder, keyTeller } = ground
  const metrics = createServiceMetrics(config, ground, {
    sends: () => dispatcher.stats(),
    loops: () => loops,
  })
  onStop(async () => metrics.stop())

  // ---- the loops ----
  const loops: Loop[] = []
  const loop = (name: string, intervalMs: number, step: Parameters<typeof createLoop>[0]['step']): Loop => {
    const made = createLoop({ name, clock, log, intervalMs, step })
    loops.push(made)
    return made
  }
  const journal = db.dialect === 'sqlite' ? createFileJournal(config.database.url) : createTableJournal(db, steadyNow)
  onStop(async () => journal.close())
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
      changed: () => void wake.settings(),
      paused: account => metrics.accountPaused(account.tenantId, account.id),
      told(tenantId, accountId, deferred, failed) {
        if (deferred > 0) metrics.deferred(tenantId, accountId, deferred)
        if (failed > 0) metrics.error(tenantId, accountId, failed)
        local.reports([tenantId])
      },
      probed: ok => metrics.probed(ok),
      resumed: key => local.queue([anyOf(key)]),
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
    settings,
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
      kept: keptContents,
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
    holder,
    leaseMs: config.queue.leaseMs,
    journal,
    epoch: () => currentEpoch(db),
    rescueDeps: epoch => ({
      log,
      journal,
      epoch,
      steadyNow,
      policyOf: inDoubt => ({
        maxRetries: config.queue.maxRetries,
        retryDelaysMs: config.queue.retryDelaysMs,
        inDoubt,
      }),
    }),
    flush: () => Promise.race([settler.idle(), clock.sleep(FLUSH_MS)]),
    changed: lease => (lease === null ? dispatcher.abandon() : dispatchLoop.wake()),
    rescued(result) {
      for (const each of result.doubts) events.leftInDoubt(each.claimed, each.transition)
      local.queue(result.accountKeys.map(key => anyOf(key)))
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
    queue(ready: readonly Ready[]) {
      dispatcher.hint(ready)
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
      dispatchLoop.wake()
      pauseLoop.wake()
    },
  }
  const wake = createWake(
    db,
    local,
    () => settings.bump(),
    error =>
      log.warning(`A change of settings could not be told to other instances, which is tried again: ${error.message}`),
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
    putTimesRight()
      .catch(error => log.warning(`What waits could not be put right: ${(error as Error).message}`))
      .finally(() => {
        // Turns and ticks were reckoned by the clock of before.
        settings.forget()
        for (const each of [dispatchLoop, reportLoop, pauseLoop]) each.wake()
      })
  })
  // Polled, for the key file may be on another machine than the one who changes the key.
  const keyLoops = keyTeller === null ? [] : [loop('keys', 5_000, keyTeller.step)]
  // An API process dispatches nothing, yet it tells whether the scheduler is on.
  const settingsLoop = loop('settings', 1_000, async () => {
    await settings.refresh()
    return { nextAt: null, again: false }
  })

  // ---- HTTP ----
  const deps = httpDeps(config, log, ground, {
    wake,
    tracer,
    metrics,
    loops: () => loops,
    isDraining: () => state.draining,
    testSync: tenant => reporter.test(tenant),
    canWrite: () => keeper.couldWrite,
  })
  // A worker tells how it is and takes no messages.
  const app = config.server.role === 'worker' ? buildApp(deps, [systemRoutes]) : buildApp(deps)

  if (works) {
    await keeper.begin(db.dialect === 'sqlite')
    if (db.dialect === 'sqlite') await freeAllLeases(db)
    // The clock may have been set while nobody looked.
    await putTimesRight()
    onStop(async () => {
      // A database that does not answer must not hold it up: the lease then runs out by itself, as after a crash.
      const ended = leaseLoop.stop().then(() => keeper.end())
      await Promise.race([ended, clock.sleep(CLOSE_MS)])
    })
    const housekeeping = [janitorLoop, diskLoop, lineageLoop, cacheLoop, fileLoop, ...keyLoops]
    for (const each of [dispatchLoop, reportLoop, pauseLoop, leaseLoop, ...housekeeping]) each.start()
  } else if (overrides.offline !== true) {
    for (const each of [diskLoop, settingsLoop, lineageLoop, ...keyLoops]) each.start()
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
    // What waits for a database that does not answer is not waited for.
    await Promise.race([Promise.all([reporter.stop(1_000), stopped]), clock.sleep(3_000)])
  })
  if (overrides.offline === true) await app.ready()
  const url = overrides.offline === true ? '' : await listen(app, config.server)
  return { app, db, url }
}

/** How long results that waited for the database have to be written before what is left counts as doubtful, ms. */
const FLUSH_MS = 3_000
/** How long a large content may wait for its message to be accepted, ms. */
const UPLOAD_GRACE_MS = 3_600_000

/** The sum of all waits of the retry schedule: a pause longer than this fails what waited through it. */
function patience({ queue }: Config): number {
  let sum = 0
  for (let i = 0; i < queue.maxRetries; i += 1)
    sum += queue.retryDelaysMs[Math.min(i, queue.retryDelaysMs.length - 1)] ?? 0
  return sum
}
