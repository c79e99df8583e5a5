/**
 * What the loops and the API stand on: the database with its clocks and keys, the records kept in memory, the way to
 * SMTP servers, the attachments. Opened in the order in which these need each other.
 */
import { hostname } from 'node:os'
import type { Account } from '../accounts/account.js'
import { loadAccounts } from '../accounts/store.js'
import type { Config } from '../config.js'
import type { Db } from '../db/db.js'
import { migrate } from '../db/migrate.js'
import { openDatabase } from '../db/open.js'
import { createSettings, type Settings } from '../delivery/settings.js'
import { type Clock, systemClock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import { createNetworkGuard, type NetworkGuard } from '../lib/network-guard.js'
import { createKeptContents, type KeptContents } from '../queue/kept-contents.js'
import { beginScheduler } from '../queue/suspension.js'
import { listRules } from '../rules/store.js'
import type { Keyring } from '../sealing/keyring.js'
import { createKeyTeller, type KeyTeller } from '../sealing/teller.js'
import { createTransport } from '../smtp/pool.js'
import type { MailTransport } from '../smtp/transport.js'
import { ensureDefaultTenant, loadTenants } from '../tenants/store.js'
import type { Tenant } from '../tenants/tenant.js'
import { seedVolumes } from '../volumes/seed.js'
import { createAccessTokens } from './access-tokens.js'
import { type Attachments, createAttachments } from './attachments.js'
import { type WatchedClock, watchClock } from './clock-watch.js'
import { createDisk, type Disk } from './disk.js'
import { openKeys } from './key.js'
import { createLineage, type Lineage } from './lineage.js'
import { type Boot, openSteadyClock, systemBoot } from './steady-clock.js'
import { volumeProblem } from './volume-problem.js'

export interface GroundOptions {
  readonly clock?: Clock
  /** In place of the machine's boot, with a clock of which it knows nothing. */
  readonly boot?: Boot
  /** Certificate authorities (PEM) trusted for SMTP in place of the system's. */
  readonly smtpCa?: string
  /** Opened already; left out: it is opened here. Closed with the service either way. */
  readonly db?: Db
  /** Stands between the service and its database, to watch it or to fail in its place. */
  readonly aroundDb?: (db: Db) => Db
  /** Nothing listens, no loop runs, and nothing is going to be sent; see openOffline in service.ts. */
  readonly offline?: boolean
}

export interface Ground {
  /** When this process began, epoch ms. */
  readonly startedAt: number
  /** Host and process, for people. */
  readonly holder: string
  readonly clock: WatchedClock
  readonly db: Db
  /** Leases and limits run on it: on SQLite it cannot jump. */
  readonly steadyNow: () => number
  readonly sealer: Keyring
  /** null: no other process can be on this database. */
  readonly keyTeller: KeyTeller | null
  readonly guard: NetworkGuard
  readonly transport: MailTransport
  readonly settings: Settings
  readonly disk: Disk
  readonly lineage: Lineage
  readonly attachments: Attachments
  /** null on PostgreSQL, where others replace and claim too. */
  readonly keptContents: KeptContents | null
  /** Records with their secrets open; one whose secrets cannot be opened is logged and left out. */
  accountsOf(keys: readonly number[]): Promise<Account[]>
  tenantsOf(ids: readonly string[]): Promise<ReadonlyMap<string, Tenant>>
}

/** How long each may take when the service stops, ms: open requests, the end of the lease, a farewell to the database. */
export const CLOSE_MS = 2_000

/** `onStop` is told how to close each, and calls backwards. Rejects with what keeps the service from starting. */
export async function openGround(
  config: Config,
  log: Log,
  options: GroundOptions,
  onStop: (undo: () => Promise<void>) => void,
): Promise<Ground> {
  const clock = watchClock(options.clock ?? systemClock)
  const startedAt = clock.now()
  // A clock put in place of the system's moves the database's time too, or its leases and limits would stand still.
  const dbClock = options.clock === undefined ? 'database' : 'process'
  const opened = options.db ?? (await openDatabase(config, { log, exclusive: true, clock: dbClock }))
  onStop(() => opened.close())
  const db = options.aroundDb?.(opened) ?? opened
  await migrate(db)
  // Leases and limits on SQLite run on a clock that cannot jump; PostgreSQL uses its own.
  const unknownBoot = { id: null, uptimeMs: 0 }
  const boot = options.boot ?? (options.clock === undefined ? systemBoot() : unknownBoot)
  const steadyNow = await openSteadyClock(db, clock, boot)
  const sealer = await openKeys(db, config, log)
  const holder = `${hostname()} process ${process.pid}`
  const shared = db.dialect === 'postgres' && options.offline !== true
  const keyTeller = shared ? createKeyTeller({ db, clock, ring: sealer, holder, steadyNow }) : null
  await keyTeller?.say()
  if (keyTeller !== null) onStop(() => Promise.race([keyTeller.end(), clock.sleep(CLOSE_MS)]))
  await beginScheduler(db, config.scheduler.active)
  await ensureDefaultTenant(db, clock.now())
  const volumeLines = { lines: config.volumes, variables: config.volumeVariables }
  await seedVolumes({ db, sealer, log, volumeProblem }, volumeLines, clock.now())
  const lineage = createLineage(db, config.instance.dir, log)
  if (options.offline !== true) await lineage.begin(config.database.release)
  const disk = createDisk(config)
  await disk.measure()

  const guard = createNetworkGuard(config.network)
  const tokens = createAccessTokens({ db, sealer, clock, log, guard })
  onStop(() => tokens.close())
  const transport = createTransport(config.smtp, { clock, guard, log, tokens, ca: options.smtpCa })
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
    globalEndpoint: config.reports,
    loadAccounts: accountsOf,
    loadTenants: tenantsOf,
    loadRules: () => listRules(db),
  })
  await settings.refresh()
  const works = options.offline !== true && config.server.role !== 'api'
  const attachments = createAttachments(config, { db, sealer, clock, log, guard, linkKeys: sealer.linkKeys })
  onStop(() => attachments.close())
  return {
    startedAt,
    clock,
    db,
    steadyNow,
    sealer,
    holder,
    keyTeller,
    guard,
    transport,
    settings,
    disk,
    lineage,
    attachments,
    keptContents: db.dialect === 'sqlite' && works ? createKeptContents(clock.monotonic) : null,
    accountsOf,
    tenantsOf,
  }
}
