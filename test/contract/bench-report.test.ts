/** What the bench writes about its figures: a goal that is missed must be seen at a glance, and never by a rounding. */
import { describe, expect, it } from 'vitest'
import { type Figure, isMet } from '../../bench/bench.js'
import { summarize } from '../../bench/profile/summary.js'
import { type Report, renderReport } from '../../bench/report.js'

const figure = (fields: Partial<Figure>): Figure => ({
  goal: 1,
  what: 'end to end',
  database: 'sqlite',
  value: 0.5,
  unit: 'ratio',
  wanted: null,
  ...fields,
})

const report = (figures: readonly Figure[], fields: Partial<Report> = {}): string =>
  renderReport({
    machine: 'a machine',
    sink: 'a sink',
    isQuick: false,
    minutes: 1,
    figures,
    compared: null,
    changes: '',
    profile: '',
    ...fields,
  })

const rowOf = (text: string, what: string) => text.split('\n').find(line => line.includes(`| ${what} |`))

describe('a goal', () => {
  it('is met at its bound and missed beyond it', () => {
    expect(isMet({ value: 0.3, wanted: { atLeast: 0.3 } })).toBe(true)
    expect(isMet({ value: 0.299, wanted: { atLeast: 0.3 } })).toBe(false)
    expect(isMet({ value: 20, wanted: { atMost: 20 } })).toBe(true)
    expect(isMet({ value: 20.1, wanted: { atMost: 20 } })).toBe(false)
    expect(isMet({ value: 1, wanted: null })).toBeNull()
  })

  it('that was not measured is missed', () => {
    expect(isMet({ value: Number.NaN, wanted: { atLeast: 0.3 } })).toBe(false)
    expect(isMet({ value: Number.NaN, wanted: { atMost: 20 } })).toBe(false)
  })

  it('stands beside its figure and says whether it is met', () => {
    const text = report([figure({ wanted: { atLeast: 0.3 } }), figure({ what: 'other', wanted: { atLeast: 0.6 } })])
    expect(rowOf(text, 'end to end')).toBe('| | end to end | ≥ 0.30 | 0.50 |  | yes |')
    expect(rowOf(text, 'other')).toBe('| | other | ≥ 0.60 | 0.50 |  | **no** |')
    expect(text).toContain('**1 of 2 are met.**')
  })

  it('is judged for each database where they differ', () => {
    const wanted = { atMost: 20 }
    const both = [
      figure({ unit: 'ms', value: 12, wanted }),
      figure({ unit: 'ms', value: 31, wanted, database: 'postgres' }),
    ]
    expect(rowOf(report(both), 'end to end')).toBe(
      '| | end to end | ≤ 20 ms | 12 ms | 31 ms | SQLite yes, PostgreSQL **no** |',
    )
  })

  it('of one database names it where the other was measured too', () => {
    const both = [figure({ wanted: { atLeast: 0.3 } }), figure({ database: 'postgres' })]
    expect(rowOf(report(both), 'end to end')).toBe('| | end to end | ≥ 0.30 (SQLite) | 0.50 | 0.50 | yes |')
  })
})

describe('the document', () => {
  it('keeps what each change brought, and the profile', () => {
    const text = report([], { changes: '| change | before | after |\n', profile: 'a table' })
    expect(text).toContain(
      '## What each change brought\n\n| change | before | after |\n\n## Where the time goes\n\na table',
    )
  })

  it('says why nothing was compared', () => {
    const compared = {
      missing: 'Postfix is not installed.',
      counts: { service: 1, others: 1 },
      service: Number.NaN,
      rows: [],
    }
    expect(report([], { compared })).toContain('## Side by side\n\nPostfix is not installed.')
  })

  it('warns of a quick run', () => {
    expect(report([], { isQuick: true })).toContain('**A quick run')
  })
})

describe('a CPU profile', () => {
  const node = (id: number, url: string, children: number[], functionName = 'f') => ({
    id,
    callFrame: { functionName, url },
    children,
  })

  it('counts time for the nearest caller of our own, and no idle time', () => {
    const summary = summarize({
      nodes: [
        node(1, '', [2, 5, 6], '(root)'),
        node(2, 'file:///app/dist/queue/claim.js', [3]),
        node(3, 'file:///app/node_modules/pg/dist/parser.js', [4]),
        node(4, 'node:net', []),
        node(5, '', [], '(idle)'),
        node(6, '', [], '(garbage collector)'),
      ],
      samples: [4, 3, 2, 5, 6],
      timeDeltas: [1000, 1000, 1000, 5000, 1000],
    })
    expect(summary).toEqual({
      activeMs: 4,
      files: [
        { file: 'src/queue/claim.ts', share: 0.75 },
        { file: '(garbage collector)', share: 0.25 },
      ],
    })
  })
})
