/** The gauges: what one scrape asks of the database, and what it says when the database does not answer. */
import { describe, expect, it } from 'vitest'
import type { GaugePorts } from '../../src/metrics/gauges.js'
import { createMetrics } from '../../src/metrics/metrics.js'
import { sampleMetrics } from '../support/sample-metrics.js'

const STATE = { due: 1, waiting: 2, sending: 3, inDoubt: 4, byAge: new Map(), oldestDueAt: 0, accounts: [] }

function metricsWith(ports: Partial<GaugePorts> = {}) {
  return createMetrics({
    clock: { now: () => 60_000, monotonic: () => 0 },
    queue: async () => STATE,
    held: async () => [],
    paused: async () => ({ count: 0, accounts: [] }),
    reports: async () => [],
    sends: () => ({ inFlight: 0, buffered: 0, most: 1 }),
    connections: () => ({ open: 0, idle: 0, opened: 5 }),
    cache: () => ({ hits: 0, misses: 0, memoryBytes: 0, diskBytes: 0 }),
    loops: () => [],
    diskFreeBytes: () => null,
    diskReserveBytes: 1,
    schedulerActive: () => true,
    releaseNeeded: () => false,
    startedAt: 0,
    version: '0',
    ...ports,
  })
}

async function lines(metrics: ReturnType<typeof createMetrics>): Promise<string[]> {
  const text = await metrics.text()
  return text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
}

describe('metrics', () => {
  it('asks the database once for all gauges of a scrape', async () => {
    let asked = 0
    const metrics = metricsWith({
      async queue() {
        asked += 1
        return STATE
      },
    })
    const found = await lines(metrics)
    expect(asked).toBe(1)
    expect(found).toContain('gmp_pending_messages 6')
    expect(found).toContain('gmp_in_doubt_messages 4')
    expect(found).toContain('gmp_due_oldest_age_seconds 60')
    expect(found).toContain('gmp_database_up 1')
    metrics.stop()
  })

  it('what is counted between scrapes adds up, whoever scrapes how often', async () => {
    const metrics = metricsWith()
    const sent = async () => (await lines(metrics)).filter(line => line.startsWith('gmp_sent_total'))
    metrics.account('t', 'a')
    expect(await sent()).toEqual(['gmp_sent_total{tenant_id="t",account_id="a"} 0'])
    metrics.sent('t', 'a', 1)
    metrics.sent('t', 'a', 1)
    await sent()
    metrics.sent('t', 'a', 1)
    metrics.sent('t', 'b', 1)
    const all = ['gmp_sent_total{tenant_id="t",account_id="a"} 3', 'gmp_sent_total{tenant_id="t",account_id="b"} 1']
    expect([await sent(), await sent()]).toEqual([all, all])
    metrics.stop()
  })

  it('a costly answer stands for twenty times as long, a quick one for no other scrape', async () => {
    let [now, asked, costMs] = [0, 0, 100]
    const metrics = metricsWith({
      clock: { now: () => now, monotonic: () => now },
      async queue() {
        asked += 1
        now += costMs
        return STATE
      },
    })
    await metrics.text()
    now += 1_999
    await metrics.text()
    expect(asked).toBe(1)
    costMs = 1
    now += 1
    await metrics.text()
    await metrics.text()
    expect(asked).toBe(3)
    metrics.stop()
  })

  it('without the database its gauges are absent, gmp_database_up is 0, and the rest is there', async () => {
    let up = true
    const metrics = metricsWith({ queue: () => (up ? Promise.resolve(STATE) : Promise.reject(new Error('away'))) })
    expect(await lines(metrics)).toContain('gmp_queue_messages{state="waiting"} 2')
    up = false
    const found = await lines(metrics)
    expect(found).toContain('gmp_database_up 0')
    expect(found.filter(line => /^gmp_(pending|queue_m|due|in_doubt_m)/.test(line))).toEqual([])
    expect(found).toContain('gmp_smtp_connections_opened_total 5')
    expect(found.some(line => line.startsWith('gmp_disk'))).toBe(false)
    up = true
    expect(await lines(metrics)).toContain('gmp_pending_messages 6')
    metrics.stop()
  })

  it('a database that never answers does not hold up the figures of the process', { timeout: 10_000 }, async () => {
    const metrics = metricsWith({ queue: () => new Promise(() => {}) })
    expect(await lines(metrics)).toContain('gmp_database_up 0')
    metrics.stop()
  })

  it('names at most a thousand accounts, and counts all', async () => {
    const accounts = Array.from({ length: 1_001 }, (_, i) => ({
      accountKey: i,
      tenantId: 't',
      accountId: `a${i}`,
      due: 1,
      oldestDueAt: i,
    }))
    const metrics = metricsWith({ queue: async () => ({ ...STATE, due: 1_001, waiting: 0, sending: 0, accounts }) })
    const found = await lines(metrics)
    expect(found.filter(line => line.startsWith('gmp_account_due_messages{'))).toHaveLength(1_000)
    expect(found).toContain('gmp_account_due_messages{tenant_id="t",account_id="a0"} 1')
    expect(found).toContain('gmp_pending_messages 1001')
    metrics.stop()
  })

  it('names follow Prometheus: gmp_, a unit or _total at the end, a sentence as HELP', async () => {
    const facts = await sampleMetrics()
    expect(facts.length).toBeGreaterThan(40)
    for (const { name, type, help } of facts) {
      expect(name).toMatch(/^gmp_[a-z_]+$/)
      expect(name.endsWith('_total'), name).toBe(type === 'counter')
      if (type === 'histogram') expect(name).toMatch(/_seconds$/)
      expect(name).not.toMatch(/_(ms|mb|minutes|count|sum|bucket)$/)
      expect(help).toMatch(/^[A-Z0-9].{8,}[^.]$/)
    }
  })
})
