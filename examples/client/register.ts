/**
 * Makes the application known to the mail proxy: its tenant, its SMTP account, and where reports go and how they are
 * proved genuine. Done at every start: what is there already only gets the fields given.
 */
import { randomBytes } from 'node:crypto'
import { createClient, MailProxyError } from 'genro-mail-proxy/client'
import type { Store } from './store.js'

export interface Registration {
  readonly url: string
  readonly tenant: string
  readonly ownUrl: string
  readonly access: { readonly key: string } | { readonly adminToken: string; readonly smtp: Smtp | null }
}

interface Smtp {
  readonly host: string
  readonly port: number
  readonly user: string | undefined
  readonly password: string | undefined
}

/** The tenant's API key, and the secrets by which reports are known. */
export async function register(store: Store, { url, tenant, ownUrl, access }: Registration) {
  const reportToken = store.secret('report_token', () => randomBytes(24).toString('base64url'))
  const signingSecret = store.secret('signing_secret', () => `whsec_${randomBytes(32).toString('base64')}`)
  const reports = {
    client_base_url: ownUrl,
    client_auth: { method: 'bearer', token: reportToken },
    signing_secrets: [signingSecret],
  } as const

  if ('key' in access) {
    await createClient({ url, token: access.key }).updateTenant(tenant, reports)
    return { key: access.key, reportToken, signingSecret }
  }
  const admin = createClient({ url, token: access.adminToken, tenantId: tenant })
  const { apiKey } = await admin.saveTenant({ id: tenant, ...reports })
  if (access.smtp !== null) await admin.saveAccount({ id: 'main', is_default: true, ...access.smtp })
  if (apiKey !== null) store.keep('api_key', apiKey)
  const kept = store.secret('api_key', () => '')
  if (await isKeyOf(kept, url)) return { key: kept, reportToken, signingSecret }
  // The tenant was there before this database was. A key is shown only once, so it takes a new one.
  const key = await admin.createApiKey(tenant, { overlapSeconds: 3600 })
  store.keep('api_key', key)
  return { key, reportToken, signingSecret }
}

async function isKeyOf(key: string, url: string): Promise<boolean> {
  if (key === '') return false
  try {
    await createClient({ url, token: key }).status()
    return true
  } catch (error) {
    if (error instanceof MailProxyError && error.code === 'unauthorized') return false
    throw error
  }
}
