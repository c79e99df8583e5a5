/** What the HTTP house asks of the rest of the service. */
import type { Account } from '../accounts/account.js'
import type { Config } from '../config.js'
import type { Db } from '../db/db.js'
import { migrationStatus } from '../db/migrate.js'
import { failureWords } from '../delivery/classify.js'
import type { Settings } from '../delivery/settings.js'
import type { AccountTest, HttpDeps, Readiness } from '../http/deps.js'
import type { Log } from '../lib/log.js'
import type { Loop } from '../lib/loop.js'
import { VERSION } from '../lib/version.js'
import type { Metrics } from '../metrics/metrics.js'
import { nextTurn } from '../rules/schedule.js'
import { KEY_NOT_HERE, type Keyring } from '../sealing/keyring.js'
import { keyState, rotate } from '../sealing/rotate.js'
import { readKeyCheck } from '../sealing/rotation.js'
import { type MailTransport, SmtpFailure } from '../smtp/transport.js'
import { createKnownVolumes } from '../volumes/known.js'
import { readDiagnostics } from './diagnostics.js'
import type { Ground } from './ground.js'
import { createTestRoom } from './test-room.js'
import { volumeProblem } from './volume-problem.js'

export interface HttpParts extends Pick<HttpDeps, 'wake' | 'tracer' | 'testSync'> {
  readonly metrics: Metrics
  loops(): readonly Loop[]
  /** A stop was asked for. */
  isDraining(): boolean
  /** False: the database could not be written when this was last needed. */
  canWrite(): boolean
}

export function httpDeps(config: Config, log: Log, ground: Ground, parts: HttpParts): HttpDeps {
  const { db, clock, sealer, settings, steadyNow, disk, attachments, transport, startedAt } = ground
  const { keptContents, keyTeller } = ground
  const { wake, tracer, metrics, loops, isDraining, canWrite, testSync } = parts
  const testRoom = createTestRoom()
  const rotation = { db, clock, ring: sealer, steadyNow, tell: keyTeller?.say ?? null }
  return {
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
      draining: isDraining(),
    }),
    ready: () => readiness(db, sealer, { isDraining, canWrite }),
    metricsText: () => metrics.text(),
    accepted({ queued, rejected }) {
      metrics.accepted(queued)
      for (const { code } of rejected) metrics.rejected(code, 1)
    },
    freeDiskMb: () => disk.freeMb(),
    files: attachments.files,
    keptContents,
    sealingKey: {
      state: () => keyState(rotation),
      rotate: () => rotate(rotation, ROTATE_MS),
    },
    knownVolumes: createKnownVolumes({ db, clock, forgotten: attachments.forgetOrigins }),
    volumeProblem,
    loops: () => loops().map(each => each.progress()),
    diagnostics: () => readDiagnostics({ db, clock, settings, steadyNow }),
    testSync: tenant => testRoom.during(tenant.id, () => testSync(tenant)),
    tenantDeleted: id => attachments.cache.forget(id),
    nextOpening: (accountKey, now) => nextOpening(settings, accountKey, now),
    probeAccount: account => testRoom.during(account.tenantId, () => probe(transport, account)),
  }
}

/** How long a request to change the sealing key works before it answers how far it is, ms. */
const ROTATE_MS = 2_000

async function probe(transport: MailTransport, account: Account): Promise<AccountTest> {
  const conversation: string[] = []
  try {
    await transport.probe(account, AbortSignal.timeout(60_000), conversation)
    return { ok: true, conversation }
  } catch (error) {
    const why = error instanceof SmtpFailure ? failureWords(error) : (error as Error).message
    return { ok: false, conversation, error: why }
  }
}

type State = Pick<HttpParts, 'isDraining' | 'canWrite'>

async function readiness(db: Db, ring: Keyring, { isDraining, canWrite }: State): Promise<Readiness> {
  const problems: string[] = []
  if (isDraining()) problems.push('stopping')
  try {
    const { current, latest } = await migrationStatus(db)
    if (current !== latest) problems.push(`the database has schema ${current}, this version needs ${latest}`)
    const check = await readKeyCheck(db)
    if (check !== null && !ring.has(check)) problems.push(KEY_NOT_HERE)
    if (!canWrite()) problems.push('the database cannot be written')
  } catch {
    problems.push('the database cannot be reached')
  }
  return { ok: problems.length === 0, problems }
}

async function nextOpening(settings: Settings, accountKey: number, now: number): Promise<number | null> {
  const lookup = (await settings.get([accountKey])).get(accountKey)
  const opening = lookup?.opening(now)
  return opening === undefined ? null : nextTurn(opening)
}
