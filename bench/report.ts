/** docs/benchmarks.md, from the figures of one run. */
import type { AttachmentFigures } from './attachments.js'
import type { ClaimCost } from './claims.js'

export interface Latency {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly count: number
}

interface Rate {
  readonly perSecond: number
  readonly count: number
  readonly rssMb: number
}

export interface Measured {
  readonly dialect: 'sqlite' | 'postgres'
  readonly sink: string
  readonly claims: readonly ClaimCost[]
  /** Percent of one core. */
  readonly idleCpu: number
  readonly runNow: Latency
  readonly single: Latency
  readonly busy: Latency
  readonly accept: { readonly perSecond: number; readonly latency: Latency }
  /** RSS with the first fifth of the queue accepted, and with all of it; nothing sent yet. */
  readonly shortQueueMb: number
  readonly longQueueMb: number
  readonly drained: Rate
  readonly endToEnd: Rate
  readonly later: Rate
  readonly attachments: AttachmentFigures
}

export function renderReport(machine: string, results: readonly Measured[], scale: number): string {
  const head = `| what | ${results.map(each => each.dialect).join(' | ')} |`
  const line = results.map(() => '---').join(' | ')
  const row = (what: string, value: (each: Measured) => string) => `| ${what} | ${results.map(value).join(' | ')} |`
  return [
    '# Benchmarks',
    '',
    'Written by `npm run bench`; the figures of one run on one machine. Compare ratios, not machines.',
    '',
    `- Machine: ${machine}; the client, the SMTP sink and the database server share it with the service.`,
    `- SMTP sink: ${[...new Set(results.map(each => each.sink))].join(', ')}. Messages of 2 KB, one account, 20 connections.`,
    '- Durability: SQLite WAL with synchronous=FULL; PostgreSQL with fsync and synchronous_commit on; doubt journal and leases on.',
    '- Log level warning.',
    ...(scale === 1 ? [] : [`- Quick run: ${scale} of the messages.`]),
    '',
    head,
    `| --- | ${line} |`,
    row('accept, batches of 100 (messages/s)', each => rate(each.accept.perSecond)),
    row('accept, a batch of 100: p50 / p95 / p99 (ms)', each => ms(each.accept.latency)),
    row('accept, single POST at 200/s: p50 / p95 / p99 (ms)', each => ms(each.single)),
    row('the same while sending at full speed', each => ms(each.busy)),
    row('run-now: p50 / p95 / p99 (ms)', each => ms(each.runNow)),
    row(
      `end to end, submitting and sending (messages/s)`,
      each => `${rate(each.endToEnd.perSecond)} of ${each.endToEnd.count}`,
    ),
    row('the same after all before was sent', each => rate(each.later.perSecond)),
    row('sending a queue (messages/s)', each => `${rate(each.drained.perSecond)} of ${each.drained.count}`),
    ...(results[0]?.claims ?? []).map(({ queued }, i) =>
      row(`a claim of 50 with ${queued.toLocaleString('en-US')} queued: p50 / p99 (ms)`, ({ claims }) =>
        [claims[i]!.p50, claims[i]!.p99].map(value => value.toFixed(1)).join(' / '),
      ),
    ),
    row('RSS with a fifth of the queue accepted / with all of it (MB)', each =>
      [each.shortQueueMb, each.longQueueMb].map(rate).join(' / '),
    ),
    row('highest RSS of the service (MB)', each =>
      rate(Math.max(each.endToEnd.rssMb, each.drained.rssMb, each.later.rssMb)),
    ),
    row('with 100 KB attached, messages/s: base64 / cached endpoint / local volume', ({ attachments: a }) =>
      [a.base64, a.endpoint, a.volume].map(rate).join(' / '),
    ),
    row(
      '1,000 messages share 1 MB: messages/s, fetches',
      ({ attachments: { shared } }) => `${rate(shared.perSecond)}, ${shared.fetches}`,
    ),
    row('highest RSS with ten messages of 50 MB at once: from URLs / inline base64 (MB)', ({ attachments: a }) =>
      [a.remoteMb, a.inlineMb].map(rate).join(' / '),
    ),
    row('CPU when idle, 40 s after the start (% of a core)', each => each.idleCpu.toFixed(2)),
  ].join('\n')
}

function rate(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

function ms({ p50, p95, p99 }: Latency): string {
  return [p50, p95, p99].map(value => value.toFixed(1)).join(' / ')
}
