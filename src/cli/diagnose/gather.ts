/** Gathers the facts of a diagnosis. What cannot be had is a fact too: nothing here throws for a broken instance. */
import { statSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Config } from '../../config.js'
import { migrationStatus } from '../../db/migrate.js'
import { VERSION } from '../../lib/version.js'
import type { LoadedConfig } from '../../load-config.js'
import { type Api, withApi } from '../api.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, showDatabase, withInstanceDatabase } from '../database.js'
import { errorLine } from '../errors.js'
import { lookAtProcess } from '../running.js'
import type {
  Account,
  AccountTest,
  DatabaseFacts,
  Diagnostics,
  Facts,
  LoopFacts,
  ProcessFacts,
  ServiceFacts,
  Status,
  SyncTest,
  Tenant,
} from './facts.js'

export interface Scope {
  /** null: all. */
  readonly tenant: string | null
  readonly account: string | null
  /** Log in to accounts and call report endpoints. */
  readonly network: boolean
}

/** Connections at once. */
const AT_ONCE = 8
/** Reading a larger file through takes minutes. */
const CHECKED_MB = 2048

export async function gather(
  io: CliIo,
  instance: string,
  { config, warnings }: LoadedConfig,
  scope: Scope,
  step: (doing: string) => void,
): Promise<Facts> {
  step('looking at process and database')
  const process = await processFacts(io, config)
  const database = await lookAtDatabase(config)
  const blank = { instance, warnings, process, database, isNetworkTested: scope.network }
  const nothing = { service: null, accountTests: [], syncTests: [] }
  if (!database.exists) return { ...blank, ...nothing, unasked: 'there is nothing to ask yet' }
  try {
    return await withApi(io, instance, async api => {
      step('asking the service')
      const service = await askService(api, scope)
      if (!scope.network) return { ...blank, service, unasked: null, accountTests: [], syncTests: [] }
      const accountTests = await testAccounts(api, service.accounts, step)
      const syncTests = await testEndpoints(api, service, step)
      return { ...blank, service, unasked: null, accountTests, syncTests }
    })
  } catch (error) {
    return { ...blank, ...nothing, unasked: errorLine(error).slice('Error: '.length) }
  }
}

async function processFacts(io: CliIo, { instance: { dir } }: Config): Promise<ProcessFacts> {
  const { state, process } = await lookAtProcess(io, dir)
  const version = state === 'running' ? await versionOf(process!.url) : null
  return { state, pid: process?.pid ?? null, url: process?.url || null, version, ownVersion: VERSION }
}

async function versionOf(url: string): Promise<string | null> {
  try {
    const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(3_000) })
    return ((await answer.json()) as { version?: string }).version ?? null
  } catch {
    return null
  }
}

async function lookAtDatabase(config: Config): Promise<DatabaseFacts> {
  const { database, queue } = config
  const isFile = database.dialect === 'sqlite'
  const sizeMb = isFile ? megabytes(database.url) : null
  const known = {
    shown: showDatabase(config),
    dialect: database.dialect,
    sizeMb,
    walMb: isFile ? megabytes(`${database.url}-wal`) : null,
    freeMb: isFile ? await freeMb(dirname(database.url)) : null,
    minFreeMb: queue.minFreeMb,
  }
  const unread = { schema: null, integrity: null }
  if (!databaseMayExist(config)) return { ...known, ...unread, exists: false, problem: null }
  try {
    return await withInstanceDatabase(config, { exclusive: false }, async db => {
      const { current, latest } = await migrationStatus(db)
      const checks = isFile && (sizeMb ?? 0) <= CHECKED_MB
      const rows = checks ? await db.read({ sql: 'pragma quick_check(5)', params: [] }) : null
      const integrity = rows?.map(row => String(Object.values(row)[0])) ?? null
      return { ...known, exists: true, problem: null, schema: { current, latest }, integrity }
    })
  } catch (error) {
    return { ...known, ...unread, exists: true, problem: errorLine(error).slice('Error: '.length) }
  }
}

async function askService(api: Api, { tenant, account }: Scope): Promise<ServiceFacts> {
  const query = { tenant_id: tenant }
  const [status, { loops }, diagnostics, { accounts }, { tenants }] = await Promise.all([
    api.call<Status>('GET', '/status'),
    api.call<{ loops: LoopFacts[] }>('GET', '/loops'),
    api.call<unknown>('GET', '/diagnostics') as Promise<Diagnostics>,
    api.call<{ accounts: Account[] }>('GET', '/accounts', { query }),
    api.call<{ tenants: Tenant[] }>('GET', '/tenants'),
  ])
  const isAsked = (each: { tenant_id: string }) => tenant === null || each.tenant_id === tenant
  const isThis = (id: string) => account === null || id === account
  return {
    status,
    // Loops of a process that does not run say nothing.
    loops: api.via === 'service' ? loops : [],
    diagnostics: {
      ...diagnostics,
      queue: diagnostics.queue.filter(each => isAsked(each) && isThis(each.account_id)),
      reports: diagnostics.reports.filter(isAsked),
    },
    accounts: accounts.filter(each => isThis(each.id)),
    tenants: tenants.filter(each => tenant === null || each.id === tenant),
  }
}

async function testAccounts(
  api: Api,
  accounts: readonly Account[],
  step: (doing: string) => void,
): Promise<AccountTest[]> {
  return inTurns(
    accounts,
    (done, total) => step(`logging in to accounts, ${done} of ${total}`),
    async each => {
      const about = { tenant_id: each.tenant_id, account_id: each.id }
      try {
        const path = `/account/${encodeURIComponent(each.id)}/test`
        const answer = await api.call<{ ok: boolean; error?: string }>('POST', path, {
          query: { tenant_id: each.tenant_id },
          acceptNo: true,
        })
        return { ...about, ok: answer.ok, error: answer.error ?? null }
      } catch (error) {
        return { ...about, ok: false, error: errorLine(error).slice('Error: '.length) }
      }
    },
  )
}

async function testEndpoints(
  api: Api,
  { tenants, diagnostics }: ServiceFacts,
  step: (doing: string) => void,
): Promise<SyncTest[]> {
  const asked = tenants.filter(
    each => each.active && (each.client_base_url !== undefined || diagnostics.global_endpoint),
  )
  return inTurns(
    asked,
    (done, total) => step(`calling report endpoints, ${done} of ${total}`),
    async ({ id }) => {
      try {
        const path = `/tenant/${encodeURIComponent(id)}/test-sync`
        const answer = await api.call<Partial<SyncTest> & { ok: boolean; duration_ms: number }>('POST', path, {
          acceptNo: true,
        })
        return {
          tenant_id: id,
          ok: answer.ok,
          url: answer.url ?? null,
          error: answer.error ?? null,
          duration_ms: answer.duration_ms,
        }
      } catch (error) {
        return { tenant_id: id, ok: false, url: '', error: errorLine(error).slice('Error: '.length), duration_ms: 0 }
      }
    },
  )
}

/** A few at once, answers in the order asked. */
async function inTurns<T, R>(
  items: readonly T[],
  tell: (done: number, total: number) => void,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(items.length)
  let next = 0
  let done = 0
  const turn = async () => {
    for (let i = next++; i < items.length; i = next++) {
      tell(done, items.length)
      results[i] = await work(items[i]!)
      done += 1
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, turn))
  return results
}

function megabytes(path: string): number | null {
  try {
    return statSync(path).size / 1024 / 1024
  } catch {
    return null
  }
}

async function freeMb(dir: string): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(dir)
    return (bavail * bsize) / 1024 / 1024
  } catch {
    return null
  }
}
