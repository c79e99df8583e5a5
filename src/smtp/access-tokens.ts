/** The AccessTokens port: where the login of an account with `auth_method: oauth2` gets its token from. */
import type { Account } from '../accounts/account.js'

export type AccessToken =
  | {
      readonly ok: true
      readonly token: string
      /** Got just now: when the server refuses it, another one would not help. */
      readonly isNew: boolean
      /** Where it comes from, for a person. */
      readonly about: string
    }
  /** No token, in the provider's words and without any secret. */
  | { readonly ok: false; readonly words: string }

export interface AccessTokens {
  /** Rejects only when the database is away. */
  get(account: Account): Promise<AccessToken>
  /** Another one than the one that a server has refused. */
  renew(account: Account, refused: string): Promise<AccessToken>
}
