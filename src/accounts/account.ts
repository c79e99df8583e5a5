/** An account: one SMTP login of a tenant with its limits. The record as code sees it; passwords are open here only. */

import type { OAuthSettings } from '../oauth/settings.js'

export type UseTls = boolean | null
/** What an account with a user logs in with. */
export type AuthMethod = 'password' | 'oauth2'
export type LimitBehavior = 'defer' | 'error'

/** What delivery needs of an account. Secrets are unsealed; the object never leaves the process. */
export interface Account {
  /** Database key, unique over all tenants; never reused. */
  readonly key: number
  readonly tenantId: string
  readonly id: string
  readonly host: string
  readonly port: number
  readonly user: string | null
  readonly password: string | null
  readonly authMethod: AuthMethod
  /** How access tokens are got; kept also while the password is used. */
  readonly oauth2: OAuthSettings | null
  /** True when an admin set the token endpoint: it may then be a private address. */
  readonly oauth2Trusted: boolean
  /** null: implicit TLS on 465, else STARTTLS when offered; true: TLS or fail; false: never. */
  readonly useTls: UseTls
  readonly tlsVerify: boolean
  /** Transactions per sliding window; null: no limit. */
  readonly limitPerMinute: number | null
  readonly limitPerHour: number | null
  readonly limitPerDay: number | null
  readonly limitBehavior: LimitBehavior
  /** Idle life of a pooled connection, seconds. */
  readonly ttlSeconds: number
  readonly maxConnections: number
  readonly maxMessagesPerConnection: number
  readonly maxRecipientsPerTransaction: number
  /** Claim size; null: the service's default. Not a rate. */
  readonly batchSize: number | null
  readonly isDefault: boolean
  readonly inDoubt: 'retry' | 'hold'
  readonly onPauseTimeout: 'error' | 'hold'
  /** True when an admin set the host: it may then be a private address (spec section 9). */
  readonly hostTrusted: boolean
  readonly pause: AccountPause | null
  /** A probe ended the pause and no transaction has gone well since. */
  readonly trial: AccountTrial | null
  readonly createdAt: number
  readonly updatedAt: number
  /** Fields kept for later work (PEC, IMAP); the IMAP password is sealed inside. */
  readonly isPecAccount: boolean
  readonly imapHost: string | null
  readonly imapPort: number | null
  readonly imapUser: string | null
  readonly imapPassword: string | null
  readonly imapSsl: boolean | null
}

/** What the last pause was, to go on with should the account fail again. */
export interface AccountTrial {
  readonly since: number
  readonly probes: number
  readonly resumedAt: number
}

export interface AccountPause {
  /** manual: an operator said so, no probes. failure: the server refused the account; probes go on. */
  readonly kind: 'manual' | 'failure'
  readonly since: number
  /** The server's words, or the operator's. */
  readonly reason: string
  readonly code: string | null
  readonly probeAt: number | null
  readonly probes: number
}
