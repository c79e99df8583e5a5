/** docs/benchmarks.md, from the figures of one run: each goal beside its figure, and whether it is met. */
import { type Bound, type Figure, isMet } from './bench.js'
import type { Compared } from './compare/compare.js'

export interface Report {
  readonly machine: string
  readonly sink: string
  /** A quick run says that its figures are none. */
  readonly isQuick: boolean
  readonly minutes: number
  readonly figures: readonly Figure[]
  /** null: not asked for. */
  readonly compared: Compared | null
  /** What each change brought, in Markdown: bench/changes.md. */
  readonly changes: string
  /** Where the time goes, in Markdown: bench/profile.md; empty: never measured. */
  readonly profile: string
}

const DATABASES = { sqlite: 'SQLite', postgres: 'PostgreSQL' } as const
const TITLES: Readonly<Record<number, string>> = {
  1: 'End to end',
  2: 'Accept',
  3: 'PostgreSQL, and what a claim costs',
  4: 'Many accounts',
  5: 'Latency',
  6: 'Memory',
  7: 'Reports and the purge',
  8: 'The event loop',
  9: 'The noisy neighbour',
}

export function renderReport(report: Report): string {
  const judged = report.figures.filter(each => each.wanted !== null)
  const met = judged.filter(each => isMet(each) === true)
  return [
    '# Benchmarks',
    '',
    'Written by `npm run bench`; the figures of one run on one machine. Compare ratios, not machines.',
    ...(report.isQuick ? ['', '**A quick run: it shows that everything runs, and its figures say little.**'] : []),
    '',
    `- Machine: ${report.machine}; the client, the SMTP sink and the database server share it with the service.`,
    '- The load comes over plain sockets, HTTP/1.1 kept alive, one request under way on each, requests made beforehand; no HTTP library.',
    `- SMTP sink: ${report.sink}. Messages of 2 KB, one account, 20 connections, unless said otherwise.`,
    '- Durability: SQLite WAL with synchronous=FULL; PostgreSQL with fsync and synchronous_commit on; doubt journal and leases on.',
    `- Log level warning. The run took ${Math.round(report.minutes)} minutes.`,
    '',
    '## Goals',
    '',
    `**${met.length} of ${judged.length} are met.** What has no goal beside it explains one that has.`,
    '',
    ...tableOf(report.figures.filter(({ goal }) => goal !== null)),
    '',
    ...sectionOf('Beside the goals', plainTableOf(report.figures.filter(({ goal }) => goal === null))),
    ...sectionOf('Side by side', compared(report.compared)),
    ...sectionOf('What each change brought', report.changes.trim()),
    ...sectionOf('Where the time goes', report.profile.trim()),
  ]
    .join('\n')
    .trimEnd()
}

function sectionOf(title: string, text: string): string[] {
  return text === '' ? [] : [`## ${title}`, '', text, '']
}

/** One row a goal and thing measured, the databases beside each other. */
function rowsOf(figures: readonly Figure[]): Figure[][] {
  const rows = new Map<string, Figure[]>()
  for (const each of figures) {
    const key = `${each.goal} ${each.what}`
    rows.set(key, [...(rows.get(key) ?? []), each])
  }
  return [...rows.values()].sort((a, b) => (a[0]!.goal ?? 0) - (b[0]!.goal ?? 0))
}

function tableOf(figures: readonly Figure[]): string[] {
  const lines = ['| | goal | wanted | SQLite | PostgreSQL | met |', '| --- | --- | --- | --- | --- | --- |']
  let goal: number | null = null
  for (const row of rowsOf(figures)) {
    const [first] = row
    if (first!.goal !== goal) {
      goal = first!.goal
      lines.push(`| **${goal}** | **${TITLES[goal!]}** | | | | |`)
    }
    const bound = row.find(({ wanted }) => wanted !== null)
    lines.push(
      `| | ${first!.what} | ${bound === undefined ? '' : wantedText(row, bound)} | ${cell(row, 'sqlite')} | ${cell(row, 'postgres')} | ${verdict(row)} |`,
    )
  }
  return lines
}

function plainTableOf(figures: readonly Figure[]): string {
  if (figures.length === 0) return ''
  return [
    '| what | SQLite | PostgreSQL |',
    '| --- | --- | --- |',
    ...rowsOf(figures).map(row => `| ${row[0]!.what} | ${cell(row, 'sqlite')} | ${cell(row, 'postgres')} |`),
  ].join('\n')
}

function cell(row: readonly Figure[], database: Figure['database']): string {
  const found = row.find(each => each.database === database)
  return found === undefined ? '' : valueText(found.value, found.unit)
}

/** One word where the databases agree. */
function verdict(row: readonly Figure[]): string {
  const judged = row.filter(({ wanted }) => wanted !== null)
  const words = judged.map(each => (isMet(each) ? 'yes' : '**no**'))
  if (new Set(words).size <= 1) return words[0] ?? ''
  return judged.map((each, i) => `${DATABASES[each.database]} ${words[i]}`).join(', ')
}

/** Of one database, where both were measured and one is judged. */
function wantedText(row: readonly Figure[], { wanted, unit, database }: Figure): string {
  const isOfOne = row.length > 1 && row.filter(each => each.wanted !== null).length === 1
  return `${boundText(wanted!, unit)}${isOfOne ? ` (${DATABASES[database]})` : ''}`
}

function boundText(bound: Bound, unit: Figure['unit']): string {
  return 'atLeast' in bound ? `≥ ${valueText(bound.atLeast, unit)}` : `≤ ${valueText(bound.atMost, unit)}`
}

export function valueText(value: number, unit: Figure['unit']): string {
  if (Number.isNaN(value)) return 'not measured'
  if (unit === 'ratio') return value.toFixed(2)
  const digits = Math.abs(value) < 100 && !Number.isInteger(value) ? 1 : 0
  const text = value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  return `${text} ${unit}`
}

function compared(all: Compared | null): string {
  if (all === null) return ''
  if (all.missing !== null) return all.missing
  const { counts } = all
  const number = (value: number) => value.toLocaleString('en-US')
  const rate = (value: number) => valueText(value, 'messages/s')
  return [
    `Messages of 2 KB, 20 connections, into the same sink: ${number(counts.others)} of each of the others, and of smtp-source and of the`,
    `service ${number(counts.service)}; the service before them and after them. Postfix is a relay of its own with Debian's defaults.`,
    '',
    '| who | taken in | end to end | the service / this |',
    '| --- | --- | --- | --- |',
    ...all.rows.map(
      ({ who, accepted, endToEnd }) =>
        `| ${who} | ${accepted === null ? '' : rate(accepted)} | ${rate(endToEnd)} | ${valueText(all.service / endToEnd, 'ratio')} |`,
    ),
  ].join('\n')
}
