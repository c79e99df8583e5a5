/** The instance, its sending windows and its command log: the admin's. Fields: docs/api.md#rule-fields and #the-instance. */
import type { Call, CallOptions } from './call.js'

export interface RuleInput {
  name?: string | null
  enabled?: boolean | null
  priority?: number | null
  /** 0 Monday to 6 Sunday; empty: all. */
  days?: readonly number[] | null
  start_hour?: number | null
  end_hour?: number | null
  cross_midnight?: boolean | null
  interval_minutes?: number | null
  timezone?: string | null
  tenant_id?: string | null
  account_id?: string | null
}

export interface Rule {
  id: number
  name?: string
  enabled: boolean
  priority: number
  days: number[]
  start_hour?: number
  end_hour?: number
  cross_midnight: boolean
  interval_minutes: number
  timezone?: string
  tenant_id?: string
  account_id?: string
}

export interface InstanceInput {
  name?: string | null
  /** The new admin token. */
  api_token?: string | null
  bounce_enabled?: boolean | null
  bounce_imap_host?: string | null
  bounce_imap_port?: number | null
  bounce_imap_user?: string | null
  bounce_imap_password?: string | null
  bounce_imap_folder?: string | null
  bounce_imap_ssl?: boolean | null
  bounce_poll_interval?: number | null
  bounce_return_path?: string | null
}

/** Keys are named by ids that tell nothing of them. */
export interface SealingKey {
  sealing_key: string
  /** Of this process: the one that a change is to. */
  newest_key: string
  known_keys: string[]
  /** null: the key was never changed. */
  rotation: {
    from_key: string
    to_key: string
    started_at: string
    /** null: not finished. */
    finished_at: string | null
    resealed: number
    /** Values that no key opens: those secrets have to be set again. */
    unreadable: number
    at: string | null
  } | null
  /** All on this database; empty on SQLite. */
  processes: { process: string; keys: string[]; seconds_ago: number }[]
}

export interface CommandFilter {
  tenant_id?: string
  /** Unix seconds, inclusive. */
  since_ts?: number
  until_ts?: number
}

export interface LoggedCommand {
  id: number
  command_ts: number
  endpoint: string
  tenant_id?: string
  payload: unknown
  response_status: number
}

export interface ExportedCommand {
  endpoint: string
  tenant_id: string | null
  payload: unknown
  command_ts: number
}

const RULES = '/commands/rules'

export const instanceCalls = (call: Call) => {
  const rules = async (answer: Promise<{ rules: Rule[] }>): Promise<Rule[]> => (await answer).rules

  return {
    /** By priority. */
    listRules: (options?: CallOptions): Promise<Rule[]> =>
      rules(call({ method: 'GET', path: RULES, repeatable: true }, options)),

    /** Adds a sending window; answers all rules. */
    addRule: (rule: RuleInput, options?: CallOptions): Promise<Rule[]> =>
      rules(call({ method: 'POST', path: RULES, body: rule, repeatable: false }, options)),

    /** Switches a rule on or off; answers all rules. */
    setRuleEnabled: (id: number, enabled: boolean, options?: CallOptions): Promise<Rule[]> =>
      rules(call({ method: 'PATCH', path: `${RULES}/${id}`, body: { enabled }, repeatable: true }, options)),

    /** Changes the fields given; null sets one back. */
    updateRule: (id: number, fields: RuleInput, options?: CallOptions): Promise<Rule[]> =>
      rules(call({ method: 'PATCH', path: `${RULES}/${id}`, body: fields, repeatable: true }, options)),

    /** Answers the rules that are left. */
    deleteRule: (id: number, options?: CallOptions): Promise<Rule[]> =>
      rules(call({ method: 'DELETE', path: `${RULES}/${id}`, repeatable: true }, options)),

    getInstance: (options?: CallOptions): Promise<Record<string, unknown>> =>
      call({ method: 'GET', path: '/instance', repeatable: true }, options),

    /** Changes the fields given; null is not given. */
    async updateInstance(fields: InstanceInput, options?: CallOptions): Promise<void> {
      // With a new api_token the second of two requests would be unauthorized.
      await call({ method: 'PUT', path: '/instance', body: fields, repeatable: fields.api_token == null }, options)
    },

    /** Checks the bounce settings. */
    async reloadBounce(options?: CallOptions): Promise<void> {
      await call({ method: 'POST', path: '/instance/reload-bounce', body: {}, repeatable: true }, options)
    },

    /** Which key seals stored secrets, and how far its change is. */
    getSealingKey: (options?: CallOptions): Promise<SealingKey> =>
      call({ method: 'GET', path: '/instance/sealing-key', repeatable: true }, options),

    /** Begins the change to the newest key or goes on with it, for about two seconds: repeat until `finished_at` is set. */
    rotateSealingKey: (options?: CallOptions): Promise<SealingKey> =>
      call({ method: 'POST', path: '/instance/sealing-key/rotate', body: {}, repeatable: true }, options),

    /** State-changing commands, newest first. */
    async commandLog(
      filter: CommandFilter & { endpoint_filter?: string; limit?: number } = {},
      options?: CallOptions,
    ): Promise<LoggedCommand[]> {
      const { commands } = await call<{ commands: LoggedCommand[] }>(
        { method: 'GET', path: '/command-log', query: { ...filter }, repeatable: true },
        options,
      )
      return commands
    },

    /** The same, oldest first, to be replayed. */
    async exportCommandLog(filter: CommandFilter = {}, options?: CallOptions): Promise<ExportedCommand[]> {
      const { commands } = await call<{ commands: ExportedCommand[] }>(
        { method: 'GET', path: '/command-log/export', query: { ...filter }, repeatable: true },
        options,
      )
      return commands
    },
  }
}
