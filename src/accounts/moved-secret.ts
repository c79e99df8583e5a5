/**
 * May a secret go where a change sends it? A tenant's key may move an account to another server and may weaken its
 * TLS, and must not learn by it the password that somebody else has set: then the change has to bring the password.
 * The same for the secrets of OAuth, which go to the token endpoint, and whose tokens go to the server.
 */
import { type Refused, refused } from '../lib/refused.js'
import { type OAuthPatch, tokenUrlOf } from '../oauth/settings.js'
import type { AccountSettings } from './row.js'

interface GivenSecrets extends Partial<Pick<AccountSettings, 'password' | 'imapPassword'>> {
  readonly oauth2?: OAuthPatch | null
}

/** `given`: what the change brings; undefined: the secret there is stays. Null: nothing is in the way. */
export function refuseMovedSecret(
  current: AccountSettings,
  next: AccountSettings,
  given: GivenSecrets,
): Refused | null {
  const moved = movedBy(current, next)
  if (moved !== null && current.password !== null && given.password === undefined)
    return refused('password', `the password must be given again when ${moved}`)
  if (current.imapPassword !== null && given.imapPassword === undefined) {
    const imapMoved = imapMovedBy(current, next)
    if (imapMoved !== null) return refused('imap_password', `the password must be given again when ${imapMoved}`)
  }
  return refuseMovedGrant(current, next, given.oauth2, moved)
}

/** Also of a grant that is not in use: the next change could bring it into use. */
function refuseMovedGrant(
  { oauth2: before }: AccountSettings,
  { oauth2: after }: AccountSettings,
  given: OAuthPatch | null | undefined,
  hostMoved: string | null,
): Refused | null {
  if (before === null || after === null) return null
  const moved = tokenUrlOf(after) === tokenUrlOf(before) ? hostMoved : 'the token endpoint changes'
  if (moved === null) return null
  if (before.clientSecret !== null && given?.clientSecret === undefined)
    return refused('oauth2.client_secret', `the client secret must be given again when ${moved}`)
  if (before.refreshToken !== null && given?.refreshToken === undefined)
    return refused('oauth2.refresh_token', `the refresh token must be given again when ${moved}`)
  return null
}

function movedBy(current: AccountSettings, next: AccountSettings): string | null {
  if (next.host !== current.host) return 'host changes'
  if (next.port !== current.port) return 'port changes'
  if (strength(next) < strength(current)) return 'use_tls is made weaker'
  return current.tlsVerify && !next.tlsVerify ? 'tls_verify is turned off' : null
}

/** Encryption that cannot be talked away, encryption when offered, none. The port is the same here. */
function strength({ useTls, port }: AccountSettings): number {
  if (useTls === null) return port === 465 ? 2 : 1
  return useTls ? 2 : 0
}

function imapMovedBy(current: AccountSettings, next: AccountSettings): string | null {
  // Without a host the password goes nowhere.
  if (next.imapHost === null) return null
  if (next.imapHost !== current.imapHost) return 'imap_host changes'
  if (portOf(next) !== portOf(current)) return 'imap_port changes'
  return next.imapSsl === false && current.imapSsl !== false ? 'imap_ssl is turned off' : null
}

/** What is not set is told as 993, and old clients send back what they were told. */
function portOf({ imapPort }: AccountSettings): number {
  return imapPort ?? 993
}
