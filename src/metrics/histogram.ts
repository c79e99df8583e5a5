/**
 * A histogram with at most one label, in prom-client's registry. prom-client's own makes a string of the labels and one of
 * the bucket for each observation, 3 µs of them for a message.
 */
import type { Registry } from './registry.js'

export interface HistogramOptions {
  readonly name: string
  readonly help: string
  /** Upper bounds, ascending. */
  readonly buckets: readonly number[]
  readonly labelName?: string
  readonly registers: readonly InstanceType<typeof Registry>[]
}

interface Series {
  /** By the first bucket it fits into, the last beyond all. */
  readonly counts: number[]
  sum: number
}

export class Histogram {
  readonly name: string
  private readonly series = new Map<string, Series>()

  constructor(private readonly options: HistogramOptions) {
    this.name = options.name
    if (options.labelName === undefined) this.begin('')
    // All that a registry asks of a metric are its name and `get`.
    for (const registry of options.registers) registry.registerMetric(this as never)
  }

  observe(value: number, label = ''): void {
    const series = this.series.get(label) ?? this.begin(label)
    const { buckets } = this.options
    let at = 0
    while (at < buckets.length && value > buckets[at]!) at += 1
    series.counts[at]! += 1
    series.sum += value
  }

  /** As a registry has it told. */
  async get() {
    const { name, help } = this.options
    const values = [...this.series].flatMap(([label, series]) => this.valuesOf(label, series))
    return { name, help, type: 'histogram', aggregator: 'sum', values }
  }

  private valuesOf(label: string, { counts, sum }: Series) {
    const { name, buckets, labelName } = this.options
    const labels = labelName === undefined ? {} : { [labelName]: label }
    let count = 0
    const bounds = counts.map((more, at) => {
      count += more
      return { metricName: `${name}_bucket`, labels: { le: buckets[at] ?? '+Inf', ...labels }, value: count }
    })
    return [
      ...bounds,
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count },
    ]
  }

  private begin(label: string): Series {
    const series = { counts: new Array(this.options.buckets.length + 1).fill(0), sum: 0 }
    this.series.set(label, series)
    return series
  }
}
