/** A rule: a sending window with a polling interval (spec section 4.6), for all accounts or for those of its scope. */
import type { RuleWindow } from './schedule.js'

export interface Rule extends RuleWindow {
  readonly name: string | null
  /** null: of all tenants. */
  readonly tenantId: string | null
  /** null: all accounts of the scope. */
  readonly accountId: string | null
  readonly createdAt: number
}
