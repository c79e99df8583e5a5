/** An account's OAuth settings on the wire: what a client may give, what it gets back. Secrets come back as `***`. */

import type { Static } from 'typebox'
import { urlOf } from '../lib/url.js'
import { OAUTH_DEFAULTS, type OAuthPatch, type OAuthSettings } from '../oauth/settings.js'
import { MASK, maskQuery } from './mask.js'
import { Given, Line, Matching } from './schemas.js'
import { Type } from './type.js'
import { unlessMasked, wrongField } from './validate.js'
import { withoutNulls } from './wire-time.js'

/** '' is not set: forms send all their fields. */
export const OAuthPayload = Type.Object(
  {
    provider: Given(Type.Union([Type.Literal('google'), Type.Literal('microsoft')])),
    tenant: Given(
      Matching('^([A-Za-z0-9][A-Za-z0-9.-]{0,254})?$', 'Input should be the id or domain of a directory', {
        description: 'Of microsoft: the directory (tenant) id, or common, organizations, consumers',
      }),
    ),
    token_url: Given(
      Matching(
        '^(?:https?://[^\\s\\u0000-\\u001f\\u007f-\\u009f/?#@\\\\]+(?:[/?][^\\s\\u0000-\\u001f\\u007f-\\u009f#\\\\]*)?)?$',
        'Input should be an https:// URL without a user and fragment',
        { maxLength: 2000, description: 'The token endpoint where there is no provider' },
      ),
    ),
    grant_type: Given(Type.Union([Type.Literal('refresh_token'), Type.Literal('client_credentials')])),
    client_id: Given(Line(1000)),
    client_secret: Given(Line(4096)),
    refresh_token: Given(Line(8192)),
    scope: Given(Line(2000)),
    client_auth_method: Given(Type.Union([Type.Literal('client_secret_post'), Type.Literal('client_secret_basic')])),
  },
  { additionalProperties: false },
)

export const OAuthInfo = Type.Object({
  provider: Type.Optional(Type.String()),
  tenant: Type.Optional(Type.String()),
  token_url: Type.Optional(Type.String()),
  grant_type: Type.String(),
  client_id: Type.Optional(Type.String()),
  client_secret: Type.Optional(Type.String({ description: `${MASK} when one is set` })),
  refresh_token: Type.Optional(Type.String({ description: `${MASK} when one is set` })),
  scope: Type.Optional(Type.String({ description: "Absent: the provider's" })),
  client_auth_method: Type.String(),
})

/** `stored`: the settings there are. */
export function oauthPatch(
  given: Static<typeof OAuthPayload> | null | undefined,
  stored: OAuthSettings | null,
): OAuthPatch | null | undefined {
  if (given === null || given === undefined) return given
  return {
    provider: given.provider,
    tenant: emptyToNull(given.tenant),
    tokenUrl: urlOrNull(unlessMasked('oauth2.token_url', given.token_url, stored?.tokenUrl ?? null)),
    grantType: given.grant_type === null ? OAUTH_DEFAULTS.grantType : given.grant_type,
    clientId: emptyToNull(given.client_id),
    clientSecret: given.client_secret === MASK ? undefined : emptyToNull(given.client_secret),
    refreshToken: given.refresh_token === MASK ? undefined : emptyToNull(given.refresh_token),
    scope: emptyToNull(given.scope),
    clientAuthMethod: given.client_auth_method === null ? OAUTH_DEFAULTS.clientAuthMethod : given.client_auth_method,
  }
}

export function oauthInfo(settings: OAuthSettings): Static<typeof OAuthInfo> {
  return withoutNulls({
    provider: settings.provider,
    tenant: settings.tenant,
    token_url: maskQuery(settings.tokenUrl),
    grant_type: settings.grantType,
    client_id: settings.clientId,
    client_secret: settings.clientSecret === null ? null : MASK,
    refresh_token: settings.refreshToken === null ? null : MASK,
    scope: settings.scope,
    client_auth_method: settings.clientAuthMethod,
  }) as Static<typeof OAuthInfo>
}

function urlOrNull(given: string | null | undefined): string | null | undefined {
  if (given && urlOf(given) === null)
    throw wrongField('oauth2.token_url', 'Input should be an https:// URL', 'url_parsing')
  return emptyToNull(given)
}

function emptyToNull(value: string | null | undefined): string | null | undefined {
  return value === '' ? null : value
}
