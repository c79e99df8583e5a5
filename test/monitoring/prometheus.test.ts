/**
 * The monitoring, for real: a service that sends, retries, fails, is limited, paused, in doubt and not listened to; what
 * its /metrics says; and, where Prometheus is installed, a server that scrapes it and has data for every panel.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ALERTS, alerts, groupedBy, metricsIn, queries, substituted } from '../support/monitoring-files.js'
import { hasPrometheus, type Prometheus, promtool, startPrometheus, WITHOUT } from '../support/prometheus.js'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { factsOf } from '../support/sample-metrics.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { deadPort, tenant } from '../support/story.js'

const METRICS_TOKEN = 'metrics-token-of-the-tests'
const DAY_MS = 86_400_000

let service: TestService
let sink: SmtpSink
let listening: ReportClient
let deaf: ReportClient
let round = 0

beforeAll(async () => {
  sink = await startSink({
    behave: {
      rcpt({ address, n }) {
        if (address.startsWith('nobody')) return '550 5.1.1 no such user'
        return address.startsWith('grey') && n === 1 ? '451 4.7.1 later' : null
      },
      final: ({ content }) => (content.includes('Subject: doubt') ? { cut: true, keep: true } : null),
    },
  })
  listening = await startReportClient()
  deaf = await startReportClient(() => ({ status: 500 }))
  service = await startTestService({ env: { GMP_METRICS_TOKEN: METRICS_TOKEN } })
  await tenant(service, 'default', listening)
  await tenant(service, 'deaf', deaf)
  await service.account(sink, { in_doubt: 'hold' })
  await service.account(sink, { id: 'own', tenant_id: 'deaf' })
  await service.account(sink, { id: 'limited', limit_per_minute: 1 })
  await service.account({ port: await deadPort() }, { id: 'away' })
}, 60_000)

afterAll(async () => {
  await service?.stop()
  for (const each of [sink, listening, deaf]) await each?.close()
})

/** One of everything that a panel shows. */
async function act(): Promise<void> {
  round += 1
  const id = (name: string) => `${name}${round}`
  await service.send(
    ...[1, 2, 3].map(n => ({ id: id(`good${n}-`) })),
    { id: id('wrong'), to: 'nobody@example.net' },
    { id: id('grey'), to: `grey${round}@example.net` },
    { id: id('doubt'), subject: 'doubt' },
    { id: id('limited-a'), account_id: 'limited' },
    { id: id('limited-b'), account_id: 'limited' },
    { id: id('away'), account_id: 'away' },
    { id: id('deaf-a'), tenant_id: 'deaf', account_id: 'own' },
    { id: id('deaf-b'), tenant_id: 'deaf', account_id: 'own' },
    { id: id('later'), deferred_ts: Math.floor(Date.now() / 1000) + 3600 },
  )
  // What a client hears that tries again.
  await service.until('sent', async () => (await service.message(id('good1-'))).status === 'sent')
  await service.send({ id: id('good1-') })
  // As if nobody had listened for a month: given up at the next call that fails.
  await service.service.db!.write([
    {
      sql: `update events set at = at - $1 where tenant_id = 'deaf' and pending = 1 and id =
        (select min(id) from events where tenant_id = 'deaf' and pending = 1)`,
      params: [31 * DAY_MS],
    },
  ])
  await service.call('POST', '/commands/run-now', {})
}

async function exposition(): Promise<string> {
  const response = await fetch(`${service.url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
  expect(response.status).toBe(200)
  return response.text()
}

it('/metrics of a service that has seen everything holds every metric and label that panels and alerts name', async () => {
  await act()
  const series = (text: string, start: string) => text.split('\n').some(line => line.startsWith(start))
  await service.until('one of everything', async () => {
    const text = await exposition()
    const wanted = [
      'gmp_retries_total{tenant_id="default",account_id="main"}',
      'gmp_account_paused{tenant_id="default",account_id="away",kind="failure"} 1',
      'gmp_in_doubt_messages 1',
      'gmp_probes_total{result="failed"}',
      'gmp_rejected_total{code="already_sent"}',
      'gmp_report_entries_dropped_total{tenant_id="deaf"}',
      'gmp_report_posts_total{tenant_id="default",result="acknowledged"}',
      'gmp_report_entries_pending{tenant_id="deaf"}',
      'gmp_account_due_messages{tenant_id="default",account_id="limited"}',
    ]
    const missing = wanted.filter(start => !series(text, start))
    if (missing.length > 0) throw new Error(`missing: ${missing.join(', ')}`)
    return true
  })
  const text = await exposition()
  const known = new Map(factsOf(text).map(each => [each.name, each]))
  const common = ['job', 'instance', 'le']
  for (const expr of [...queries(), ...alerts()].map(each => each.expr)) {
    const labels = new Set(common)
    for (const { name, labels: named } of metricsIn(expr).filter(each => each.name !== 'up')) {
      const metric = known.get(name) ?? known.get(name.replace(/_(bucket|count|sum)$/, ''))
      expect(metric, `${name} in ${expr}`).toBeDefined()
      expect(named.filter(label => ![...common, ...metric!.labels].includes(label))).toEqual([])
      for (const label of metric!.labels) labels.add(label)
    }
    expect(groupedBy(expr).filter(label => !labels.has(label))).toEqual([])
  }
  expect(text).toMatch(/^gmp_queue_messages\{state="waiting"\} [1-9]/m)
  expect(text).toMatch(/^gmp_due_messages\{age="0-1m"\} [1-9]/m)
})

if (!hasPrometheus) console.log(WITHOUT)

describe.skipIf(!hasPrometheus)('with Prometheus', () => {
  it('promtool is content with the rules and the configurations, and every alert fires and is silent as told', () => {
    expect(promtool('check', 'rules', ALERTS)).toMatch(new RegExp(`SUCCESS: ${alerts().length} rules found`))
    expect(promtool('check', 'config', 'deploy/prometheus/prometheus.yml')).toContain('SUCCESS')
    expect(promtool('check', 'config', '--syntax-only', 'deploy/prometheus/prometheus-token.yml')).toContain('SUCCESS')
    expect(promtool('test', 'rules', 'deploy/prometheus/alerts.test.yml')).toContain('SUCCESS')
  })

  it('promtool is content with the text of /metrics', async () => {
    const text = await exposition()
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
    expect([status, stdout, stderr]).toEqual([0, '', ''])
  })

  describe('that scrapes the service', () => {
    let prometheus: Prometheus
    const secrets = mkdtempSync(join(tmpdir(), 'gmp-token-'))
    beforeAll(async () => {
      writeFileSync(join(secrets, 'token'), METRICS_TOKEN)
      const config = readFileSync('deploy/prometheus/prometheus-token.yml', 'utf8')
        .replace('/etc/prometheus/mail-proxy-token', join(secrets, 'token'))
        .replace('- alerts.yml', `- ${resolve(ALERTS)}`)
        .replaceAll(/_interval: 15s/g, '_interval: 500ms')
        .replace('mail-1.internal:8000', new URL(service.url).host)
        .replace(/\n.*mail-2\.internal:8000/, '')
      prometheus = await startPrometheus(config)
      // Each round between scrapes, so that what is counted grows while somebody looks.
      for (let n = 0; n < 8; n += 1) {
        await act()
        await scrapes(2)
      }
    }, 60_000)
    afterAll(async () => {
      await prometheus?.stop()
      rmSync(secrets, { recursive: true, force: true })
    })

    /** Resolves when so many more scrapes are in its database. */
    async function scrapes(more: number): Promise<void> {
      const count = async () => {
        const [up] = await prometheus.range('count_over_time(up{job="mail-proxy"}[5m])', 1)
        return up?.values.at(-1) ?? 0
      }
      const before = await count()
      await service.until(`${more} scrapes`, async () => (await count()) >= before + more)
    }

    it('the target is up', async () => {
      const { activeTargets } = await prometheus.get('/api/v1/targets')
      expect(activeTargets).toMatchObject([{ health: 'up', lastError: '', labels: { job: 'mail-proxy' } }])
    })

    it.each(queries().map(({ title, expr }) => [title, expr] as const))('%s has data: %s', async (_title, expr) => {
      const found = await prometheus.range(substituted(expr, 'mail-proxy', '6s'), 6)
      expect(found.length).toBeGreaterThan(0)
      expect(found.some(({ values }) => values.length > 0)).toBe(true)
    })

    it('what it counted is what happened', async () => {
      const figure = async (expr: string) => (await prometheus.range(expr, 1))[0]?.values.at(-1)
      await service.until('all scraped', async () => (await figure('max(gmp_in_doubt_messages)')) === round)
      expect(await figure('sum(gmp_accepted_total)')).toBe(round * 12)
      expect(await figure('sum(gmp_errors_total{account_id="main"})')).toBe(round)
      expect(await figure('sum(gmp_rejected_total{code="already_sent"})')).toBe(round)
    })

    it('the alerts are evaluated without error', async () => {
      const { groups } = await prometheus.get('/api/v1/rules')
      const rules = groups.flatMap((group: { rules: unknown[] }) => group.rules)
      expect(rules).toHaveLength(alerts().length)
      const unwell = rules.filter((rule: { health: string; lastError?: string }) => rule.health === 'err')
      expect(unwell).toEqual([])
    })
  })
})
