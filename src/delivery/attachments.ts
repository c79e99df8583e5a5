/** What the fetcher has to know of a message's tenant and account: where it may ask, with which credentials. */

import { type FetchContext, tenantRoot } from '../attachments/fetch.js'
import type { Config } from '../config.js'
import { authorizationOf } from '../lib/http-auth.js'
import { originOf } from '../lib/url.js'
import { attachmentEndpoint } from '../tenants/endpoint.js'
import type { Tenant } from '../tenants/tenant.js'

export function fetchContext(
  tenant: Tenant,
  accountId: string,
  { baseDir, baseUrl }: Pick<Config['attachments'], 'baseDir' | 'baseUrl'>,
  volumeOrigins: readonly string[],
): FetchContext {
  const endpoint = attachmentEndpoint(tenant, baseUrl)
  const origin = originOf(tenant.clientBaseUrl)
  const authorization = authorizationOf(tenant.clientAuth)
  return {
    tenantId: tenant.id,
    accountId,
    endpoint:
      endpoint === null || endpoint.url === null
        ? null
        : { url: endpoint.url, authorization: endpoint.authorization, trusted: endpoint.trusted },
    trustedOrigins: origin !== null && tenant.endpointTrusted ? [...volumeOrigins, origin] : volumeOrigins,
    ownAuthorization: origin === null || authorization === null ? null : { origin, value: authorization },
    attachmentRoot: baseDir === null ? null : tenantRoot(baseDir, tenant.id, tenant.attachmentRoot),
  }
}
