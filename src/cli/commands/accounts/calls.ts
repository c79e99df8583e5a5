/** What the commands on accounts ask the API for. */
import { type Api, ApiError } from '../../api.js'
import type { Account, LoginTest } from './text.js'

/** Rejects when there is none of that id. */
export function getAccount(api: Api, tenant: string, id: string): Promise<Account> {
  return api.call<Account>('GET', `/account/${encodeURIComponent(id)}`, { query: { tenant_id: tenant } })
}

/** Rejects when there is no such tenant. */
export async function getTenant(api: Api, tenant: string): Promise<void> {
  await api.call('GET', `/tenant/${encodeURIComponent(tenant)}`)
}

/** Of the tenant; rejects when there is no such tenant. */
export async function getAccounts(api: Api, tenant: string): Promise<readonly Account[]> {
  // The list of a tenant that is not there is empty.
  await getTenant(api, tenant)
  const { accounts } = await api.call<{ accounts: Account[] }>('GET', '/accounts', { query: { tenant_id: tenant } })
  return accounts
}

export async function accountExists(api: Api, tenant: string, id: string): Promise<boolean> {
  try {
    await getAccount(api, tenant, id)
    return true
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false
    throw error
  }
}

/** Connects and logs in, with what the service keeps of the account. */
export async function testLogin(api: Api, tenant: string, id: string): Promise<LoginTest> {
  try {
    return await api.call<LoginTest>('POST', `/account/${encodeURIComponent(id)}/test`, {
      query: { tenant_id: tenant },
    })
  } catch (error) {
    // `ok: false` is its answer and no refusal.
    if (error instanceof ApiError && error.status === 200) return error.answer as unknown as LoginTest
    throw error
  }
}

export async function deleteAccount(api: Api, tenant: string, id: string): Promise<void> {
  await api.call('DELETE', `/account/${encodeURIComponent(id)}`, { query: { tenant_id: tenant } })
}

/** Messages that a deletion of the account turns into errors. */
export async function waitingBehind(api: Api, tenant: string, id: string): Promise<number> {
  const { by_account: counts } = await api.call<{ by_account: Record<string, unknown>[] }>('GET', '/stats', {
    query: { tenant_id: tenant },
  })
  const own = counts.find(each => each.account_id === id) ?? {}
  // What is being sent right now may still go out.
  const stays = new Set(['tenant_id', 'account_id', 'sent', 'error', 'cancelled', 'sending'])
  return Object.entries(own).reduce((sum, [status, n]) => sum + (stays.has(status) ? 0 : Number(n)), 0)
}
