/** Access tokens for logins: an account's settings as a grant, and the source, the store and the endpoint behind it. */
import type { Account } from '../accounts/account.js'
import type { Db } from '../db/db.js'
import type { Clock } from '../lib/clock.js'
import type { Log } from '../lib/log.js'
import type { NetworkGuard } from '../lib/network-guard.js'
import type { Sealer } from '../lib/sealer.js'
import { scopeOf, tokenUrlOf } from '../oauth/settings.js'
import { createTokenEndpoint } from '../oauth/token-endpoint.js'
import { createTokenSource, type TokenOwner } from '../oauth/token-source.js'
import { accessTokenContext, createTokenStore } from '../oauth/token-store.js'
import type { AccessTokens } from '../smtp/access-tokens.js'

export interface AccessTokenDeps {
  readonly db: Db
  readonly sealer: Sealer
  readonly clock: Clock
  readonly log: Log
  readonly guard: NetworkGuard
}

/** How long a token endpoint may take to answer, ms. */
const TIMEOUT_MS = 30_000

export function createAccessTokens(deps: AccessTokenDeps): AccessTokens & { close(): Promise<void> } {
  const { db, sealer, clock, log, guard } = deps
  const endpoint = createTokenEndpoint({ clock, guard, timeoutMs: TIMEOUT_MS })
  const source = createTokenSource({ store: createTokenStore(db, sealer), endpoint, clock, log })
  const nothing = { ok: false, words: 'The account has no settings for auth_method oauth2' } as const

  return {
    async get(account) {
      const owner = ownerOf(account)
      return owner === null ? nothing : source.get(owner)
    },
    async renew(account, refused) {
      const owner = ownerOf(account)
      return owner === null ? nothing : source.renew(owner, refused)
    },
    async close() {
      await source.close()
      await endpoint.close()
    },
  }
}

function ownerOf({ key, tenantId, id, oauth2, oauth2Trusted }: Account): TokenOwner | null {
  const tokenUrl = oauth2 === null ? null : tokenUrlOf(oauth2)
  if (oauth2 === null || tokenUrl === null || oauth2.clientId === null) return null
  const { provider, grantType, clientId, clientSecret, refreshToken, clientAuthMethod } = oauth2
  return {
    key,
    tenantId,
    accountId: id,
    context: accessTokenContext(tenantId, id),
    grant: {
      tokenUrl,
      // The presets are what they are, whoever chose one.
      trusted: provider !== null || oauth2Trusted,
      grantType,
      clientId,
      clientSecret,
      refreshToken: grantType === 'refresh_token' ? refreshToken : null,
      scope: scopeOf(oauth2),
      clientAuthMethod,
    },
  }
}
