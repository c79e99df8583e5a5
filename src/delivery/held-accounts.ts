/**
 * Which accounts with due messages are held back on purpose, and by what: for metrics, so that an alert on mail that
 * stands still need not fire for mail that is meant to. What holds a part of an account's mail (a suspended batch, a rule
 * that immediate messages ignore) shows like what holds all of it, or not at all.
 */
import type { Db } from '../db/db.js'
import { fullScopes } from '../limits/store.js'
import type { DueOfAccount } from '../queue/state.js'
import { isHeld } from './admission.js'
import type { Lookup, Settings } from './settings.js'

export type HeldBy = 'pause' | 'suspension' | 'rule' | 'limit'

export interface HeldAccount {
  readonly tenantId: string
  readonly accountId: string
  readonly by: HeldBy
}

/** `now` is the wall clock's, `steadyNow` that of limits; epoch ms. */
export async function heldAccounts(
  { db, settings }: { readonly db: Db; readonly settings: Pick<Settings, 'get'> },
  due: readonly Pick<DueOfAccount, 'accountKey' | 'tenantId' | 'accountId'>[],
  { now, steadyNow }: { readonly now: number; readonly steadyNow: number },
): Promise<HeldAccount[]> {
  const lookups = await settings.get(due.map(each => each.accountKey))
  const limits = [...lookups.values()].flatMap(lookup => lookup.limits)
  const full = await fullScopes(db, limits, steadyNow)
  return due.flatMap(({ accountKey, tenantId, accountId }) => {
    const lookup = lookups.get(accountKey)
    const by = lookup === undefined ? null : heldBy(lookup, full, now)
    return by === null ? [] : [{ tenantId, accountId, by }]
  })
}

function heldBy(lookup: Lookup, full: ReadonlySet<string>, now: number): HeldBy | null {
  if (isHeld(lookup)) return lookup.account.pause === null ? 'suspension' : 'pause'
  if (lookup.opening(now).kind === 'closed') return 'rule'
  return lookup.limits.some(({ scope }) => full.has(scope)) ? 'limit' : null
}
