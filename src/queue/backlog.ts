/**
 * What is open, by account and age: for an operator who asks why mail does not go out. Looks at every row that is still
 * to be sent, so it is read on demand and by nothing that runs often.
 */
import type { Db, Row } from '../db/db.js'
import { AGES } from './state.js'

export interface AccountBacklog {
  readonly accountKey: number
  readonly tenantId: string
  readonly accountId: string
  /** Due and waiting for their turn. */
  readonly ready: number
  /** Those by how long they have been due, as AGES has it. */
  readonly readyByAge: readonly number[]
  /** When the longest due of them became due, epoch ms. */
  readonly oldestDueAt: number | null
  /** Scheduled, or to be tried again. */
  readonly waiting: number
  readonly nextDueAt: number | null
  readonly sending: number
  /** Of those: under a lease that has run out or is gone. */
  readonly orphaned: number
  readonly inDoubt: number
}

/** Accounts with open messages, most first; `now` in epoch ms, `steadyNow` on the clock of leases. */
export async function readBacklog(
  db: Db,
  { now, steadyNow, limit }: { readonly now: number; readonly steadyNow: number; readonly limit: number },
): Promise<AccountBacklog[]> {
  const ages = AGES.map(({ below }, i) =>
    Number.isFinite(below)
      ? `sum(case when $1 - m.due_at < ${below * 1000} then 1 else 0 end) as upto${i}`
      : `count(*) as upto${i}`,
  )
  const [ready, waiting, sending, doubt] = await Promise.all([
    db.read({
      sql: `select m.account_key, m.tenant_id, m.account_id, count(*) as n, min(m.due_at) as oldest, ${ages.join(', ')}
        from messages m where m.stage = 1 group by m.account_key, m.tenant_id, m.account_id`,
      params: [now],
    }),
    db.read({
      sql: `select account_key, tenant_id, account_id, count(*) as n, min(due_at) as due from messages
        where stage = 2 group by account_key, tenant_id, account_id`,
      params: [],
    }),
    db.read({
      sql: `select m.account_key, m.tenant_id, m.account_id, count(*) as n,
          sum(case when l.id is null or l.until <= @now($1) then 1 else 0 end) as orphaned
        from messages m left join leases l on l.id = m.lease
        where m.stage = 3 group by m.account_key, m.tenant_id, m.account_id`,
      params: [steadyNow],
    }),
    db.read({
      sql: `select account_key, tenant_id, account_id, count(*) as n from messages
        where stage = 4 group by account_key, tenant_id, account_id`,
      params: [],
    }),
  ])
  const found = new Map<number, { -readonly [K in keyof AccountBacklog]: AccountBacklog[K] }>()
  const of = (row: Row) => {
    const key = Number(row.account_key)
    const known = found.get(key)
    if (known !== undefined) return known
    const blank = {
      accountKey: key,
      tenantId: row.tenant_id as string,
      accountId: row.account_id as string,
      ready: 0,
      readyByAge: AGES.map(() => 0),
      oldestDueAt: null,
      waiting: 0,
      nextDueAt: null,
      sending: 0,
      orphaned: 0,
      inDoubt: 0,
    }
    found.set(key, blank)
    return blank
  }
  for (const row of ready) {
    const upTo = AGES.map((_, i) => Number(row[`upto${i}`]))
    const each = of(row)
    each.ready = Number(row.n)
    each.oldestDueAt = Number(row.oldest)
    each.readyByAge = upTo.map((n, i) => n - (i === 0 ? 0 : upTo[i - 1]!))
  }
  for (const row of waiting) Object.assign(of(row), { waiting: Number(row.n), nextDueAt: Number(row.due) })
  for (const row of sending) Object.assign(of(row), { sending: Number(row.n), orphaned: Number(row.orphaned) })
  for (const row of doubt) of(row).inDoubt = Number(row.n)
  const open = (each: AccountBacklog) => each.ready + each.waiting + each.sending + each.inDoubt
  return [...found.values()].sort((a, b) => open(b) - open(a)).slice(0, limit)
}
