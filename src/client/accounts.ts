/** SMTP accounts of a tenant. Fields are the wire's (docs/api.md#account-fields). */
import type { Call, CallOptions } from './call.js'

/** Of a known id only the fields given change; null sets one back to its default. */
export interface AccountInput {
  id: string
  tenant_id?: string | null
  host?: string | null
  port?: number | null
  user?: string | null
  password?: string | null
  auth_method?: 'password' | 'oauth2' | null
  oauth2?: OAuthInput | null
  use_tls?: boolean | null
  tls_verify?: boolean | null
  limit_per_minute?: number | null
  limit_per_hour?: number | null
  limit_per_day?: number | null
  limit_behavior?: 'defer' | 'error' | 'reject' | null
  ttl?: number | null
  max_connections?: number | null
  max_messages_per_connection?: number | null
  max_recipients_per_transaction?: number | null
  batch_size?: number | null
  is_default?: boolean | null
  in_doubt?: 'retry' | 'hold' | null
  on_pause_timeout?: 'error' | 'hold' | null
  is_pec_account?: boolean | null
  imap_host?: string | null
  imap_port?: number | null
  imap_user?: string | null
  imap_password?: string | null
  imap_ssl?: boolean | null
}

export interface OAuthInput {
  provider?: 'google' | 'microsoft' | null
  tenant?: string | null
  token_url?: string | null
  grant_type?: 'refresh_token' | 'client_credentials' | null
  client_id?: string | null
  client_secret?: string | null
  refresh_token?: string | null
  scope?: string | null
  client_auth_method?: 'client_secret_post' | 'client_secret_basic' | null
}

/** Secrets are `***`. */
export interface OAuth {
  provider?: string
  tenant?: string
  token_url?: string
  grant_type: string
  client_id?: string
  client_secret?: string
  refresh_token?: string
  scope?: string
  client_auth_method: string
}

export interface Pause {
  /** manual: an operator said so; failure: the server refused the account. */
  kind: string
  since_ts: number
  reason: string
  code?: string
  next_probe_ts?: number
  probes: number
}

export interface Account {
  id: string
  tenant_id: string
  host: string
  port: number
  user?: string
  auth_method: string
  oauth2?: OAuth
  use_tls?: boolean
  tls_verify: boolean
  limit_per_minute?: number
  limit_per_hour?: number
  limit_per_day?: number
  limit_behavior: string
  ttl: number
  max_connections: number
  max_messages_per_connection: number
  max_recipients_per_transaction: number
  batch_size?: number
  is_default: boolean
  in_doubt: string
  on_pause_timeout: string
  is_pec_account: boolean
  imap_host?: string
  imap_port: number
  imap_user?: string
  imap_ssl?: boolean
  paused: boolean
  pause?: Pause
  created_at: string
  updated_at: string
}

export interface AccountTest {
  /** It connected and logged in. */
  ok: boolean
  conversation: string[]
  error?: string
}

export const accountCalls = (call: Call) => {
  const at = (id: string) => `/account/${encodeURIComponent(id)}`

  return {
    /** Creates an account, or changes the fields given. */
    async saveAccount(account: AccountInput, options?: CallOptions): Promise<void> {
      // The tenant stands in one place only: named twice, the two would have to agree.
      const { tenant_id: tenantId, ...body } = account
      const whose = tenantId == null ? options : { ...options, tenantId }
      await call({ method: 'POST', path: '/account', body, repeatable: true, scoped: true }, whose)
    },

    async listAccounts(options?: CallOptions): Promise<Account[]> {
      const { accounts } = await call<{ accounts: Account[] }>(
        { method: 'GET', path: '/accounts', repeatable: true, scoped: true },
        options,
      )
      return accounts
    },

    getAccount: (id: string, options?: CallOptions): Promise<Account> =>
      call({ method: 'GET', path: at(id), repeatable: true, scoped: true }, options),

    /** What waits behind it becomes errors with the code `account_deleted`. */
    async deleteAccount(id: string, options?: CallOptions): Promise<void> {
      await call({ method: 'DELETE', path: at(id), repeatable: false, scoped: true }, options)
    },

    /** Nothing is sent through it until it is resumed. */
    async pauseAccount(id: string, reason?: string, options?: CallOptions): Promise<void> {
      await call({ method: 'POST', path: `${at(id)}/pause`, body: { reason }, repeatable: true, scoped: true }, options)
    },

    async resumeAccount(id: string, options?: CallOptions): Promise<void> {
      await call({ method: 'POST', path: `${at(id)}/resume`, body: {}, repeatable: true, scoped: true }, options)
    },

    /** Connects and logs in without sending; tells the conversation. Up to a minute. */
    testAccount: (id: string, options?: CallOptions): Promise<AccountTest> =>
      call(
        { method: 'POST', path: `${at(id)}/test`, body: {}, repeatable: false, scoped: true, atLeastMs: 90_000 },
        options,
      ),
  }
}
