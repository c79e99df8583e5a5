import { describe, expect, it } from 'vitest'
import { reportEndpoint } from './endpoint.js'
import type { Tenant } from './tenant.js'

const none = { url: null, user: null, password: null, token: null }
const global = { url: 'https://app.test/sync', user: null, password: null, token: 'global-token' }
const tenant = (fields: Partial<Tenant>) =>
  ({ clientBaseUrl: null, clientSyncPath: null, clientAuth: null, endpointTrusted: false, ...fields }) as Tenant
const urlOf = (base: string, path: string | null) =>
  reportEndpoint(tenant({ clientBaseUrl: base, clientSyncPath: path }), none)?.url?.href

describe('reportEndpoint', () => {
  it.each([
    ['https://c.test', null, 'https://c.test/mail-proxy/sync'],
    ['https://c.test/', '', 'https://c.test/mail-proxy/sync'],
    ['https://c.test/app/', '/hook', 'https://c.test/app/hook'],
    ['https://c.test/app', 'hook?x=1', 'https://c.test/app/hook?x=1'],
    ['https://c.test/app?key=v', '/hook', 'https://c.test/app/hook?key=v'],
  ])('%s and %s join to %s', (base, path, url) => {
    expect(urlOf(base, path)).toBe(url)
  })

  it.each(['@evil.test/', '//evil.test/', '\\\\evil.test', '/../../x', 'http://evil.test/'])(
    'a path of %s stays on the host',
    path => {
      expect(new URL(urlOf('https://c.test', path)!).host).toBe('c.test')
    },
  )

  it.each(['/../x', '../../x', '/a/../../x', '/%2e%2e/x', '/..\\x'])(
    'a path of %s cannot leave that of the base',
    path => {
      expect(reportEndpoint(tenant({ clientBaseUrl: 'https://c.test/app', clientSyncPath: path }), none)).toMatchObject(
        {
          url: null,
        },
      )
      expect(urlOf('https://c.test/app', '/a/../x')).toBe('https://c.test/app/x')
    },
  )

  it.each(['ftp://c.test', 'javascript:1', 'not a url', 'file:///etc/passwd'])(
    '%s is an endpoint without a usable URL',
    base => {
      expect(reportEndpoint(tenant({ clientBaseUrl: base }), global)).toMatchObject({ url: null })
    },
  )

  it('the tenant authenticates with its client_auth', () => {
    const base = { clientBaseUrl: 'https://c.test' }
    const of = (clientAuth: Tenant['clientAuth']) =>
      reportEndpoint(tenant({ ...base, clientAuth }), global)?.authorization
    expect(of({ method: 'bearer', token: 't' })).toBe('Bearer t')
    expect(of({ method: 'basic', user: 'ü', password: 'p:w' })).toBe(`Basic ${Buffer.from('ü:p:w').toString('base64')}`)
    expect(of({ method: 'none' })).toBeNull()
  })

  it('user information leaves the URL and becomes Basic authentication', () => {
    const endpoint = reportEndpoint(tenant({ clientBaseUrl: 'https://me:s%40crt@c.test/x' }), none)
    expect(endpoint?.url?.href).toBe('https://c.test/x/mail-proxy/sync')
    expect(endpoint?.authorization).toBe(`Basic ${Buffer.from('me:s@crt').toString('base64')}`)
  })

  it('a tenant without an endpoint reports to the global one, with the global credentials alone', () => {
    const endpoint = reportEndpoint(tenant({ clientAuth: { method: 'bearer', token: 'own' } }), global)
    expect(endpoint).toMatchObject({ authorization: 'Bearer global-token', trusted: true })
    expect(reportEndpoint(tenant({}), none)).toBeNull()
  })
})
