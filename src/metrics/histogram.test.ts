import prom from 'prom-client'
import { expect, it } from 'vitest'
import { Histogram } from './histogram.js'

const NAME = { name: 'took_seconds', help: 'How long it took' }
const BUCKETS = [0.001, 0.1, 1]
const VALUES = [0, 0.001, 0.0011, 0.1, 0.5, 1, 1.5, 300]

it.each([[[undefined]], [['ok', 'failed']]])(
  'with the labels %s it says what that of prom-client says',
  async labels => {
    const [own, theirs] = [new prom.Registry(), new prom.Registry()]
    const labelName = labels[0] === undefined ? {} : { labelName: 'result' }
    const ours = new Histogram({ ...NAME, buckets: BUCKETS, ...labelName, registers: [own] })
    const labelNames = labels[0] === undefined ? [] : ['result']
    const reference = new prom.Histogram({ ...NAME, buckets: BUCKETS, labelNames, registers: [theirs] })
    expect(await own.metrics()).toBe(await theirs.metrics())
    for (const [i, value] of VALUES.entries()) {
      const label = labels[i % labels.length]
      ours.observe(value, label)
      if (label === undefined) reference.observe(value)
      else reference.observe({ result: label }, value)
    }
    const text = await own.metrics()
    expect(text).toContain('took_seconds_count')
    expect(text).toBe(await theirs.metrics())
  },
)
