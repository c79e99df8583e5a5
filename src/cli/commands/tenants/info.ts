/** `mail-proxy <instance> <tenant> info`: the tenant at a glance, its figures, its accounts and its reports. */
import type { Command } from 'commander'
import { withApi } from '../../api.js'
import { type Place, withExamples, withJson } from '../../command.js'
import { show } from '../../output/show.js'
import { fields, table } from '../../output/table.js'
import { duration, fromNow, paint, paintState, time } from '../../output/text.js'
import { type AccountCounts, type Stats, sayCounts } from '../stats.js'
import { getTenant, reportsTo, stateOf, type Tenant } from './record.js'

interface Account {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly is_default: boolean
  readonly paused: boolean
  readonly pause?: { readonly kind: string; readonly reason: string; readonly since_ts: number }
  readonly limit_per_minute?: number
  readonly limit_per_hour?: number
  readonly limit_per_day?: number
}

interface Sync {
  readonly last_sync_ts?: number
  readonly next_sync_due: boolean
  readonly in_dnd: boolean
}

interface Info {
  readonly tenant: Tenant
  readonly pending_messages: number
  readonly by_status: Stats['by_status']
  readonly accounts: readonly (Account & { readonly messages: Readonly<Record<string, number | string>> })[]
  readonly sync: Sync | null
  /** Reports of tenants without an endpoint of their own. */
  readonly global_endpoint: string | null
}

export function addTenantInfo(program: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = program
    .command('info')
    .description('the tenant at a glance: what waits, its accounts, its reports')
    .action(async (options: { json?: boolean }) => {
      const info = await gather(place)
      show(io, options, info, () => textOf(place, info))
    })
  withExamples(withJson(command), [`mail-proxy ${instance} ${tenant} info`])
}

async function gather({ io, instance, tenant }: Place): Promise<Info> {
  const query = { tenant_id: tenant }
  return withApi(io, instance, async api => {
    const { ok: _, ...record } = await getTenant(api, tenant!)
    const [status, stats, accounts, sync] = await Promise.all([
      api.call<{ pending_messages: number }>('GET', '/status', { query }),
      api.call<Stats>('GET', '/stats', { query }),
      api.call<{ accounts: readonly Account[] }>('GET', '/accounts', { query }),
      api.call<{ tenants: readonly (Sync & { id: string })[] }>('GET', '/tenants/sync-status'),
    ])
    const counts = new Map(stats.by_account.map(each => [each.account_id, countsOf(each)]))
    return {
      tenant: record,
      pending_messages: status.pending_messages,
      by_status: stats.by_status,
      accounts: accounts.accounts.map(each => ({ ...each, messages: counts.get(each.id) ?? {} })),
      sync: sync.tenants.find(each => each.id === tenant) ?? null,
      global_endpoint: api.config.reports.url,
    }
  })
}

function countsOf({
  tenant_id: _,
  account_id: __,
  ...counts
}: AccountCounts): Readonly<Record<string, number | string>> {
  return counts
}

function textOf(place: Place, info: Info): string {
  const { io, instance } = place
  const { tenant, accounts, by_status: byStatus } = info
  const batches = tenant.suspended_batches?.filter(code => code !== '*') ?? []
  const head = fields(io, [
    ['tenant', tenant.id],
    ['name', tenant.name],
    ['state', stateOf(tenant), text => paintState(io, text)],
    ['suspended', batches.length === 0 ? undefined : `batches ${batches.join(', ')}`],
    ['waiting', info.pending_messages],
    ['sent', byStatus.sent ?? 0],
    ['errors', byStatus.error ?? 0],
    ['in doubt', byStatus.in_doubt],
    ['reports to', reportsTo(tenant) ?? info.global_endpoint ?? 'nowhere: it has no endpoint'],
    ['last report', lastReportOf(info)],
    ['since', tenant.created_at],
  ])
  const listed = table(
    io,
    accounts,
    [
      { title: 'ACCOUNT', of: each => `${each.id}${each.is_default ? ' *' : ''}` },
      { title: 'SERVER', of: each => `${each.host}:${each.port}` },
      { title: 'STATE', of: each => (each.paused ? 'paused' : 'ok'), whole: true, paint: text => paintState(io, text) },
      { title: 'LIMITS', of: limitsOf },
      {
        title: 'MESSAGES',
        of: each => sayCounts(each.messages),
      },
      ...(accounts.some(each => each.paused) ? [{ title: 'WHY', of: sayPause, runsOn: true }] : []),
    ],
    `it has no account; \`mail-proxy ${instance} ${tenant.id} accounts add\` makes one`,
  )
  return `${head}\n${paint(io, 'bold', 'Accounts')}\n${listed}`
}

function lastReportOf({ sync, tenant, global_endpoint: global }: Info): string | undefined {
  if (tenant.client_base_url === undefined && global === null) return undefined
  if (sync?.last_sync_ts === undefined) return 'none was answered yet'
  const quiet = sync.in_dnd ? ', asked not to be disturbed' : sync.next_sync_due ? ', due again' : ''
  return `${time(sync.last_sync_ts)}, ${fromNow(sync.last_sync_ts)}${quiet}`
}

function limitsOf({ limit_per_minute: minute, limit_per_hour: hour, limit_per_day: day }: Account): string {
  return [minute && `${minute}/min`, hour && `${hour}/h`, day && `${day}/d`].filter(Boolean).join(' ')
}

function sayPause({ pause }: Account): string {
  if (pause === undefined) return ''
  return `${pause.reason} (for ${duration(Date.now() / 1000 - pause.since_ts)})`
}
