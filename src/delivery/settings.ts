/**
 * What dispatch needs to know of accounts, tenants and rules, kept in memory while it is true. Every change bumps a
 * version in the database, which each process reads once a poll: what another instance changed is seen within it.
 */
import type { Account } from '../accounts/account.js'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import { type Limit, limitsOf } from '../limits/windows.js'
import type { Rule } from '../rules/rule.js'
import { type Opening, openingAt } from '../rules/schedule.js'
import { type GlobalEndpoint, reportEndpoint } from '../tenants/endpoint.js'
import type { Tenant } from '../tenants/tenant.js'

/** One account as dispatch sees it. */
export interface Lookup {
  readonly account: Account
  readonly tenant: Tenant
  readonly limits: readonly Limit[]
  /** There is nowhere to report to. */
  readonly isUntold: boolean
  opening(now: number): Opening
}

export interface SettingsDeps {
  readonly db: Db
  readonly clock: Clock
  readonly timezone: string
  readonly globalEndpoint: GlobalEndpoint
  loadAccounts(keys: readonly number[]): Promise<readonly Account[]>
  loadTenants(ids: readonly string[]): Promise<ReadonlyMap<string, Tenant>>
  loadRules(): Promise<readonly Rule[]>
}

export interface Settings {
  readonly schedulerActive: boolean
  /** Why nothing may be sent before an operator releases the database; null: it may. */
  readonly releaseNeeded: string | null
  /** Reads the version, at most about once a second; forgets everything when it moved. Tells what `bump` could not. */
  refresh(): Promise<void>
  /** Says that something changed: to this process now, to the others by the version. */
  bump(): Promise<void>
  forget(): void
  /** Moves with each change that this process has heard of, whoever made it. */
  readonly generation: number
  /** True while nothing has changed since this was answered. */
  isCurrent(lookup: Lookup): boolean
  /** Accounts that are gone are absent. */
  get(keys: readonly number[]): Promise<ReadonlyMap<number, Lookup>>
}

/** A little less than a second, the step of the loops that ask: one that comes a moment early must not wait for the next. */
const READ_EVERY_MS = 900

export function createSettings(deps: SettingsDeps): Settings {
  const { db, clock, timezone, globalEndpoint, loadAccounts, loadTenants, loadRules } = deps
  let version = ''
  let active = true
  let releaseNeeded: string | null = null
  let generation = 0
  let readAgainAt = Number.NEGATIVE_INFINITY
  let accounts = new Map<number, Lookup>()
  let rules: Promise<readonly Rule[]> | null = null

  /** A change was not told to the other processes. */
  let isOwed = false

  const tell = async () => {
    try {
      await db.write([
        {
          sql: `insert into meta (key, value) values ('settings_version', '1')
            on conflict (key) do update set value = cast(cast(meta.value as bigint) + 1 as text)`,
          params: [],
        },
      ])
    } catch (error) {
      isOwed = true
      throw error
    }
  }

  const forget = () => {
    generation += 1
    readAgainAt = Number.NEGATIVE_INFINITY
    accounts = new Map()
    rules = null
  }

  const readRules = () => {
    const read = loadRules()
    rules = read
    // Or nothing would be sent any more, however well the database is by then.
    read.catch(() => {
      if (rules === read) rules = null
    })
    return read
  }

  const load = async (keys: readonly number[]): Promise<Lookup[]> => {
    const loaded = await loadAccounts(keys)
    const [tenants, all] = await Promise.all([
      loadTenants([...new Set(loaded.map(each => each.tenantId))]),
      rules ?? readRules(),
    ])
    return loaded.flatMap(account => {
      const tenant = tenants.get(account.tenantId)
      if (tenant === undefined) return []
      const own = all.filter(rule => covers(rule, account))
      return [
        {
          account,
          tenant,
          limits: limitsOf(account, tenant),
          isUntold: reportEndpoint(tenant, globalEndpoint) === null,
          opening: now => openingAt(own, now, timezone),
        },
      ]
    })
  }

  return {
    get schedulerActive() {
      return active
    },
    get releaseNeeded() {
      return releaseNeeded
    },
    async refresh() {
      const now = clock.monotonic()
      if (now < readAgainAt) return
      if (isOwed) {
        isOwed = false
        await tell().catch(() => {
          // It was said when it failed first, and is owed again.
        })
      }
      const began = generation
      const rows = await db.read({
        sql: "select key, value from meta where key in ('settings_version', 'scheduler_active', 'release_needed')",
        params: [],
      })
      const meta = new Map(rows.map(row => [row.key, row.value as string]))
      active = meta.get('scheduler_active') !== '0'
      releaseNeeded = meta.get('release_needed') ?? null
      const next = meta.get('settings_version') ?? ''
      if (next !== version) forget()
      version = next
      // What was told while we read is read again at once.
      if (began === generation) readAgainAt = now + READ_EVERY_MS
    },
    async bump() {
      forget()
      await tell()
      forget()
    },
    forget,
    get generation() {
      return generation
    },
    isCurrent: lookup => accounts.get(lookup.account.key) === lookup,
    async get(keys) {
      const found = new Map<number, Lookup>()
      const missing: number[] = []
      for (const key of keys) {
        const known = accounts.get(key)
        if (known === undefined) missing.push(key)
        else found.set(key, known)
      }
      if (missing.length === 0) return found
      const began = generation
      for (const lookup of await load(missing)) {
        found.set(lookup.account.key, lookup)
        // Something changed while we read: good for this once, not to be kept.
        if (began === generation) accounts.set(lookup.account.key, lookup)
      }
      return found
    },
  }
}

function covers(rule: Rule, account: Account): boolean {
  return (
    (rule.tenantId === null || rule.tenantId === account.tenantId) &&
    (rule.accountId === null || rule.accountId === account.id)
  )
}
