/**
 * `messages show`: the whole story of one message, and first of all why it is where it is. What the message itself does
 * not hold, the pause of its account, the rule, the limit, the suspension, is asked for along with it.
 */
import type { Command } from 'commander'
import { type Api, ApiError, withApi } from '../../api.js'
import { type Place, withExamples, withJson } from '../../command.js'
import { show } from '../../output/show.js'
import { isOpen, messagePath, type WholeMessage } from './record.js'
import { storyOf } from './story.js'
import type { Around } from './why.js'

export function addMessageShow(messages: Command, place: Place): void {
  const { io, instance, tenant } = place
  const command = messages
    .command('show')
    .description('the whole story of one message: why it waits or failed, recipients, attempts, history, reports')
    .argument('<id>', 'id of the message')
    .action(async (id: string, options: { json?: boolean }) => {
      const { message, around } = await withApi(io, instance, async api => {
        const found = await api.call<WholeMessage>('GET', messagePath(id), { query: { tenant_id: tenant } })
        return { message: found, around: options.json ? null : await lookAround(api, found) }
      })
      show(io, options, message, () => storyOf(place, message, around!))
    })
  const words = tenant === null ? instance : `${instance} ${tenant}`
  withExamples(withJson(command), [
    `mail-proxy ${words} messages show invoice-42`,
    `mail-proxy ${words} messages show invoice-42 --json`,
  ])
}

async function lookAround(api: Api, message: WholeMessage): Promise<Around> {
  const { tenant_id, account_id, waiting_for: cause } = message
  const query = { tenant_id }
  const isOwed = message.history?.some(each => each.event_type !== 'attempt' && each.reported_ts === undefined)
  const [account, tenant, rules, status, sync] = await Promise.all([
    isOpen(message) ? orGone(api.call<Around['account']>('GET', `/account/${account_id}`, { query })) : null,
    api.call<Around['tenant']>('GET', `/tenant/${tenant_id}`),
    cause === 'rule' ? api.call<{ rules: Around['rules'] }>('GET', '/commands/rules') : { rules: [] },
    isOpen(message) ? api.call<Around['status']>('GET', '/status') : null,
    isOwed ? api.call<{ tenants: readonly Sync[] }>('GET', '/tenants/sync-status') : null,
  ])
  return {
    isServed: api.via === 'service' || api.config.database.dialect === 'postgres',
    account,
    tenant,
    rules: rules.rules,
    status,
    lastSync: sync?.tenants.find(each => each.id === tenant_id)?.last_sync_ts ?? null,
    globalReports: api.config.reports.url,
  }
}

interface Sync {
  readonly id: string
  readonly last_sync_ts?: number
}

async function orGone<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null
    throw error
  }
}
