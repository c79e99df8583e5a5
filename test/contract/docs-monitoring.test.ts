/** docs/monitoring.md lists the metrics that there are. Its alerts are compared in test/monitoring/files.test.ts. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { sampleMetrics } from '../support/sample-metrics.js'

it('docs/monitoring.md lists every metric with its kind, labels and meaning', async () => {
  const [, chapter = ''] = readFileSync('docs/monitoring.md', 'utf8').split('\n## Metrics\n')
  const table = /^\|[^\n]*\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)/m.exec(chapter)?.[1] ?? ''
  const rows = (await sampleMetrics()).map(
    ({ name, type, labels, help }) =>
      `| \`${name}\` | ${type} | ${labels.map(label => `\`${label}\``).join(', ')} | ${help} |`,
  )
  expect(table.trim().split('\n')).toEqual(rows)
})
