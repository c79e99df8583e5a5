/** What delivery tells the world: metrics, log lines, hints to the reporter, pauses and limit deferrals. */
import type { Account } from '../accounts/account.js'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Metrics } from '../metrics/metrics.js'
import { failAccountQueue } from '../queue/account-deleted.js'
import { traceIdOf } from '../tracing/tracer.js'
import type { DispatchEvents } from './dispatcher.js'
import { deferByLimit } from './limit-deferral.js'
import type { Settings } from './settings.js'

export interface EventsDeps {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly settings: Pick<Settings, 'isCurrent'>
  /** GMP_LOG_DELIVERY_ACTIVITY: a line for each attempt. */
  readonly logAttempts: boolean
  steadyNow(): number
  pause(account: Account, text: string, code: string | null): Promise<void>
  worked(account: Account): Promise<void>
  reports(tenantIds: readonly string[]): void
}

/** Longest wait before a full window is looked at again: another instance may have given back what it reserved. */
const LOOK_AGAIN_MS = 3_000

export function createDeliveryEvents(deps: EventsDeps): DispatchEvents {
  const { db, clock, log, metrics } = deps
  return {
    attempted(claimed, outcome, durationMs) {
      const refused = outcome.verdicts.some(each => each.verdict === 'refused' || each.verdict === 'transient')
      metrics.transaction(durationMs / 1000, outcome.failure !== null ? 'failed' : refused ? 'refused' : 'ok')
      if (claimed.attempts > 0) metrics.retried(claimed.tenantId, claimed.accountId)
      if (deps.logAttempts) {
        log.info(
          `Attempt ${claimed.attempts + 1} of message ${claimed.id} via ${claimed.accountId} took ${Math.round(durationMs)} ms`,
          { message_id: claimed.id, account_id: claimed.accountId, tenant_id: claimed.tenantId },
        )
      }
    },
    settled({ isUntold }, claimed, transition, outcome) {
      const { tenantId, accountId, id } = claimed
      const fields = {
        message_id: id,
        account_id: accountId,
        tenant_id: tenantId,
        trace_id: traceIdOf(claimed.trace),
      }
      if (outcome.inDoubt) {
        metrics.inDoubt(tenantId, accountId)
        log.warning(`Message ${id} is in doubt: ${outcome.failure?.text ?? 'no reply after the final dot'}`, fields)
      }
      if (transition.status === 'sent') {
        metrics.sent(tenantId, accountId, Math.max(0, (clock.now() - claimed.dueAt) / 1000))
        log.info(`Message ${id} sent via ${accountId}`, fields)
      } else if (transition.status === 'error') {
        metrics.error(tenantId, accountId)
        log.error(`SMTP error for ${id}: ${transition.error}`, fields)
      } else if (transition.stage === 2 && !outcome.inDoubt) {
        metrics.deferred(tenantId, accountId)
        log.warning(`Temporary error for ${id}, retry scheduled: ${transition.deferredReason}`, fields)
      }
      // Of a tenant with nowhere to report to the look of each second finds what is owed.
      if (transition.event !== null && !isUntold) deps.reports([tenantId])
    },
    leftInDoubt({ tenantId, accountId, id }, transition) {
      const fields = { message_id: id, account_id: accountId, tenant_id: tenantId }
      metrics.inDoubt(tenantId, accountId)
      log.warning(`Message ${id} is in doubt: the result of its final dot was not recorded`, fields)
      deps.reports([tenantId])
      if (transition.status !== 'error') return
      metrics.error(tenantId, accountId)
      log.error(`SMTP error for ${id}: ${transition.error}`, fields)
    },
    accountFailed: ({ account }, text, code) => deps.pause(account, text, code),
    accountWorks: ({ account }) => deps.worked(account),
    async accountGone(accountKey) {
      // Not one that only cannot be read, as with a broken secret.
      const known = await db.read({ sql: 'select 1 from accounts where key = $1', params: [accountKey] })
      if (known.length > 0) return
      const { tenantIds } = await failAccountQueue(db, accountKey, clock.now())
      deps.reports(tenantIds)
    },
    async limited(lookup, request) {
      const { account } = lookup
      const now = clock.now()
      const { told, failed, firstTurn } = await deferByLimit(deps, lookup, request, now, deps.steadyNow())
      if (told > 0) {
        metrics.deferred(account.tenantId, account.id, told)
        log.warning(`Rate limit reached for ${account.id}, deferring ${told} messages`, {
          account_id: account.id,
          tenant_id: account.tenantId,
        })
      }
      if (failed > 0) {
        metrics.error(account.tenantId, account.id, failed)
        log.error(`Rate limit reached for ${account.id}: ${failed} messages failed`, {
          account_id: account.id,
          tenant_id: account.tenantId,
        })
      }
      if (told + failed > 0) {
        metrics.rateLimited(account.tenantId, account.id, told + failed)
        deps.reports([account.tenantId])
      }
      return Math.max(now + 20, Math.min(firstTurn, now + LOOK_AGAIN_MS))
    },
  }
}
