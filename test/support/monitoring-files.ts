/** What deploy/ holds for Prometheus and Grafana, read for tests. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

export const DASHBOARD = 'deploy/grafana/dashboards/mail-proxy.json'
export const ALERTS = 'deploy/prometheus/alerts.yml'

export interface Alert {
  readonly alert: string
  readonly expr: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: unknown
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } }
  readonly options?: unknown
  readonly targets?: readonly {
    readonly refId: string
    readonly expr: string
    readonly legendFormat: string
    readonly datasource: unknown
  }[]
}

export interface Dashboard {
  readonly uid: string
  readonly title: string
  readonly schemaVersion: number
  readonly panels: readonly Panel[]
  readonly templating: {
    /** `query` of a query variable is an object, of others text. */
    readonly list: readonly {
      readonly name: string
      readonly type: string
      readonly query: string | { query: string }
    }[]
  }
}

export const yaml = (path: string): any => parse(readFileSync(path, 'utf8'))
export const dashboard = (): Dashboard => JSON.parse(readFileSync(DASHBOARD, 'utf8')) as Dashboard
export const alerts = (): Alert[] => yaml(ALERTS).groups.flatMap((group: { rules: Alert[] }) => group.rules)

/** Every query of the dashboard with the title of its panel. */
export function queries(): { title: string; expr: string }[] {
  return dashboard().panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
}

/** A query as Grafana would send it with everything chosen. */
export function substituted(expr: string, job: string, rateInterval: string): string {
  return expr
    .replaceAll('$__rate_interval', rateInterval)
    .replaceAll('$__range', rateInterval)
    .replaceAll('$job', job)
    .replaceAll(/\$(instance|tenant)\b/g, '.*')
}

/** The metrics that a query names, each with the labels that stand in its braces. */
export function metricsIn(expr: string): { name: string; labels: string[] }[] {
  return [...expr.matchAll(/\b(gmp_\w+|up)\b(?:\{([^}]*)\})?/g)].map(([, name = '', matchers = '']) => ({
    name,
    labels: [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(match => match[1]!),
  }))
}

/** The labels that a query groups by. */
export function groupedBy(expr: string): string[] {
  return [...expr.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)].flatMap(([, list = '']) =>
    list.split(',').map(each => each.trim()),
  )
}
