/**
 * What a change makes of a tenant's record. Pure, and run by the store against the very record it replaces: a secret
 * that is kept must be the one beside which the new address is written, whatever happens at the same instant.
 */

import { type Refused, refused } from '../lib/refused.js'
import { originOf } from '../lib/url.js'
import { KEEP } from './keep.js'
import { changeLargeFiles, type LargeFilesPatch } from './large-files.js'
import type { ClientAuth, LargeFileConfig, Tenant } from './tenant.js'

export type GivenSecret = string | typeof KEEP

export type ClientAuthPatch =
  | { readonly method: 'none' }
  | { readonly method: 'bearer'; readonly token: GivenSecret }
  | { readonly method: 'basic'; readonly user: string; readonly password: GivenSecret }

type Kept = 'id' | 'endpointTrusted' | 'largeFilesTrusted' | 'suspendedBatches' | 'createdAt' | 'updatedAt'
type WithSecrets = 'clientAuth' | 'signingSecrets' | 'largeFileConfig'

/** Fields to set; what is undefined stays. */
export type TenantPatch = { -readonly [K in Exclude<keyof Tenant, Kept | WithSecrets>]?: Tenant[K] } & {
  clientAuth?: ClientAuthPatch | null
  /** The n-th KEEP is the n-th secret there is. */
  signingSecrets?: readonly GivenSecret[]
  /** Takes the place of the whole config there is. */
  largeFileConfig?: LargeFilesPatch | null
}

export interface ChangeOptions {
  /** Epoch ms. */
  readonly now: number
  /** The caller is an admin: an endpoint it sets may be a private address (spec section 9). */
  readonly trusted: boolean
  /** What is wrong with a large_file_config of this trust, in a sentence without secrets; null: nothing is. */
  problemOfLargeFiles?(config: LargeFileConfig, trusted: boolean): string | null
}

export function changeTenant(current: Tenant, patch: TenantPatch, options: ChangeOptions): Tenant | Refused {
  const { clientAuth: givenAuth, signingSecrets: givenSecrets, largeFileConfig: givenLargeFiles, ...rest } = patch
  const clientAuth = authFrom(givenAuth, current.clientAuth)
  if (clientAuth !== null && 'kind' in clientAuth) return clientAuth
  const signingSecrets = secretsFrom(givenSecrets, current.signingSecrets)
  if ('kind' in signingSecrets) return signingSecrets
  const largeFiles = changeLargeFiles(current, givenLargeFiles, options)
  if ('kind' in largeFiles) return largeFiles
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
  const next: Tenant = {
    ...current,
    ...given,
    ...largeFiles,
    clientAuth,
    signingSecrets,
    // Always later than before: it tells one version of the record from the next.
    updatedAt: Math.max(options.now, current.updatedAt + 1),
  }
  if (!options.trusted && isElsewhere(next.clientBaseUrl, current.clientBaseUrl)) {
    const again = 'must be given again when the origin of client_base_url changes'
    if (keepsSecret(givenAuth, clientAuth)) return refused('client_auth', `the secret ${again}`)
    // A query may be a secret too, and is not shown.
    if (keepsQuery(patch.clientSyncPath, current.clientSyncPath)) return refused('client_sync_path', again)
    if (keepsQuery(patch.clientAttachmentPath, current.clientAttachmentPath))
      return refused('client_attachment_path', again)
  }
  return { ...next, endpointTrusted: isTrusted(current, patch, options) }
}

function authFrom(given: TenantPatch['clientAuth'], before: ClientAuth | null): ClientAuth | null | Refused {
  if (given === undefined) return before
  if (given?.method === 'bearer' && given.token === KEEP) {
    return before?.method === 'bearer' ? before : refused('client_auth.token', 'there is no token to keep')
  }
  if (given?.method === 'basic' && given.password === KEEP) {
    if (before?.method !== 'basic') return refused('client_auth.password', 'there is no password to keep')
    return { method: 'basic', user: given.user, password: before.password }
  }
  return given as ClientAuth | null
}

function secretsFrom(given: TenantPatch['signingSecrets'], before: readonly string[]): readonly string[] | Refused {
  if (given === undefined) return before
  const known = [...before]
  const secrets: string[] = []
  for (const [index, each] of given.entries()) {
    const secret = each === KEEP ? known.shift() : each
    if (secret === undefined) return refused(`signing_secrets.${index}`, 'there is no secret to keep')
    secrets.push(secret)
  }
  return secrets
}

/** True when the record still has a secret that this change did not bring. */
function keepsSecret(given: TenantPatch['clientAuth'], auth: ClientAuth | null): boolean {
  switch (auth?.method) {
    case 'bearer':
      return given === undefined || (given?.method === 'bearer' && given.token === KEEP)
    case 'basic':
      return given === undefined || (given?.method === 'basic' && given.password === KEEP)
    default:
      return false
  }
}

function keepsQuery(given: string | null | undefined, path: string | null): boolean {
  return given === undefined && path !== null && /[?&][^=?&#]*=[^&#]/.test(path)
}

/** Whoever may move the address must not learn by it what somebody else has set. To nowhere nothing is sent. */
function isElsewhere(next: string | null, before: string | null): boolean {
  return next !== null && originOf(next) !== originOf(before)
}

function isTrusted(current: Tenant, { clientBaseUrl }: TenantPatch, { trusted }: ChangeOptions): boolean {
  // Old clients send the whole record: naming the same address again takes no trust away.
  const isSame = clientBaseUrl === undefined || clientBaseUrl === current.clientBaseUrl
  return (current.endpointTrusted && isSame) || (trusted && clientBaseUrl !== undefined && clientBaseUrl !== null)
}
