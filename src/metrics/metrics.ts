/**
 * The service's Prometheus metrics (spec section 8), all named gmp_*. Counters are this process's; the gauge of
 * pending messages is the database's, so over several instances take its maximum and not the sum.
 */
import { Counter, Gauge, Histogram, monitorEventLoop, Registry } from './registry.js'

export interface MetricsPorts {
  /** Open messages in the database. */
  pending(): Promise<number>
  /** Of this process; zeros where no worker runs. */
  sends(): { inFlight: number; buffered: number }
  connections(): { open: number; idle: number }
  pausedAccounts(): Promise<number>
  inDoubt(): Promise<number>
  version: string
}

export interface Metrics {
  /** Makes an account's counters appear, from 0. */
  account(tenantId: string, accountId: string): void
  sent(tenantId: string, accountId: string, waitSeconds: number): void
  error(tenantId: string, accountId: string, count?: number): void
  deferred(tenantId: string, accountId: string, count?: number): void
  rateLimited(tenantId: string, accountId: string, count: number): void
  retried(tenantId: string, accountId: string): void
  inDoubt(tenantId: string, accountId: string): void
  transaction(seconds: number, result: 'ok' | 'refused' | 'failed'): void
  accountPaused(tenantId: string, accountId: string): void
  probed(ok: boolean): void
  accepted(count: number): void
  posted(tenantId: string, entries: number, seconds: number): void
  failed(tenantId: string): void
  dropped(tenantId: string, entries: number): void
  text(): Promise<string>
  stop(): void
}

const LABELS = ['tenant_id', 'account_id'] as const

export function createMetrics(ports: MetricsPorts): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const byAccount = (name: string, help: string) => new Counter({ name, help, labelNames: LABELS, registers })
  const sent = byAccount('gmp_sent_total', 'Messages a server took responsibility for')
  const errors = byAccount('gmp_errors_total', 'Messages that ended in an error')
  const deferred = byAccount('gmp_deferred_total', 'Times a message was put off, by retry, limit or pause')
  const limited = byAccount('gmp_rate_limited_total', 'Messages that met a full rate limit')
  const retries = byAccount('gmp_retries_total', 'Attempts after the first')
  const doubts = byAccount('gmp_in_doubt_total', 'Attempts that ended in doubt')
  const pauses = byAccount('gmp_account_pauses_total', 'Times an account was paused because its server refused it')
  const perAccount = [sent, errors, deferred, limited]
  const accepted = new Counter({ name: 'gmp_accepted_total', help: 'Messages taken into the queue', registers })
  const probes = new Counter({
    name: 'gmp_probes_total',
    help: 'Probes of paused accounts',
    labelNames: ['result'] as const,
    registers,
  })
  const posts = new Counter({
    name: 'gmp_report_posts_total',
    help: 'Report requests by result',
    labelNames: ['tenant_id', 'result'] as const,
    registers,
  })
  const entries = new Counter({
    name: 'gmp_report_entries_total',
    help: 'Report entries acknowledged',
    labelNames: ['tenant_id'] as const,
    registers,
  })
  const droppedEntries = new Counter({
    name: 'gmp_report_entries_dropped_total',
    help: 'Report entries given up after 30 days',
    labelNames: ['tenant_id'] as const,
    registers,
  })
  const wait = new Histogram({
    name: 'gmp_queue_wait_seconds',
    help: 'From due to accepted by a server',
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600, 14400],
    registers,
  })
  const smtp = new Histogram({
    name: 'gmp_smtp_transaction_seconds',
    help: 'Duration of SMTP transactions by result',
    labelNames: ['result'] as const,
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300],
    registers,
  })
  const report = new Histogram({
    name: 'gmp_report_post_seconds',
    help: 'Duration of acknowledged report requests',
    buckets: [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
    registers,
  })
  const lag = monitorEventLoop()
  const gauge = (name: string, help: string, read: () => number | Promise<number>) =>
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        try {
          this.set(await read())
        } catch {
          // The database is away: no value is truer than an old one.
          this.remove()
        }
      },
    })
  gauge(
    'gmp_pending_messages',
    'Messages not yet ended, in the whole database: take max over instances, not sum',
    ports.pending,
  )
  gauge('gmp_in_doubt_messages', 'Messages held in doubt', ports.inDoubt)
  gauge('gmp_paused_accounts', 'Accounts paused, in the whole database', ports.pausedAccounts)
  gauge('gmp_sends_in_flight', 'SMTP transactions under way', () => ports.sends().inFlight)
  gauge('gmp_sends_buffered', 'Messages claimed and about to be sent', () => ports.sends().buffered)
  gauge('gmp_smtp_connections_open', 'SMTP connections open', () => ports.connections().open)
  gauge('gmp_smtp_connections_idle', 'SMTP connections idle in the pool', () => ports.connections().idle)
  gauge('gmp_event_loop_lag_seconds', 'Event-loop delay since the last scrape, 99th percentile', () => lag.p99Seconds())
  gauge('gmp_resident_memory_bytes', 'Resident memory of this process', () => process.memoryUsage.rss())
  new Gauge({ name: 'gmp_build_info', help: 'Version that runs', labelNames: ['version'] as const, registers }).set(
    { version: ports.version },
    1,
  )

  return {
    account(tenantId, accountId) {
      for (const counter of perAccount) counter.inc({ tenant_id: tenantId, account_id: accountId }, 0)
    },
    sent(tenantId, accountId, waitSeconds) {
      sent.inc({ tenant_id: tenantId, account_id: accountId })
      wait.observe(waitSeconds)
    },
    error: (tenant_id, account_id, count = 1) => errors.inc({ tenant_id, account_id }, count),
    deferred: (tenant_id, account_id, count = 1) => deferred.inc({ tenant_id, account_id }, count),
    rateLimited: (tenant_id, account_id, count) => limited.inc({ tenant_id, account_id }, count),
    retried: (tenant_id, account_id) => retries.inc({ tenant_id, account_id }),
    inDoubt: (tenant_id, account_id) => doubts.inc({ tenant_id, account_id }),
    transaction: (seconds, result) => smtp.observe({ result }, seconds),
    accountPaused: (tenant_id, account_id) => pauses.inc({ tenant_id, account_id }),
    probed: ok => probes.inc({ result: ok ? 'ok' : 'failed' }),
    accepted: count => accepted.inc(count),
    posted(tenant_id, count, seconds) {
      posts.inc({ tenant_id, result: 'acknowledged' })
      entries.inc({ tenant_id }, count)
      report.observe(seconds)
    },
    failed: tenant_id => posts.inc({ tenant_id, result: 'failed' }),
    dropped: (tenant_id, count) => droppedEntries.inc({ tenant_id }, count),
    text: () => registry.metrics(),
    stop: () => lag.stop(),
  }
}
