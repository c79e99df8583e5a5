/**
 * How an account gets its access tokens, as it was set: a provider or a token endpoint of its own, a client, a grant.
 * Which pieces belong together is decided here, and where the presets lead. Knows neither accounts nor databases.
 */

/** Secrets are open here; the object never leaves the process. */
export interface OAuthSettings {
  readonly provider: Provider | null
  /** Microsoft's directory: an id, a domain, or common, organizations, consumers. */
  readonly tenant: string | null
  /** Of a provider that has no preset. */
  readonly tokenUrl: string | null
  readonly grantType: GrantType
  readonly clientId: string | null
  readonly clientSecret: string | null
  /** As it was given; what the provider gave in its place since is kept with the token (token-store.ts). */
  readonly refreshToken: string | null
  /** null: the preset's. */
  readonly scope: string | null
  readonly clientAuthMethod: ClientAuthMethod
}

export type Provider = 'google' | 'microsoft'
export type GrantType = 'refresh_token' | 'client_credentials'
/** Where the client's secret stands in a request, by its registered name (RFC 7591 §2). */
export type ClientAuthMethod = 'client_secret_post' | 'client_secret_basic'

/** Fields to set; what is undefined stays. */
export type OAuthPatch = { -readonly [K in keyof OAuthSettings]?: OAuthSettings[K] }

export const OAUTH_DEFAULTS = { grantType: 'refresh_token', clientAuthMethod: 'client_secret_post' } as const

const BLANK: OAuthSettings = {
  ...OAUTH_DEFAULTS,
  provider: null,
  tenant: null,
  tokenUrl: null,
  clientId: null,
  clientSecret: null,
  refreshToken: null,
  scope: null,
}

/** What a change makes of the settings; null removes them all. */
export function changeOAuth(current: OAuthSettings | null, patch: OAuthPatch | null | undefined): OAuthSettings | null {
  if (patch === undefined) return current
  if (patch === null) return null
  const given = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined))
  return { ...BLANK, ...current, ...given }
}

/** Directories that stand for many: they have users, but no application of their own. */
const SHARED_DIRECTORIES = new Set(['common', 'organizations', 'consumers'])

/** What is missing, or contradicts another field: the field's name on the wire, and a sentence. Null: nothing is. */
export function problemOfOAuth(settings: OAuthSettings): { readonly field: string; readonly problem: string } | null {
  const { provider, tenant, tokenUrl, grantType, clientId, clientSecret, refreshToken, clientAuthMethod } = settings
  const wrong = (field: string, problem: string) => ({ field, problem })
  if (provider === null && tokenUrl === null)
    return wrong('token_url', 'give a provider (google or microsoft), or the URL of a token endpoint')
  if (provider !== null && tokenUrl !== null)
    return wrong('token_url', `contradicts provider ${provider}, which has its own: set one of the two to null`)
  if (provider === 'microsoft' && tenant === null)
    return wrong('tenant', 'microsoft needs the directory (tenant) id, or common, organizations or consumers')
  if (provider !== 'microsoft' && tenant !== null)
    return wrong('tenant', 'only provider microsoft has a tenant: set it to null')
  if (clientId === null) return wrong('client_id', 'the id of the registered application is missing')
  if (clientAuthMethod === 'client_secret_basic' && clientSecret === null)
    return wrong('client_secret', 'client_auth_method client_secret_basic needs a client_secret')
  if (grantType === 'refresh_token') {
    return refreshToken === null ? wrong('refresh_token', 'grant_type refresh_token needs a refresh_token') : null
  }
  if (provider === 'google')
    return wrong('grant_type', 'google gives no tokens for mail by client_credentials: use refresh_token')
  if (clientSecret === null) return wrong('client_secret', 'grant_type client_credentials needs a client_secret')
  if (tenant !== null && SHARED_DIRECTORIES.has(tenant))
    return wrong('tenant', `grant_type client_credentials needs the id of your own directory, not ${tenant}`)
  return null
}

/** The token endpoint; null where none is set. */
export function tokenUrlOf({ provider, tenant, tokenUrl }: OAuthSettings): string | null {
  switch (provider) {
    case 'google':
      return 'https://oauth2.googleapis.com/token'
    case 'microsoft':
      return `https://login.microsoftonline.com/${encodeURIComponent(tenant ?? '')}/oauth2/v2.0/token`
    case null:
      return tokenUrl
  }
}

/** Google's answer has the scope that was consented to; Microsoft has to be told for which resource a token is. */
export function scopeOf({ provider, grantType, scope }: OAuthSettings): string | null {
  if (scope !== null || provider !== 'microsoft') return scope
  return grantType === 'client_credentials'
    ? 'https://outlook.office365.com/.default'
    : 'https://outlook.office.com/SMTP.Send offline_access'
}
