/** `mail-proxy <instance> [tenant] stats`: counts by status, account and priority, and the last 24 hours. */
import type { Command } from 'commander'
import { withApi } from '../api.js'
import { type Place, withExamples, withJson } from '../command.js'
import { show } from '../output/show.js'
import { type Column, fields, table } from '../output/table.js'
import { counted, paint } from '../output/text.js'
import { PRIORITIES, STATUSES } from './messages/record.js'

export interface Stats {
  readonly complete: boolean
  readonly by_status: Readonly<Record<string, number>>
  readonly by_account: readonly AccountCounts[]
  readonly by_priority: readonly { readonly priority: number; readonly open: number; readonly ended: number }[]
  readonly by_hour: readonly { readonly hour_ts: number; readonly sent: number; readonly error: number }[]
}

export type AccountCounts = { readonly tenant_id: string; readonly account_id: string } & Readonly<
  Record<string, number | string>
>

export function addStats(program: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = program
    .command('stats')
    .description('counts by status, account and priority, and the last 24 hours')
    .action(async (options: { json?: boolean }) => {
      const stats = await withApi(io, instance, api =>
        api.call<Stats>('GET', '/stats', { query: { tenant_id: tenant } }),
      )
      show(io, options, stats, () => textOf(place, stats))
    })
  withExamples(withJson(command), [`mail-proxy ${tenant === null ? instance : `${instance} ${tenant}`} stats`])
}

function textOf(place: Place, { by_status, by_account, by_priority, by_hour, complete }: Stats): string {
  const { io } = place
  const title = (text: string) => `\n${paint(io, 'bold', text)}\n`
  const known = STATUSES.filter(status => by_status[status] !== undefined)
  if (known.length === 0) return 'There are no messages yet.\n'
  return [
    `${paint(io, 'bold', 'By status')}\n`,
    fields(
      io,
      known.map(status => [status, (by_status[status] ?? 0).toLocaleString('en')] as const),
    ),
    title('By account'),
    accountsTable(place, by_account),
    title('By priority'),
    table(
      io,
      by_priority.filter(({ open, ended }) => open + ended > 0),
      [
        { title: 'PRIORITY', of: each => PRIORITIES[each.priority] },
        { title: 'OPEN', of: each => each.open, align: 'right' },
        { title: 'ENDED', of: each => each.ended, align: 'right' },
      ],
      'none',
    ),
    title('The last 24 hours'),
    hourBars(by_hour),
    complete ? '' : '\nOf the messages that have ended the newest 50,000 are counted.\n',
  ].join('')
}

function accountsTable({ io, tenant }: Place, accounts: Stats['by_account']): string {
  const columns: Column<AccountCounts>[] = [
    { title: 'ACCOUNT', of: each => (tenant === null ? `${each.tenant_id}/${each.account_id}` : each.account_id) },
  ]
  for (const status of STATUSES) {
    if (accounts.every(each => each[status] === undefined)) continue
    columns.push({
      title: status.toUpperCase(),
      of: each => Number(each[status] ?? 0),
      align: 'right',
      whole: true,
      paint: (text, each) => (Number(each[status] ?? 0) > 0 ? text : paint(io, 'gray', text)),
    })
  }
  return table(io, accounts, columns, 'none')
}

const BARS = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const

/** Each hour a bar, the highest of all the tallest; below them local hours. */
function hourBars(hours: Stats['by_hour']): string {
  const line = (label: string, of: (each: Stats['by_hour'][number]) => number) => {
    const values = hours.map(of)
    const most = Math.max(1, ...values)
    const bars = values.map(value => BARS[value === 0 ? 0 : Math.max(1, Math.round((value / most) * 8))]).join('')
    const sum = values.reduce((all, value) => all + value, 0)
    return `${label}  ${bars}  ${sum.toLocaleString('en')}${sum === 0 ? '' : `, at most ${counted(most, 'message')} an hour`}\n`
  }
  const scale = hours.reduce((text, { hour_ts }, i) => {
    const hour = String(new Date(hour_ts * 1000).getHours()).padStart(2, '0')
    return i % 6 === 0 ? text.padEnd(i) + hour : text
  }, '')
  return `${line('sent  ', each => each.sent)}${line('errors', each => each.error)}        ${scale}\n`
}

/** `3 deferred, 12 sent`; what is 0 is left out. */
export function sayCounts(counts: Readonly<Record<string, number | string>>): string {
  return STATUSES.filter(status => Number(counts[status] ?? 0) > 0)
    .map(status => `${Number(counts[status]).toLocaleString('en')} ${status}`)
    .join(', ')
}
