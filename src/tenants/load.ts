/** Tenants by id for the loops, many at once. */
import { type Db, rowsParam } from '../db/db.js'
import type { Sealer } from '../lib/sealer.js'
import { tenantFrom } from './row.js'
import type { Tenant } from './tenant.js'

/** Ids without a tenant are absent. One whose secrets cannot be opened is told to `onUnreadable` and left out. */
export async function loadTenants(
  db: Db,
  sealer: Sealer,
  ids: readonly string[],
  onUnreadable: (id: string, error: unknown) => void = () => {},
): Promise<ReadonlyMap<string, Tenant>> {
  const rows = await db.read({
    sql: 'select t.* from @rows($1: i text) g join tenants t on t.id = g.i',
    params: [rowsParam(ids.map(id => ({ i: id })))],
  })
  const tenants = new Map<string, Tenant>()
  for (const row of rows) {
    try {
      const tenant = tenantFrom(row, sealer)
      tenants.set(tenant.id, tenant)
    } catch (error) {
      onUnreadable(row.id as string, error)
    }
  }
  return tenants
}
