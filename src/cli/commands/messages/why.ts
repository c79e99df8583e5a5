/** Why a message is where it is, by the figures of what holds it back, and which command would move it on. */
import type { Place } from '../../command.js'
import type { Field } from '../../output/table.js'
import { counted, fromNow, shellWord, time } from '../../output/text.js'
import { type Rule, sayRule } from '../rules/words.js'
import { isOpen, type WholeMessage } from './record.js'

/** What stands around a message and may hold it back. */
export interface Around {
  /** Somebody may be sending: it runs here, or its database is shared. */
  readonly isServed: boolean
  /** null: it was deleted, or nobody asked. */
  readonly account: {
    readonly host: string
    readonly port: number
    readonly limit_per_minute?: number
    readonly limit_per_hour?: number
    readonly limit_per_day?: number
    readonly pause?: {
      readonly kind: string
      readonly since_ts: number
      readonly next_probe_ts?: number
      readonly probes: number
    }
  } | null
  readonly tenant: {
    readonly active: boolean
    readonly client_base_url?: string
    readonly client_sync_path?: string
    readonly suspended_batches?: readonly string[]
    readonly rate_limits?: { readonly hourly?: number; readonly daily?: number }
  }
  readonly rules: readonly Rule[]
  readonly status: { readonly scheduler_active: boolean; readonly release_needed?: string } | null
  /** Unix seconds. */
  readonly lastSync: number | null
  /** Where reports of tenants without an endpoint go. */
  readonly globalReports: string | null
}

/** In a sentence: why it waits, why it failed, or how it went. */
export function whyOf({ status, error, code, waiting_detail: detail, recipients }: WholeMessage): string | undefined {
  if (status === 'error' || status === 'cancelled') return `${error ?? ''}${code ? ` (${code})` : ''}`
  if (status !== 'sent') return detail
  const refused = recipients?.filter(each => each.status !== 'accepted').length ?? 0
  if (refused > 0) return `accepted for ${counted(recipients!.length - refused, 'recipient')}, refused for ${refused}`
  return 'the server accepted it for every recipient'
}

/** What holds it back, by its own figures. */
export function causeOf({ waiting_for: cause, ...message }: WholeMessage, { account, tenant, rules }: Around): Field[] {
  switch (cause) {
    case 'paused_account': {
      const pause = account?.pause
      if (pause === undefined) return []
      const probe = pause.next_probe_ts === undefined ? '' : `, next probe ${fromNow(pause.next_probe_ts)}`
      const probes = pause.kind === 'manual' ? '' : `, ${counted(pause.probes, 'probe')} so far${probe}`
      return [['paused', `since ${time(pause.since_ts)}${probes}`]]
    }
    case 'rule': {
      const isItsOwn = ({ enabled, tenant_id, account_id }: Rule) =>
        enabled &&
        (tenant_id ?? message.tenant_id) === message.tenant_id &&
        (account_id ?? message.account_id) === message.account_id
      return rules.filter(isItsOwn).map(rule => ['rule', sayRule(rule)] as const)
    }
    case 'limit': {
      const ofAccount = sayLimits([account?.limit_per_minute, account?.limit_per_hour, account?.limit_per_day])
      const ofTenant = sayLimits([undefined, tenant.rate_limits?.hourly, tenant.rate_limits?.daily])
      return [
        ['limit', ofAccount === '' ? undefined : `${ofAccount} through its account`],
        ['limit', ofTenant === '' ? undefined : `${ofTenant} for its tenant`],
        ['told', message.deferred_reason],
      ]
    }
    default:
      return []
  }
}

function sayLimits(limits: readonly (number | undefined)[]): string {
  const units = ['a minute', 'an hour', 'a day']
  return limits.flatMap((limit, i) => (limit ? [`${limit} ${units[i]}`] : [])).join(', ')
}

/** A command that would move it on; undefined: to wait is right. */
export function todoOf({ instance }: Place, message: WholeMessage, { isServed, account, tenant, status }: Around) {
  const ofTenant = `mail-proxy ${instance} ${message.tenant_id}`
  const id = shellWord(message.id)
  if (message.status === 'error' || message.status === 'cancelled') return `${ofTenant} messages retry ${id}`
  if (message.status === 'in_doubt') return `${ofTenant} messages release ${id}, or discard ${id}`
  if (status?.release_needed !== undefined && isOpen(message)) return `mail-proxy restart ${instance} --release`
  switch (message.waiting_for) {
    case 'suspension': {
      if (status?.scheduler_active === false) return `mail-proxy ${instance} activate`
      if (!tenant.active) return `mail-proxy ${instance} tenants update ${message.tenant_id} --active`
      const isWhole = tenant.suspended_batches?.includes('*') ?? false
      return isWhole ? `${ofTenant} activate` : `${ofTenant} activate --batch ${shellWord(message.batch_code ?? '')}`
    }
    case 'paused_account':
      return account?.pause?.kind === 'manual'
        ? `${ofTenant} accounts resume ${message.account_id}`
        : `mend the account, then ${ofTenant} accounts test ${message.account_id}`
    case 'rule':
      return `${ofTenant} run-now, or change the rule: mail-proxy ${instance} rules update`
    case 'queue':
      return isServed ? undefined : `mail-proxy start ${instance} --background`
    default:
      return undefined
  }
}

/** How many of its reports were told, to whom, and what is owed. */
export function reportsOf({ history = [] }: WholeMessage, { tenant, globalReports, lastSync }: Around): string {
  const entries = history.filter(each => each.event_type !== 'attempt')
  const base = tenant.client_base_url
  const to = base === undefined ? globalReports : `${base}${tenant.client_sync_path ?? '/mail-proxy/sync'}`
  if (to === null) return 'none: its tenant has no endpoint'
  const owed = entries.filter(each => each.reported_ts === undefined).length
  const told = `${entries.length - owed} of ${entries.length} told to ${to}`
  if (owed === 0) return told
  return `${told}, ${owed} waiting; last answer there ${lastSync === null ? 'never' : time(lastSync)}`
}
