/**
 * May a secret go where a change sends it? A tenant's key may move an account to another server and may weaken its
 * TLS, and must not learn by it the password that somebody else has set: then the change has to bring the password.
 */
import { type Refused, refused } from '../lib/refused.js'
import type { AccountSettings } from './row.js'

/** `given`: what the change brings; undefined: the secret there is stays. Null: nothing is in the way. */
export function refuseMovedSecret(
  current: AccountSettings,
  next: AccountSettings,
  given: Partial<Pick<AccountSettings, 'password' | 'imapPassword'>>,
): Refused | null {
  if (current.password !== null && given.password === undefined) {
    const moved = movedBy(current, next)
    if (moved !== null) return refused('password', `the password must be given again when ${moved}`)
  }
  if (current.imapPassword !== null && given.imapPassword === undefined) {
    const moved = imapMovedBy(current, next)
    if (moved !== null) return refused('imap_password', `the password must be given again when ${moved}`)
  }
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
