/** The service as a whole: is it well, how much waits, run now, suspend and activate. */
import type { Pause } from './accounts.js'
import type { Call, CallOptions } from './call.js'

export interface Status {
  active: boolean
  scheduler_active: boolean
  pending_messages: number
  uptime_seconds: number
  version: string
  /** Why nothing is sent before a start with --release. */
  release_needed?: string
  draining: boolean
  paused_accounts: (Pause & { tenant_id: string; id: string })[]
}

export interface Stats {
  /** These were all messages, and not only the newest. */
  complete: boolean
  by_status: Record<string, number>
  /** Beside these two a count for each status. */
  by_account: ({ tenant_id: string; account_id: string } & Record<string, string | number>)[]
  by_priority: { priority: number; open: number; ended: number }[]
  by_hour: { hour_ts: number; sent: number; error: number }[]
}

export interface Suspension {
  active: boolean
  tenant_id?: string
  batch_code?: string
  /** `['*']`: all. */
  suspended_batches: string[]
  pending_messages: number
}

export interface BatchOptions extends CallOptions {
  /** That batch of the tenant; left out: the whole tenant, for an admin who names none the whole scheduler. */
  readonly batchCode?: string
}

export const commandCalls = (call: Call) => ({
  /** The process is alive. */
  health: (options?: CallOptions): Promise<{ status: 'ok'; version: string }> =>
    call({ method: 'GET', path: '/health', repeatable: true }, options),

  /** Whether it takes and sends mail now, and if not, what is missing. */
  async ready(options?: CallOptions): Promise<{ ready: boolean; problems: string[] }> {
    const answer: { ok: boolean; details?: { problems?: string[] } } = await call(
      { method: 'GET', path: '/ready', repeatable: true, alsoAnswer: { statuses: [503], withField: 'details' } },
      options,
    )
    return { ready: answer.ok, problems: answer.details?.problems ?? [] }
  },

  /** Is it sending, and how much waits; with a tenant's key of that tenant. */
  status: (options?: CallOptions): Promise<Status> =>
    call({ method: 'GET', path: '/status', repeatable: true, scoped: true }, options),

  /** Counts by status, account, priority and hour. */
  stats: (options?: CallOptions): Promise<Stats> =>
    call({ method: 'GET', path: '/stats', repeatable: true, scoped: true }, options),

  /** Prometheus text. */
  metrics: (options?: CallOptions): Promise<string> =>
    call({ method: 'GET', path: '/metrics', repeatable: true, isText: true }, options),

  /** Looks at queue and reports now; for a tenant it also ends its do-not-disturb. */
  async runNow(options?: CallOptions): Promise<void> {
    await call({ method: 'POST', path: '/commands/run-now', body: {}, repeatable: true, scoped: true }, options)
  },

  suspend: (options: BatchOptions = {}): Promise<Suspension> => {
    const body = { batch_code: options.batchCode }
    return call({ method: 'POST', path: '/commands/suspend', body, repeatable: true, scoped: true }, options)
  },

  activate: (options: BatchOptions = {}): Promise<Suspension> => {
    const body = { batch_code: options.batchCode }
    return call({ method: 'POST', path: '/commands/activate', body, repeatable: true, scoped: true }, options)
  },
})
