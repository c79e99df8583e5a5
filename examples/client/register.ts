/**
 * Makes the application known to the mail proxy: its tenant, its SMTP account, and where reports go and how they are
 * proved genuine. Done at every start: what is there already only gets the fields given.
 */
import { randomBytes } from 'node:crypto'
import { createClient, type MailProxyClient, MailProxyError } from 'genro-mail-proxy/client'
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
  await refuseAnothers(store, admin, tenant, ownUrl)
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

/** An admin token may do anything, also turn the reports and the key of an application in use over to this one. */
async function refuseAnothers(store: Store, admin: MailProxyClient, tenant: string, ownUrl: string): Promise<void> {
  if (store.secret('api_key', () => '') !== '') return
  const known = await admin.getTenant(tenant).catch(error => {
    if (error instanceof MailProxyError && error.code === 'not_found') return null
    throw error
  })
  const other = known?.client_base_url
  if (other === undefined || new URL(other).href === new URL(ownUrl).href) return
  const sentence = `The tenant ${tenant} is there and reports to ${other}: take another one by --tenant, or its own key by MAIL_PROXY_KEY.`
  throw Object.assign(new Error(sentence), { code: 'tenant_in_use' })
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
