/** Rules in the database. */
import type { Db, Row } from '../db/db.js'
import type { Rule } from './rule.js'

export type NewRule = Omit<Rule, 'id' | 'priority' | 'createdAt'> & {
  /** null: last. */
  readonly priority: number | null
}

/** By priority, then id. */
export async function listRules(db: Db): Promise<Rule[]> {
  return (await db.read({ sql: 'select * from rules order by priority, id', params: [] })).map(ruleFrom)
}

export type CreatedRule =
  | { readonly kind: 'created'; readonly id: number }
  | { readonly kind: 'no_tenant' | 'no_account' }

/** A rule for what does not exist is refused: it would hold nothing, and nobody would notice the slip. */
export async function createRule(db: Db, rule: NewRule, now: number): Promise<CreatedRule> {
  const missing = await missingIn(db, rule)
  if (missing !== null) return { kind: missing }
  const [rows] = await db.write([
    {
      sql: `insert into rules (tenant_id, account_id, name, enabled, priority, days, start_hour, end_hour, cross_midnight,
          interval_minutes, timezone, created_at)
        values ($1, $2, $3, $4, coalesce($5, (select coalesce(max(priority), -1) + 1 from rules)), $6, $7, $8, $9, $10, $11, $12)
        returning id`,
      params: [...columnsOf(rule), now],
    },
  ])
  return { kind: 'created', id: Number(rows![0]!.id) }
}

/** Sets all of a rule but its id; one that is gone by now stays so. */
export async function replaceRule(
  db: Db,
  rule: Omit<Rule, 'createdAt'>,
): Promise<'replaced' | 'no_rule' | 'no_tenant' | 'no_account'> {
  const missing = await missingIn(db, rule)
  if (missing !== null) return missing
  const [rows] = await db.write([
    {
      sql: `update rules set tenant_id = $2, account_id = $3, name = $4, enabled = $5, priority = $6, days = $7,
          start_hour = $8, end_hour = $9, cross_midnight = $10, interval_minutes = $11, timezone = $12
        where id = $1 returning id`,
      params: [rule.id, ...columnsOf(rule)],
    },
  ])
  return rows!.length === 1 ? 'replaced' : 'no_rule'
}

/** False when there is no such rule. */
export async function deleteRule(db: Db, id: number): Promise<boolean> {
  const [rows] = await db.write([{ sql: 'delete from rules where id = $1 returning id', params: [id] }])
  return rows!.length === 1
}

/** What of a rule's scope is not there. */
async function missingIn(
  db: Db,
  { tenantId, accountId }: Pick<Rule, 'tenantId' | 'accountId'>,
): Promise<'no_tenant' | 'no_account' | null> {
  if (tenantId !== null) {
    const tenant = await db.read({ sql: 'select 1 from tenants where id = $1', params: [tenantId] })
    if (tenant.length === 0) return 'no_tenant'
  }
  if (accountId === null) return null
  const account = await db.read(
    tenantId === null
      ? { sql: 'select 1 from accounts where id = $1 limit 1', params: [accountId] }
      : { sql: 'select 1 from accounts where tenant_id = $1 and id = $2', params: [tenantId, accountId] },
  )
  return account.length === 0 ? 'no_account' : null
}

function ruleFrom(row: Row): Rule {
  return {
    id: Number(row.id),
    tenantId: row.tenant_id as string | null,
    accountId: row.account_id as string | null,
    name: row.name as string | null,
    enabled: Number(row.enabled) === 1,
    priority: Number(row.priority),
    days: JSON.parse(row.days as string) as number[],
    startHour: row.start_hour === null ? null : Number(row.start_hour),
    endHour: row.end_hour === null ? null : Number(row.end_hour),
    crossMidnight: Number(row.cross_midnight) === 1,
    intervalMinutes: Number(row.interval_minutes),
    timezone: row.timezone as string | null,
    createdAt: Number(row.created_at),
  }
}

/** Its values in the order of the columns from tenant_id to timezone. */
function columnsOf(rule: NewRule): (string | number | null)[] {
  return [
    rule.tenantId,
    rule.accountId,
    rule.name,
    rule.enabled ? 1 : 0,
    rule.priority,
    JSON.stringify(rule.days),
    rule.startHour,
    rule.endHour,
    rule.crossMidnight ? 1 : 0,
    rule.intervalMinutes,
    rule.timezone,
  ]
}
