/** The dashboard and the alerts are whole: shape, names, a runbook and two stories for each alert. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  ALERTS,
  alerts,
  DASHBOARD,
  dashboard,
  groupedBy,
  metricsIn,
  queries,
  yaml,
} from '../support/monitoring-files.js'
import { sampleMetrics } from '../support/sample-metrics.js'

/** What Prometheus adds to every series, and histograms to theirs. */
const COMMON = ['job', 'instance', 'le']
const facts = new Map((await sampleMetrics()).map(each => [each.name, each]))
const metricOf = (name: string) => {
  const [, base = name, part] = /^(.*)_(bucket|count|sum)$/.exec(name) ?? []
  return part !== undefined && facts.get(base)?.type === 'histogram' ? facts.get(base) : facts.get(name)
}

describe('every metric that is named exists, with its labels', () => {
  const named = [
    ...queries().map(({ title, expr }) => [`panel ${title}`, expr] as const),
    ...alerts().map(({ alert, expr }) => [`alert ${alert}`, expr] as const),
    ...dashboard().templating.list.flatMap(({ name, query }) =>
      typeof query === 'string' ? [] : [[`variable ${name}`, query.query] as const],
    ),
  ]
  it.each(named)('%s', (_where, expr) => {
    const found = metricsIn(expr).filter(({ name }) => name !== 'up')
    const known = new Set(COMMON)
    for (const { name, labels } of found) {
      const metric = metricOf(name)
      expect(metric, `${name} is not a metric of the service`).toBeDefined()
      const allowed = [...COMMON, ...metric!.labels]
      expect(labels.filter(label => !allowed.includes(label))).toEqual([])
      for (const label of metric!.labels) known.add(label)
    }
    expect(groupedBy(expr).filter(label => !known.has(label))).toEqual([])
    expect(found.length + Number(/\bup\b/.test(expr))).toBeGreaterThan(0)
  })

  it('a counter is only looked at through its growth', () => {
    for (const [where, expr] of named) {
      if (where.startsWith('variable') || expr.includes('unless')) continue
      for (const { name } of metricsIn(expr).filter(each => facts.get(each.name)?.type === 'counter')) {
        expect(expr, where).toMatch(new RegExp(`(rate|increase)\\(${name}\\b`))
      }
    }
  })

  it('a figure of the whole database is never summed over instances', () => {
    const wide = [...facts.values()].filter(({ help }) => help.includes('max over instances')).map(each => each.name)
    expect(wide.length).toBeGreaterThan(8)
    for (const [where, expr] of named) {
      if (where.startsWith('variable')) continue
      for (const name of wide.filter(each => new RegExp(`\\b${each}\\b`).test(expr))) {
        expect(expr, where).toMatch(new RegExp(`max (by \\([^)]*\\) )?\\(${name}|max\\(${name}`))
      }
    }
  })
})

describe('the dashboard', () => {
  const board = dashboard()
  const panels = board.panels.filter(({ type }) => type !== 'row')

  it('has the panels that the service’s manual has always listed, and rows with titles', () => {
    const titles = board.panels.map(({ title }) => title)
    for (const title of ['Sent', 'Success rate', 'Queue depth', 'Rate limit hits', 'Throughput by account']) {
      expect(titles).toContain(title)
    }
    const rows = board.panels.filter(({ type }) => type === 'row').map(({ title }) => title)
    expect(rows).toEqual(['Overview', 'Throughput', 'Queue', 'SMTP', 'Limits, pauses, doubt', 'Reports', 'Process'])
  })

  it('is in today’s schema: ids, places without overlap, kinds of panels that are known', () => {
    expect(board.schemaVersion).toBeGreaterThanOrEqual(39)
    expect(new Set(board.panels.map(({ id }) => id)).size).toBe(board.panels.length)
    const taken = new Set<string>()
    for (const { title, type, gridPos } of board.panels) {
      expect(['row', 'stat', 'timeseries', 'table', 'bargauge'], title).toContain(type)
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(taken.has(`${x} ${y}`), `${title} lies over another`).toBe(false)
          taken.add(`${x} ${y}`)
        }
      }
    }
  })

  it.each(panels.map(panel => [panel.title, panel] as const))(
    '%s says what it shows, in which unit, from where',
    (_, panel) => {
      const source = { type: 'prometheus', uid: `$\{datasource}` }
      expect(panel.description?.length).toBeGreaterThan(10)
      expect(panel.fieldConfig?.defaults.unit).toMatch(/^(short|s|bytes|percentunit|none|suffix: \/s)$/)
      expect(panel.options).toBeDefined()
      expect(panel.datasource).toEqual(source)
      const targets = panel.targets ?? []
      expect(targets.length).toBeGreaterThan(0)
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length)
      for (const { expr, legendFormat, datasource } of targets) {
        expect(datasource).toEqual(source)
        expect(legendFormat).not.toBe('')
        expect(expr).toContain('job="$job"')
      }
    },
  )

  it('can be looked at by data source, service, instance and tenant', () => {
    expect(board.templating.list.map(({ name }) => name)).toEqual(['datasource', 'job', 'instance', 'tenant'])
  })

  it('is what Grafana’s provisioning finds, with a data source', () => {
    const provider = yaml('deploy/grafana/provisioning/dashboards/mail-proxy.yml')
    expect(provider).toMatchObject({
      apiVersion: 1,
      providers: [{ type: 'file', options: { path: expect.any(String) } }],
    })
    const sources = yaml('deploy/grafana/provisioning/datasources/prometheus.yml')
    expect(sources).toMatchObject({ apiVersion: 1, datasources: [{ type: 'prometheus', access: 'proxy' }] })
    expect(existsSync(DASHBOARD)).toBe(true)
  })
})

describe('the alerts', () => {
  const manual = readFileSync('docs/monitoring.md', 'utf8')
  const stories: { name: string; alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[] = yaml(
    'deploy/prometheus/alerts.test.yml',
  ).tests

  it('have the four that the service’s manual has always listed', () => {
    const names = alerts().map(({ alert }) => alert)
    for (const name of ['MailProxyHighErrorRate', 'MailProxyQueueBacklog', 'MailProxyRateLimited', 'MailProxyDown']) {
      expect(names).toContain(name)
    }
    expect(new Set(names).size).toBe(names.length)
    expect(existsSync(ALERTS)).toBe(true)
  })

  it.each(alerts().map(each => [each.alert, each] as const))(
    '%s says what to do, fires in one story and is silent in another',
    (name, alert) => {
      expect(['critical', 'warning', 'info']).toContain(alert.labels.severity)
      expect(alert.annotations.summary?.length).toBeGreaterThan(10)
      expect(alert.annotations.description?.length).toBeGreaterThan(20)
      expect(alert.annotations.runbook).toBe(`docs/monitoring.md#${name.toLowerCase()}`)
      const [, section = ''] = manual.split(`\n#### ${name}\n`)
      expect(section.split('\n#')[0]!.trim().length, 'the section of the alert in docs/monitoring.md').toBeGreaterThan(
        60,
      )
      const mine = stories.flatMap(story => story.alert_rule_test).filter(({ alertname }) => alertname === name)
      expect(mine.some(({ exp_alerts }) => exp_alerts.length > 0)).toBe(true)
      expect(mine.some(({ exp_alerts }) => exp_alerts.length === 0)).toBe(true)
    },
  )
})
