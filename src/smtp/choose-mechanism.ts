/** The AUTH mechanism of a login. Throws LoginRefusedHere rather than give a secret away, or try what cannot work. */
import type { Account } from '../accounts/account.js'
import { BEARER_MECHANISMS, type BearerMechanism } from './bearer-auth.js'
import { LoginRefusedHere } from './login-failure.js'
import { PASSWORD_MECHANISMS, type PasswordMechanism } from './password-auth.js'

/** The connection as it stands before AUTH. */
export interface AuthOffer {
  /** It is encrypted. */
  readonly secure: boolean
  /** Upper case. */
  readonly mechanisms: ReadonlySet<string>
}

/** For a password; null: the account has no user. */
export function chooseMechanism(
  { useTls, user, password }: Account,
  { secure, mechanisms }: AuthOffer,
): PasswordMechanism | null {
  if (useTls === true && !secure) throw new LoginRefusedHere('the connection is not encrypted', 'tls')
  if (user === null || user === '') return null
  if (password === null || password === '') throw new LoginRefusedHere('the account has a user but no password', 'auth')
  // In clear, CRAM-MD5 at least keeps the password itself off the wire.
  const preferred = secure ? PASSWORD_MECHANISMS : (['CRAM-MD5', 'PLAIN', 'LOGIN'] as const)
  const mechanism = preferred.find(name => mechanisms.has(name))
  if (mechanism !== undefined) return mechanism
  const what =
    mechanisms.size === 0
      ? 'no AUTH'
      : `no AUTH mechanism known here (offered: ${[...mechanisms].join(', ').slice(0, 200)})`
  throw new LoginRefusedHere(`the server offers ${what}`, 'auth')
}

/** For an access token, which opens the mailbox to whoever reads it: it takes an explicit word to send it in clear. */
export function chooseBearerMechanism({ useTls }: Account, { secure, mechanisms }: AuthOffer): BearerMechanism {
  if (!secure && useTls !== false) {
    throw new LoginRefusedHere(
      'the connection is not encrypted, and an access token goes in clear only with use_tls false',
      'tls',
    )
  }
  const mechanism = BEARER_MECHANISMS.find(name => mechanisms.has(name))
  if (mechanism !== undefined) return mechanism
  const what = mechanisms.size === 0 ? 'no AUTH' : `only ${[...mechanisms].join(', ').slice(0, 200)}`
  throw new LoginRefusedHere(
    `auth_method oauth2 needs ${BEARER_MECHANISMS.join(' or ')}, the server offers ${what}`,
    'auth',
  )
}
