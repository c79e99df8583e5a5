/** The registry with one series of every metric, for tests that compare names, labels and HELP texts with it. */
import { createMetrics } from '../../src/metrics/metrics.js'

export interface MetricFacts {
  readonly name: string
  readonly type: string
  readonly labels: readonly string[]
  readonly help: string
}

export async function sampleMetrics(): Promise<MetricFacts[]> {
  const metrics = createMetrics({
    clock: { now: () => 1_000, monotonic: () => 0 },
    queue: async () => ({
      due: 1,
      waiting: 0,
      sending: 0,
      inDoubt: 0,
      byAge: new Map([['0-1m', 1]]),
      oldestDueAt: 0,
      accounts: [{ accountKey: 1, tenantId: 't', accountId: 'a', due: 1, oldestDueAt: 0 }],
    }),
    held: async () => [{ tenantId: 't', accountId: 'a', by: 'limit' }],
    paused: async () => ({ count: 1, accounts: [{ tenantId: 't', id: 'a', kind: 'failure' }] }),
    reports: async () => [{ tenantId: 't', entries: 1, oldestAt: 0 }],
    sends: () => ({ inFlight: 0, buffered: 0, most: 1 }),
    connections: () => ({ open: 0, idle: 0, opened: 0 }),
    cache: () => ({ hits: 0, misses: 0, memoryBytes: 0, diskBytes: 0 }),
    loops: () => [{ name: 'dispatch', idleMs: 0 }],
    diskFreeBytes: () => 1,
    diskReserveBytes: 1,
    schedulerActive: () => true,
    releaseNeeded: () => false,
    startedAt: 0,
    version: '0',
  })
  // Labels show once there is a series.
  metrics.account('t', 'a')
  metrics.sent('t', 'a', 1)
  metrics.retried('t', 'a')
  metrics.inDoubt('t', 'a')
  metrics.accountPaused('t', 'a')
  metrics.probed(true)
  metrics.rejected('x', 1)
  metrics.transaction(1, 'ok')
  metrics.posted('t', 1, 1)
  metrics.dropped('t', 1)
  const text = await metrics.text()
  metrics.stop()
  return factsOf(text)
}

/** What a text exposition tells of its metrics; labels are those of the first series. */
export function factsOf(exposition: string): MetricFacts[] {
  return [...exposition.matchAll(/^# HELP (\w+) (.*)\n# TYPE \w+ (\w+)\n(.*)/gm)].map(
    ([, name = '', help = '', type = '', series = '']) => ({
      name,
      type,
      help,
      labels: series.startsWith('#')
        ? []
        : [...series.matchAll(/(\w+)="/g)].map(match => match[1]!).filter(label => label !== 'le'),
    }),
  )
}
