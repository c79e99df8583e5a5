/** Can an account log in as it is set? What is missing for its auth_method, or contradicts it, in a sentence. */

import { type Refused, refused } from '../lib/refused.js'
import { type OAuthPatch, problemOfOAuth } from '../oauth/settings.js'
import type { AccountSettings } from './row.js'

/** `next`: the record as it would be; `given`: what the change brings. Null: nothing is in the way. */
export function refuseLogin(
  next: AccountSettings,
  given: { readonly authMethod?: AccountSettings['authMethod']; readonly oauth2?: OAuthPatch | null },
): Refused | null {
  const { authMethod, oauth2, oauth2Trusted, user } = next
  if (oauth2 !== null && oauth2.tokenUrl !== null && !oauth2Trusted && !oauth2.tokenUrl.startsWith('https:'))
    return refused(
      'oauth2.token_url',
      'must begin with https://: client secret and tokens go there (only the admin may set http)',
    )
  if (authMethod === 'password') {
    // Kept and not used, they would be taken for the login by who set them.
    return given.oauth2 != null && given.authMethod === undefined
      ? refused('auth_method', 'must be oauth2 for oauth2 to be used: give it along')
      : null
  }
  if (user === null || user === '')
    return refused('user', 'auth_method oauth2 needs the user, the mailbox that is logged in to')
  if (oauth2 === null)
    return refused('oauth2', 'auth_method oauth2 needs it: a provider or token_url, a client_id and a grant')
  const wrong = problemOfOAuth(oauth2)
  return wrong === null ? null : refused(`oauth2.${wrong.field}`, wrong.problem)
}
