import { expect, it, onTestFinished } from 'vitest'
import { loadAccounts } from '../../src/accounts/store.js'
import { createSettings } from '../../src/delivery/settings.js'
import { systemClock } from '../../src/lib/clock.js'
import { listRules } from '../../src/rules/store.js'
import { loadTenants } from '../../src/tenants/store.js'
import { openHttpApp } from '../support/http-app.js'

it('an account is told to have nowhere to report to only where neither its tenant nor the service names a URL', async () => {
  const { temp, sealer, addTenant, call, close } = await openHttpApp('sqlite')
  onTestFinished(close)
  const fails = () => {
    throw new Error('a record cannot be read')
  }
  const untold = async (url: string | null) => {
    const settings = createSettings({
      db: temp.db,
      clock: systemClock,
      timezone: 'UTC',
      globalEndpoint: { url, user: null, password: null, token: null },
      loadAccounts: async keys => [...(await loadAccounts(temp.db, sealer, keys, fails)).values()],
      loadTenants: ids => loadTenants(temp.db, sealer, ids, fails),
      loadRules: () => listRules(temp.db),
    })
    const keys = (await temp.db.read({ sql: 'select key from accounts', params: [] })).map(row => Number(row.key))
    const lookups = [...(await settings.get(keys)).values()]
    return Object.fromEntries(lookups.map(({ tenant, isUntold }) => [tenant.id, isUntold]))
  }
  for (const [id, fields] of [
    ['with', { client_base_url: 'https://app.test' }],
    ['without', {}],
    ['emptied', { client_base_url: '' }],
  ] as const) {
    await addTenant(id, fields)
    await call('POST', '/account', { body: { id: 'main', tenant_id: id, host: 'smtp.test' } })
  }
  expect(await untold(null)).toEqual({ with: false, without: true, emptied: true })
  expect(await untold('')).toEqual({ with: false, without: true, emptied: true })
  expect(await untold('https://reports.test/sync')).toEqual({ with: false, without: false, emptied: false })
})
