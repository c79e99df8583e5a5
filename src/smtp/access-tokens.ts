/** The AccessTokens port: where the login of an account with `auth_method: oauth2` gets its token from. */
import type { Account } from '../accounts/account.js'
import type { TokenResult } from '../oauth/token-source.js'

/** A token, or why there is none: in the provider's words and without any secret. */
export type AccessToken = TokenResult

export interface AccessTokens {
  /** Rejects only when the database is away. */
  get(account: Account): Promise<AccessToken>
  /** Another one than the one that a server has refused. */
  renew(account: Account, refused: string): Promise<AccessToken>
}
