/**
 * Access tokens of accounts: from memory, else from the database, else from the provider. A token near its end is
 * renewed while it is still used, and none is used past it because the wall clock was set back. One request at a time for an account, over all instances; a refresh token that the
 * provider replaced is kept before the new access token is used.
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { Grant } from './grant.js'
import type { TokenEndpoint } from './token-endpoint.js'
import type { KeptRow, KeptToken, TokenPlace, TokenStore } from './token-store.js'
import { createUnsavedTokens } from './unsaved-tokens.js'

/** Whose token it is. */
export interface TokenOwner extends TokenPlace {
  /** For the log. */
  readonly tenantId: string
  readonly accountId: string
  readonly grant: Grant
}

export type TokenResult =
  | {
      readonly ok: true
      readonly token: string
      /** Got just now: when a server refuses it, another one would not help. */
      readonly isNew: boolean
      /** Where it comes from, for a person. */
      readonly about: string
    }
  | { readonly ok: false; readonly words: string }

export interface TokenSource {
  /** Rejects only with what the database is rejected with. */
  get(owner: TokenOwner): Promise<TokenResult>
  /** A token other than the one that a server has refused. */
  renew(owner: TokenOwner, refused: string): Promise<TokenResult>
  /** Waits a moment for answers that may bring a new refresh token, and tries to write what could not be yet. */
  close(): Promise<void>
}

export interface TokenSourceDeps {
  readonly store: TokenStore
  readonly endpoint: Pick<TokenEndpoint, 'ask'>
  readonly clock: Clock
  readonly log: Log
}

/** Least time before its end at which a token is renewed: a tenth of its life, at most this, ms. */
const AHEAD_MAX_MS = 300_000
/** How long an instance may ask: longer than a request to the endpoint may take, ms. */
const CLAIM_MS = 45_000
/** How often an instance looks whether another one has the token, ms. */
const LOOK_EVERY_MS = 250
/** After a renewal ahead of time that failed or that another instance is about, ms. */
const AHEAD_AGAIN_MS = 30_000
/** What requests under way get when the service stops, ms. */
const CLOSE_MS = 2_000
/** How far ahead another instance's clock may be without any doubt of when its token ends, ms. */
const SKEW_MS = 60_000
/** Accounts whose token is kept in memory. */
const MOST = 2_000

interface Held {
  readonly token: KeptToken
  /** Its end by the clock that nobody sets, monotonic ms. */
  readonly endsAt: number
  /** No renewal ahead of time before, monotonic ms. */
  aheadAt: number
}

export function createTokenSource({ store, endpoint, clock, log }: TokenSourceDeps): TokenSource {
  const held = new LRUCache<number, Held>({ max: MOST })
  const asking = new Map<string, Promise<TokenResult>>()
  const unsaved = createUnsavedTokens(store, clock, ({ key }, error) =>
    log.error(`The token of the account with key ${key} could not be kept: ${error.message}`),
  )
  const closing = new AbortController()

  /** How long a token is good yet, ms; past its end: not more than 0. */
  const leftOf = ({ key }: TokenOwner, token: KeptToken): number => {
    const now = clock.now()
    const left = token.expiresAt - now
    const mine = held.peek(key)
    // Neither clock alone: the one is set, the other stands still while the machine sleeps.
    if (mine?.token.accessToken === token.accessToken) return Math.min(left, mine.endsAt - clock.monotonic())
    // Got by a clock that was set back since, or by one that is ahead of this one: who knows when it ends.
    return token.obtainedAt > now + SKEW_MS ? aheadOf(token) : left
  }

  const isNearEnd = (owner: TokenOwner, token: KeptToken) => leftOf(owner, token) <= aheadOf(token)

  /** One at a time for an account and its settings; the others get what that one gets. */
  const share = (owner: TokenOwner, refused: string | null): Promise<TokenResult> => {
    const id = `${owner.key} ${requestDigest(owner.grant)}`
    let under = asking.get(id)
    if (under === undefined) {
      under = obtain(owner, refused).finally(() => asking.delete(id))
      asking.set(id, under)
    }
    return under
  }

  const obtain = async (owner: TokenOwner, refused: string | null): Promise<TokenResult> => {
    const request = requestDigest(owner.grant)
    const giveUpAt = clock.monotonic() + CLAIM_MS
    const goodIn = (row: KeptRow | null): KeptToken | null => {
      const token = unsaved.over(owner, row)
      return token !== null && token.request === request && token.accessToken !== refused ? token : null
    }
    for (;;) {
      const known = goodIn(await store.read(owner))
      if (known !== null && !isNearEnd(owner, known)) return use(owner, known)
      const now = clock.now()
      const row = await store.claim(owner, now, now + CLAIM_MS)
      if (row === 'gone') return { ok: false, words: 'The account is gone' }
      if (row !== 'taken') {
        // Somebody may have been faster between the look and the claim.
        const since = goodIn(row)
        if (since === null || isNearEnd(owner, since)) return ask(owner, row, now + CLAIM_MS, since)
        await release(owner, now + CLAIM_MS)
        return use(owner, since)
      }
      if (known !== null && leftOf(owner, known) > 0) return use(owner, known, clock.monotonic() + AHEAD_AGAIN_MS)
      if (closing.signal.aborted || clock.monotonic() > giveUpAt)
        return { ok: false, words: 'Another instance has asked for a token and has none yet' }
      await clock.sleep(LOOK_EVERY_MS, closing.signal)
    }
  }

  /** `fallback`: near its end, to be used on should there be no other yet. */
  const ask = async (
    owner: TokenOwner,
    row: KeptRow,
    until: number,
    fallback: KeptToken | null,
  ): Promise<TokenResult> => {
    const { grant } = owner
    const origin = originDigest(grant)
    const before = unsaved.over(owner, row)
    const replaced = before?.origin === origin ? before.refreshToken : null
    const askedAt = clock.now()
    const answer = await endpoint.ask({ ...grant, refreshToken: replaced ?? grant.refreshToken })
    if (!answer.ok) {
      await release(owner, until)
      if (fallback === null || leftOf(owner, fallback) <= 0) return answer
      notAhead(owner, answer.words)
      return use(owner, fallback, clock.monotonic() + AHEAD_AGAIN_MS)
    }
    const { accessToken, lifeSeconds } = answer
    const token: KeptToken = {
      accessToken,
      obtainedAt: askedAt,
      expiresAt: askedAt + lifeSeconds * 1000,
      refreshToken: answer.refreshToken ?? replaced,
      request: requestDigest(grant),
      origin,
    }
    await unsaved.save(owner, row.version, token)
    hold(owner, token)
    log.debug(`A new token for account ${owner.accountId}, for ${lifeSeconds} s`, fieldsOf(owner))
    const about = `a new access token from ${grant.tokenUrl.split('?')[0]}, for ${lifeSeconds} s`
    return { ok: true, token: accessToken, isNew: true, about }
  }

  /** A claim that is not given back ends by itself. */
  const release = (owner: TokenOwner, until: number) => store.release(owner, until).catch(() => {})

  const hold = (owner: TokenOwner, token: KeptToken, aheadAt = Number.NEGATIVE_INFINITY): void => {
    held.set(owner.key, { token, endsAt: clock.monotonic() + leftOf(owner, token), aheadAt })
  }

  const use = (owner: TokenOwner, token: KeptToken, aheadAt?: number): TokenResult => {
    hold(owner, token, aheadAt)
    return kept(owner, token)
  }

  const kept = (owner: TokenOwner, token: KeptToken): TokenResult => {
    const left = Math.floor(leftOf(owner, token) / 1000)
    return {
      ok: true,
      token: token.accessToken,
      isNew: false,
      about: `the access token kept from before, for ${left} s more`,
    }
  }

  /** Who needs a token now does not wait for it: the one in use stays good for a while. */
  const renewAhead = (owner: TokenOwner, mine: Held): void => {
    if (clock.monotonic() < mine.aheadAt) return
    mine.aheadAt = clock.monotonic() + AHEAD_AGAIN_MS
    share(owner, null).catch((error: Error) => notAhead(owner, error.message))
  }

  const notAhead = (owner: TokenOwner, why: string) =>
    log.warning(
      `The token of account ${owner.accountId} of tenant ${owner.tenantId} could not be renewed ahead of its end: ${why}`,
      fieldsOf(owner),
    )

  const isFor = (owner: TokenOwner, token: KeptToken): boolean =>
    leftOf(owner, token) > 0 && token.request === requestDigest(owner.grant)

  return {
    async get(owner) {
      const mine = held.get(owner.key)
      if (mine === undefined || !isFor(owner, mine.token)) return share(owner, null)
      if (isNearEnd(owner, mine.token)) renewAhead(owner, mine)
      return kept(owner, mine.token)
    },
    async renew(owner, refused) {
      const mine = held.get(owner.key)
      if (mine?.token.accessToken === refused) held.delete(owner.key)
      // Another login of this process met the same refusal, and has a new one already.
      else if (mine !== undefined && isFor(owner, mine.token)) return kept(owner, mine.token)
      const result = await share(owner, refused)
      // What was under way when the refusal came may have found the refused one.
      return result.ok && result.token === refused ? share(owner, refused) : result
    },
    async close() {
      closing.abort()
      const waited = new AbortController()
      await Promise.race([Promise.allSettled([...asking.values()]), clock.sleep(CLOSE_MS, waited.signal)])
      waited.abort()
      await unsaved.close()
    },
  }
}

/** How long before its end it is renewed, ms. */
function aheadOf({ obtainedAt, expiresAt }: KeptToken): number {
  return Math.min(AHEAD_MAX_MS, (expiresAt - obtainedAt) / 10)
}

/** Everything of a request; kept sealed, since it stands for secrets. */
function requestDigest(grant: Grant): string {
  const { tokenUrl, grantType, clientId, clientSecret, refreshToken, scope, clientAuthMethod } = grant
  return digest([tokenUrl, grantType, clientId, clientSecret, refreshToken, scope, clientAuthMethod])
}

/** What a refresh token is bound to (RFC 6749 §6): a changed secret or scope must not lose the one that is good now. */
function originDigest({ tokenUrl, clientId, refreshToken }: Grant): string {
  return digest([tokenUrl, clientId, refreshToken])
}

function digest(parts: readonly (string | null)[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64')
}

function fieldsOf({ tenantId, accountId }: TokenOwner) {
  return { tenant_id: tenantId, account_id: accountId }
}
