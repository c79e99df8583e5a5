/**
 * The service's Prometheus metrics (spec section 8), all named gmp_*: what is counted as it happens, and with it the
 * gauges of gauges.ts. Counters are this process's and begin at 0 with it.
 */
import { addGauges, type GaugePorts } from './gauges.js'
import { Histogram } from './histogram.js'
import { Counter, monitorEventLoop, Registry } from './registry.js'

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
  /** Messages refused on submission, by code. */
  rejected(code: string, count: number): void
  posted(tenantId: string, entries: number, seconds: number): void
  failed(tenantId: string): void
  dropped(tenantId: string, entries: number): void
  text(): Promise<string>
  stop(): void
}

const LABELS = ['tenant_id', 'account_id'] as const

export function createMetrics(ports: GaugePorts): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const byAccount = (name: string, help: string) => countByAccount(name, help, registers)
  const sent = byAccount('gmp_sent_total', 'Messages a server took responsibility for')
  const errors = byAccount('gmp_errors_total', 'Messages that ended in an error')
  const deferred = byAccount('gmp_deferred_total', 'Times a message was put off, by retry, limit or pause')
  const limited = byAccount('gmp_rate_limited_total', 'Messages that met a full rate limit')
  const retries = byAccount('gmp_retries_total', 'Attempts after the first')
  const doubts = byAccount('gmp_in_doubt_total', 'Attempts that ended in doubt')
  const pauses = byAccount('gmp_account_pauses_total', 'Times an account was paused because its server refused it')
  const perAccount = [sent, errors, deferred, limited]
  const accepted = new Counter({ name: 'gmp_accepted_total', help: 'Messages taken into the queue', registers })
  const refusals = new Counter({
    name: 'gmp_rejected_total',
    help: 'Messages refused on submission, by the code of the refusal',
    labelNames: ['code'] as const,
    registers,
  })
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
    labelName: 'result',
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
  addGauges(registry, ports, lag)

  return {
    account(tenantId, accountId) {
      for (const count of perAccount) count(tenantId, accountId, 0)
    },
    sent(tenantId, accountId, waitSeconds) {
      sent(tenantId, accountId)
      wait.observe(waitSeconds)
    },
    error: errors,
    deferred,
    rateLimited: limited,
    retried: retries,
    inDoubt: doubts,
    transaction: (seconds, result) => smtp.observe(seconds, result),
    accountPaused: pauses,
    probed: ok => probes.inc({ result: ok ? 'ok' : 'failed' }),
    accepted: count => accepted.inc(count),
    rejected: (code, count) => refusals.inc({ code }, count),
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

/**
 * A counter by account, as the function that counts. What it counts is added up here and handed over when somebody scrapes:
 * prom-client makes a string of the labels each time, 1 µs in place of 0.1.
 */
function countByAccount(name: string, help: string, registers: InstanceType<typeof Registry>[]) {
  const tenants = new Map<string, Map<string, number>>()
  new Counter({
    name,
    help,
    labelNames: LABELS,
    registers,
    collect() {
      for (const [tenant_id, accounts] of tenants) {
        for (const [account_id, count] of accounts) this.inc({ tenant_id, account_id }, count)
      }
      tenants.clear()
    },
  })
  return (tenantId: string, accountId: string, count = 1): void => {
    let accounts = tenants.get(tenantId)
    if (accounts === undefined) {
      accounts = new Map()
      tenants.set(tenantId, accounts)
    }
    accounts.set(accountId, (accounts.get(accountId) ?? 0) + count)
  }
}
