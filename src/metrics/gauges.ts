/**
 * Gauges, read when somebody scrapes. What the database tells is asked once a scrape, and for all gauges together; when
 * it cannot be reached those gauges are absent, for no value is truer than an old one, and gmp_database_up says 0.
 */
import type { DueOfAccount, QueueState } from '../queue/state.js'
import { Counter, type EventLoopMonitor, Gauge, type GaugeOf, type Registry } from './registry.js'

export interface GaugePorts {
  readonly clock: { now(): number; monotonic(): number }
  // ---- of the whole database ----
  queue(): Promise<Pick<QueueState, 'due' | 'waiting' | 'sending' | 'inDoubt' | 'byAge' | 'oldestDueAt' | 'accounts'>>
  /** Of those accounts the ones that are held back on purpose, and by what. */
  held(
    accounts: readonly DueOfAccount[],
  ): Promise<readonly { readonly tenantId: string; readonly accountId: string; readonly by: string }[]>
  /** Accounts that are paused: some of them by name, and how many there are. */
  paused(): Promise<{
    readonly count: number
    readonly accounts: readonly { readonly tenantId: string; readonly id: string; readonly kind: string }[]
  }>
  /** Entries that tenants have not acknowledged. */
  reports(): Promise<readonly { readonly tenantId: string; readonly entries: number; readonly oldestAt: number }[]>
  // ---- of this process; zeros where no worker runs ----
  sends(): { readonly inFlight: number; readonly buffered: number; readonly most: number }
  connections(): { readonly open: number; readonly idle: number; readonly opened: number }
  cache(): { readonly hits: number; readonly misses: number; readonly memoryBytes: number; readonly diskBytes: number }
  /** Of the loops that run, how long ago each last went well, ms. */
  loops(): readonly { readonly name: string; readonly idleMs: number }[]
  /** null: of a remote database. */
  diskFreeBytes(): number | null
  readonly diskReserveBytes: number
  schedulerActive(): boolean
  releaseNeeded(): boolean
  readonly startedAt: number
  readonly version: string
}

/** A scrape names no more accounts and tenants than this, those that wait longest: what is behind them is in the sums. */
const MOST_NAMED = 1_000
const DATABASE_WIDE = 'in the whole database (max over instances, not sum)'
const TENANT = ['tenant_id'] as const
const ACCOUNT = ['tenant_id', 'account_id'] as const

export function addGauges(registry: InstanceType<typeof Registry>, ports: GaugePorts, lag: EventLoopMonitor): void {
  const registers = [registry]
  const { clock } = ports
  const queue = remembered(ports.queue, clock)
  const paused = remembered(ports.paused, clock)
  const reports = remembered(ports.reports, clock)
  const held = remembered(async () => ports.held((await queue()).accounts.slice(0, MOST_NAMED)), clock)

  /** One whose values stand in the database. */
  const told = <T, L extends string>(
    read: () => Promise<T>,
    name: string,
    help: string,
    labelNames: readonly L[],
    set: (gauge: GaugeOf<L>, value: T) => void,
  ) =>
    new Gauge<L>({
      name,
      help,
      labelNames,
      registers,
      async collect() {
        const value = await read().catch(() => null)
        this.reset()
        if (value !== null) set(this, value)
        // A gauge without labels is 0 after a reset, and absent is meant.
        else if (labelNames.length === 0) this.remove()
      },
    })
  const ageSeconds = (since: number | null) => (since === null ? 0 : Math.max(0, clock.now() - since) / 1000)
  const of = (each: Pick<DueOfAccount, 'tenantId' | 'accountId'>) => ({
    tenant_id: each.tenantId,
    account_id: each.accountId,
  })

  told(queue, 'gmp_pending_messages', `Messages not yet ended, ${DATABASE_WIDE}`, [], (gauge, state) =>
    gauge.set(state.due + state.waiting + state.sending),
  )
  const states = ['due', 'waiting', 'sending'] as const
  told(
    queue,
    'gmp_queue_messages',
    `Messages by where they stand, ${DATABASE_WIDE}`,
    ['state'] as const,
    (gauge, state) => {
      for (const each of states) gauge.set({ state: each }, state[each])
      gauge.set({ state: 'in_doubt' }, state.inDoubt)
    },
  )
  told(
    queue,
    'gmp_due_messages',
    `Messages that could go now by how long they have been due, ${DATABASE_WIDE}`,
    ['age'] as const,
    (gauge, { byAge }) => {
      for (const [age, count] of byAge) gauge.set({ age }, count)
    },
  )
  told(
    queue,
    'gmp_due_oldest_age_seconds',
    `How long the oldest due message has been due, ${DATABASE_WIDE}`,
    [],
    (gauge, { oldestDueAt }) => gauge.set(ageSeconds(oldestDueAt)),
  )
  told(
    queue,
    'gmp_account_due_messages',
    `Due messages of the ${MOST_NAMED} accounts that wait longest, ${DATABASE_WIDE}`,
    ACCOUNT,
    (gauge, { accounts }) => {
      for (const each of accounts.slice(0, MOST_NAMED)) gauge.set(of(each), each.due)
    },
  )
  told(
    queue,
    'gmp_account_due_oldest_age_seconds',
    `How long the oldest due message of each of those has been due, ${DATABASE_WIDE}`,
    ACCOUNT,
    (gauge, { accounts }) => {
      for (const each of accounts.slice(0, MOST_NAMED)) gauge.set(of(each), ageSeconds(each.oldestDueAt))
    },
  )
  told(
    held,
    'gmp_account_held',
    `1 for each of those that is held back on purpose, by pause, suspension, rule or limit, ${DATABASE_WIDE}`,
    [...ACCOUNT, 'by'] as const,
    (gauge, accounts) => {
      for (const each of accounts) gauge.set({ ...of(each), by: each.by }, 1)
    },
  )
  told(queue, 'gmp_in_doubt_messages', `Messages held in doubt, ${DATABASE_WIDE}`, [], (gauge, { inDoubt }) =>
    gauge.set(inDoubt),
  )
  told(paused, 'gmp_paused_accounts', `Accounts paused, ${DATABASE_WIDE}`, [], (gauge, { count }) => gauge.set(count))
  told(
    paused,
    'gmp_account_paused',
    `1 for an account paused by failure or by an operator (manual), at most ${MOST_NAMED}, ${DATABASE_WIDE}`,
    [...ACCOUNT, 'kind'] as const,
    (gauge, { accounts }) => {
      for (const { tenantId, id, kind } of accounts) gauge.set({ tenant_id: tenantId, account_id: id, kind }, 1)
    },
  )
  told(
    reports,
    'gmp_report_entries_pending',
    `Report entries not acknowledged, of the ${MOST_NAMED} tenants that wait longest, ${DATABASE_WIDE}`,
    TENANT,
    (gauge, owed) => {
      for (const each of owed.slice(0, MOST_NAMED)) gauge.set({ tenant_id: each.tenantId }, each.entries)
    },
  )
  told(
    reports,
    'gmp_report_oldest_age_seconds',
    `How long the oldest entry of each of those has waited, ${DATABASE_WIDE}`,
    TENANT,
    (gauge, owed) => {
      for (const each of owed.slice(0, MOST_NAMED)) gauge.set({ tenant_id: each.tenantId }, ageSeconds(each.oldestAt))
    },
  )
  new Gauge({
    name: 'gmp_database_up',
    help: '1 if the database gave this process the figures of the scrape',
    registers,
    async collect() {
      this.set(
        await queue().then(
          () => 1,
          () => 0,
        ),
      )
    },
  })

  /** One of this process. */
  const own = (name: string, help: string, read: () => number | null) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = read()
        if (value === null) this.remove()
        else this.set(value)
      },
    })
  own('gmp_scheduler_active', '1 while the scheduler is on, 0 while everything is suspended', () =>
    Number(ports.schedulerActive()),
  )
  own('gmp_release_needed', '1 while nothing is sent because the database looks restored', () =>
    Number(ports.releaseNeeded()),
  )
  own('gmp_sends_in_flight', 'SMTP transactions under way', () => ports.sends().inFlight)
  own('gmp_sends_limit', 'Most of them at once (GMP_MAX_CONCURRENT_SENDS)', () => ports.sends().most)
  own('gmp_sends_buffered', 'Messages claimed and about to be sent', () => ports.sends().buffered)
  own('gmp_smtp_connections_open', 'SMTP connections open', () => ports.connections().open)
  own('gmp_smtp_connections_idle', 'SMTP connections idle in the pool', () => ports.connections().idle)
  own('gmp_attachment_cache_memory_bytes', 'Attachments cached in memory', () => ports.cache().memoryBytes)
  own(
    'gmp_attachment_cache_disk_bytes',
    'Attachments cached on disk, as of the last sweep',
    () => ports.cache().diskBytes,
  )
  own('gmp_disk_free_bytes', 'Free disk where the SQLite database lies; absent with PostgreSQL', ports.diskFreeBytes)
  own('gmp_disk_reserve_bytes', 'Below so much nothing is accepted or claimed (GMP_MIN_FREE_MB)', () =>
    ports.diskFreeBytes() === null ? null : ports.diskReserveBytes,
  )
  own('gmp_event_loop_lag_seconds', 'How late timers were since the last scrape, 99th percentile', () =>
    lag.p99Seconds(),
  )
  own('gmp_resident_memory_bytes', 'Resident memory of this process', () => process.memoryUsage.rss())
  own('gmp_start_time_seconds', 'When this process started, Unix time', () => ports.startedAt / 1000)
  new Gauge({
    name: 'gmp_loop_idle_seconds',
    help: 'How long ago each loop of this process last went well',
    labelNames: ['loop'] as const,
    registers,
    collect() {
      for (const { name, idleMs } of ports.loops()) this.set({ loop: name }, idleMs / 1000)
    },
  })
  new Gauge({ name: 'gmp_build_info', help: 'Version that runs', labelNames: ['version'] as const, registers }).set(
    { version: ports.version },
    1,
  )

  /** One that others count. */
  const counted = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(read())
      },
    })
  counted('gmp_smtp_connections_opened_total', 'SMTP connections opened', () => ports.connections().opened)
  counted('gmp_attachment_cache_hits_total', 'Attachments found in the cache', () => ports.cache().hits)
  counted(
    'gmp_attachment_cache_misses_total',
    'Attachments looked for in the cache in vain',
    () => ports.cache().misses,
  )
  counted('gmp_cpu_seconds_total', 'Processor time of this process, user and system', () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
}

/** Twenty times what an answer took it stands for: scrapes by however many take no more than a twentieth of a reader. */
const REMEMBER_FACTOR = 20
const REMEMBER_MAX_MS = 30_000
/** What takes no longer is not worth remembering. */
const QUICK_MS = 2
/** Prometheus gives a scrape 10 s: the figures of this process must come also when the database does not answer. */
const PATIENCE_MS = 4_000

/** Asked once for all who ask while it runs. Rejects when there is no answer in time. */
function remembered<T>(read: () => Promise<T>, clock: GaugePorts['clock']): () => Promise<T> {
  let until = 0
  let known: Promise<T> | null = null
  return () => {
    const started = clock.monotonic()
    if (known !== null && started < until) return known
    until = Number.POSITIVE_INFINITY
    const answer = inTime(read())
    known = answer
    answer.then(
      () => {
        const now = clock.monotonic()
        const tookMs = now - started
        until = tookMs <= QUICK_MS ? 0 : now + Math.min(REMEMBER_MAX_MS, tookMs * REMEMBER_FACTOR)
      },
      () => {
        until = 0
      },
    )
    return answer
  }
}

function inTime<T>(answer: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the database does not answer')), PATIENCE_MS)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
