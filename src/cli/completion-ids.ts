/**
 * Names and ids for completion, in the time a person waits at a key, and in silence where they cannot be had. From the
 * service when it runs, else read from the database: to build the service for it takes longer than that.
 */
import { systemClock } from '../lib/clock.js'
import { instanceNames } from './commands/list.js'
import type { Ids } from './completion.js'
import type { CliIo } from './context.js'
import { databaseMayExist, withInstanceDatabase } from './database.js'
import { readToken } from './instance.js'
import { findProcess } from './running.js'
import { settingsOfKnownInstance } from './settings.js'
import { reachable } from './welcome.js'

const WAIT_MS = 1200
/** More than that nobody reads. */
const MOST = 200

export function idsForCompletion(io: CliIo): Ids {
  const silently = async (look: () => Promise<readonly string[]>) => {
    const late = systemClock.sleep(WAIT_MS).then(() => [])
    return Promise.race([look().catch(() => []), late])
  }
  const find = (instance: string, prefix: string, wanted: Wanted) =>
    silently(async () => {
      const { config } = settingsOfKnownInstance(io, instance)
      const { dir } = config.instance
      const running = findProcess(io, dir)
      if (running === null || running.url === '')
        return databaseMayExist(config) ? fromDatabase(config, prefix, wanted) : []
      const token = config.server.apiToken ?? (dir === null ? null : readToken(dir))
      const found = await fromService(reachable(running.url), token, wanted)
      return found.filter(id => id.startsWith(prefix)).slice(0, MOST)
    })
  return {
    instances: prefix => {
      try {
        return instanceNames(io).filter(name => name.startsWith(prefix))
      } catch {
        return []
      }
    },
    tenants: (instance, prefix) => find(instance, prefix, { kind: 'tenants', tenant: null }),
    accounts: (instance, tenant, prefix) => find(instance, prefix, { kind: 'accounts', tenant }),
  }
}

interface Wanted {
  readonly kind: 'tenants' | 'accounts'
  /** null: of all tenants. */
  readonly tenant: string | null
}

async function fromService(url: string, token: string | null, { kind, tenant }: Wanted): Promise<string[]> {
  const response = await fetch(`${url}/${kind}${tenant === null ? '' : `?tenant_id=${encodeURIComponent(tenant)}`}`, {
    headers: token === null ? {} : { 'x-api-token': token },
    signal: AbortSignal.timeout(WAIT_MS),
  })
  const answer = (await response.json()) as Partial<Record<string, readonly { readonly id: string }[]>>
  return [...new Set((answer[kind] ?? []).map(each => each.id))]
}

async function fromDatabase(
  config: Parameters<typeof databaseMayExist>[0],
  prefix: string,
  { kind, tenant }: Wanted,
): Promise<string[]> {
  const own = tenant === null ? [] : [tenant]
  const rows = await withInstanceDatabase(config, { exclusive: false }, db =>
    db.read({
      sql: `select distinct id from ${kind} where substr(id, 1, length($1)) = $1
        ${own.length === 0 ? '' : 'and tenant_id = $2'} order by id limit ${MOST}`,
      params: [prefix, ...own],
    }),
  )
  return rows.map(row => String(row.id))
}
