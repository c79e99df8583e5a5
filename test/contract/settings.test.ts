import { expect, it, onTestFinished } from 'vitest'
import { loadAccounts } from '../../src/accounts/store.js'
import { DatabaseUnavailable, type Statement } from '../../src/db/db.js'
import { createSettings } from '../../src/delivery/settings.js'
import { systemClock } from '../../src/lib/clock.js'
import { listRules } from '../../src/rules/store.js'
import { loadTenants } from '../../src/tenants/store.js'
import { openHttpApp } from '../support/http-app.js'
import { opened } from '../support/scene.js'
import { startTestService } from '../support/service.js'

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

it('rules that could not be read are read again', async () => {
  const { temp, sealer, addTenant, call, close } = await openHttpApp('sqlite')
  onTestFinished(close)
  await addTenant('acme', {})
  await call('POST', '/account', { body: { id: 'main', tenant_id: 'acme', host: 'smtp.test' } })
  const [account] = await temp.db.read({ sql: 'select key from accounts', params: [] })
  let reads = 0
  const settings = createSettings({
    db: temp.db,
    clock: systemClock,
    timezone: 'UTC',
    globalEndpoint: { url: null, user: null, password: null, token: null },
    loadAccounts: async keys => [...(await loadAccounts(temp.db, sealer, keys, () => {})).values()],
    loadTenants: ids => loadTenants(temp.db, sealer, ids),
    async loadRules() {
      reads += 1
      if (reads === 1) throw new DatabaseUnavailable('away for a moment')
      return listRules(temp.db)
    },
  })
  await expect(settings.get([Number(account!.key)])).rejects.toThrow('away for a moment')
  expect((await settings.get([Number(account!.key)])).size).toBe(1)
  await settings.get([Number(account!.key)])
  expect(reads).toBe(2)
})

/** A service whose unit that tells the other instances of a change goes through `tell`. */
const serviceThatTells = (tell: (write: () => Promise<unknown>) => Promise<unknown>) =>
  opened(
    startTestService({
      overrides: {
        aroundDb: db => ({
          ...db,
          async write(unit: readonly Statement[]) {
            if (!unit.some(({ sql }) => sql.includes("'settings_version'"))) return db.write(unit)
            let rows: Awaited<ReturnType<typeof db.write>> = []
            await tell(async () => {
              rows = await db.write(unit)
            })
            return rows
          },
        }),
      },
    }),
    each => each.stop(),
  )

it('a suspension is confirmed when no other instance can miss it any more', async () => {
  let goOn = () => {}
  const held = new Promise<void>(resolve => {
    goOn = resolve
  })
  const service = await serviceThatTells(write => held.then(write))
  let isConfirmed = false
  const asked = service.call('POST', '/commands/suspend?tenant_id=default', {}).then(answer => {
    isConfirmed = true
    return answer
  })
  const suspended = { sql: "select 1 from tenants where suspended_batches <> '[]'", params: [] }
  await service.until('the suspension', async () => (await service.service.db!.read(suspended)).length === 1)
  // An answer that waits for nothing would be there long before the last of these.
  for (let n = 0; n < 10; n += 1) await service.call('GET', '/tenant/default')
  expect(isConfirmed).toBe(false)
  goOn()
  expect((await asked).status).toBe(200)
})

it('a change that could not be told to other instances is told with the next look', async () => {
  let failures = 0
  const service = await serviceThatTells(write => {
    failures += 1
    return failures === 1 ? Promise.reject(new DatabaseUnavailable('away for a moment')) : write()
  })
  const version = async () =>
    (await service.service.db!.read({ sql: "select value from meta where key = 'settings_version'", params: [] }))
      .length
  expect(await version()).toBe(0)
  expect((await service.call('POST', '/commands/suspend?tenant_id=default', {})).status).toBe(200)
  expect(failures).toBeGreaterThan(0)
  await service.until('the others are told', async () => (await version()) === 1)
})
