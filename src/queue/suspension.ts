/**
 * Suspending and activating: one batch, a tenant, the whole scheduler. A tenant's list of suspended batches is JSON, so
 * a code may hold any character; ['*'] is all of them. Survives restarts. The dispatcher reads both before it
 * claims; the whole scheduler's switch is asked once more in the claim itself.
 */
import type { Db } from '../db/db.js'

export const ALL = '*'
/** Each claim compares with the list; a client that suspends more wants the whole tenant suspended. */
const MAX_BATCHES = 1_000

export type SuspensionResult =
  | { readonly ok: true; readonly suspendedBatches: readonly string[] }
  /** wrong_state: one batch cannot be taken out of all. */
  | { readonly ok: false; readonly problem: 'tenant_not_found' | 'wrong_state' | 'too_many' }

export interface SuspensionTarget {
  readonly tenantId: string
  /** null: all of the tenant; '': changes nothing. */
  readonly batchCode: string | null
  /** Epoch ms. */
  readonly now: number
}

/** Batches add up; what is wholly suspended stays so. */
export async function suspendTenant(db: Db, target: SuspensionTarget): Promise<SuspensionResult> {
  const { batchCode } = target
  return change(db, target, batches => {
    if (batchCode === '' || batches.includes(ALL)) return batches
    if (batchCode === null || batchCode === ALL) return [ALL]
    return [...new Set([...batches, batchCode])].sort()
  })
}

/** Without a batch code all of the tenant's suspensions end. */
export async function activateTenant(db: Db, target: SuspensionTarget): Promise<SuspensionResult> {
  const { batchCode } = target
  return change(db, target, batches => {
    if (batchCode === '') return batches
    if (batchCode === null || batchCode === ALL) return []
    return batches.includes(ALL) ? 'wrong_state' : batches.filter(each => each !== batchCode)
  })
}

/** How a new database begins: before it has a tenant, and unless another process of the same start was first. */
export async function beginScheduler(db: Db, active: boolean): Promise<void> {
  await db.write([
    {
      sql: `insert into meta (key, value) select 'scheduler_active', $1 where not exists (select 1 from tenants)
        on conflict (key) do nothing`,
      params: [active ? '1' : '0'],
    },
  ])
}

export async function setSchedulerActive(db: Db, active: boolean): Promise<void> {
  await db.write([
    {
      sql: `insert into meta (key, value) values ('scheduler_active', $1)
        on conflict (key) do update set value = excluded.value`,
      params: [active ? '1' : '0'],
    },
  ])
}

/** True until somebody switched it off. */
export async function isSchedulerActive(db: Db): Promise<boolean> {
  const [row] = await db.read({ sql: "select value from meta where key = 'scheduler_active'", params: [] })
  return row?.value !== '0'
}

/** Compares and swaps: two commands at the same instant both take effect, in one order or the other. */
async function change(
  db: Db,
  { tenantId, now }: SuspensionTarget,
  next: (batches: readonly string[]) => readonly string[] | 'wrong_state',
): Promise<SuspensionResult> {
  for (;;) {
    const [row] = await db.read({ sql: 'select suspended_batches from tenants where id = $1', params: [tenantId] })
    if (row === undefined) return { ok: false, problem: 'tenant_not_found' }
    const before = row.suspended_batches as string
    const batches = next(JSON.parse(before) as string[])
    if (batches === 'wrong_state') return { ok: false, problem: batches }
    if (batches.length > MAX_BATCHES) return { ok: false, problem: 'too_many' }
    const [changed] = await db.write([
      {
        sql: `update tenants set suspended_batches = $2, updated_at = $3
          where id = $1 and suspended_batches = $4 returning id`,
        params: [tenantId, JSON.stringify(batches), now, before],
      },
    ])
    if (changed!.length === 1) return { ok: true, suspendedBatches: batches }
  }
}
