/**
 * A login with an access token: asks for one, and where the server refuses one that was kept, once more with another.
 * Every message behind the account waits for the same token, so whatever is in its way, the account is at fault.
 */
import type { Account } from '../accounts/account.js'
import { watchAbort } from './abort-watch.js'
import type { AccessToken, AccessTokens } from './access-tokens.js'
import { type Bearer, BearerRefused } from './bearer-auth.js'
import { SmtpFailure } from './transport.js'

/** `open` logs in with what it is given. Throws SmtpFailure, or what the database is rejected with. */
export async function withToken<T>(
  account: Account,
  tokens: AccessTokens,
  signal: AbortSignal,
  lines: string[] | undefined,
  open: (bearer: Bearer) => Promise<T>,
): Promise<T> {
  const first = await take(tokens.get(account), account, signal, lines)
  try {
    return await open(bearerOf(account, first))
  } catch (error) {
    const refusal = error instanceof SmtpFailure ? error.info.cause : null
    if (first.isNew || !(refusal instanceof BearerRefused) || !refusal.isAboutToken) throw error
    // Revoked before its time. On a connection of its own: some servers hang up after a refusal.
    return open(bearerOf(account, await take(tokens.renew(account, first.token), account, signal, lines)))
  }
}

type UsableToken = Extract<AccessToken, { ok: true }>

async function take(
  asked: Promise<AccessToken>,
  { host, port }: Account,
  signal: AbortSignal,
  lines: string[] | undefined,
): Promise<UsableToken> {
  const info = { phase: 'auth', reply: null, reachedData: false, afterDot: false, remote: `${host}:${port}` } as const
  const given = await orStopped(asked, signal)
  if (given === null) throw new SmtpFailure('Stopped while waiting for an access token', { ...info, scope: 'session' })
  lines?.push(`OAuth: ${given.ok ? given.about : given.words}`)
  if (!given.ok) throw new SmtpFailure(given.words, { ...info, scope: 'account' })
  return given
}

/** null: the signal aborted first. What was asked for goes on for others. */
function orStopped<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | null> {
  return new Promise((resolve, reject) => {
    promise.then(resolve, reject)
    if (signal.aborted) return resolve(null)
    const unwatch = watchAbort(signal, () => resolve(null))
    promise.then(unwatch, unwatch)
  })
}

function bearerOf({ user, host, port }: Account, { token }: UsableToken): Bearer {
  return { user: user ?? '', token, host, port }
}
