/** docs/tenants-and-keys.md: who may call which route is what the service grants, and every route is there. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HttpApp, openHttpApp } from '../support/http-app.js'

const [, chapter = ''] = readFileSync('docs/tenants-and-keys.md', 'utf8').split('\n## Who may do what\n')
const granted = (who: string) => {
  const row = chapter.split('\n').find(line => line.startsWith(`| ${who}`)) ?? ''
  return [...row.matchAll(/`([A-Z]+ \/[^`]+)`/g)].map(match => match[1]!).toSorted()
}

let http: HttpApp
let key: string
let routes: string[]
beforeAll(async () => {
  http = await openHttpApp('sqlite')
  key = await http.addTenant('acme')
  const { paths } = (await http.call('GET', '/openapi.json')).body
  routes = Object.entries<object>(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
  )
})
afterAll(() => http.close())

/** How the route answers somebody with this token; null: none. */
async function statusFor(route: string, token: string | null): Promise<number> {
  const [method = '', path = ''] = route.split(' ')
  const url = path.replace('{tenant_id}', 'acme').replace(/\{\w+\}/g, '1')
  return (await http.call(method, url, { token })).status
}

describe('the rights in docs/tenants-and-keys.md', () => {
  it('name every route once', () => {
    const named = ['anybody', 'a tenant', 'only the admin'].flatMap(granted)
    expect(named.toSorted()).toEqual(routes.toSorted())
  })

  it('are those of the service', async () => {
    for (const route of routes) {
      const [nobody, tenant] = [await statusFor(route, null), await statusFor(route, key)]
      const who = nobody !== 401 ? 'anybody' : tenant === 403 ? 'only the admin' : 'a tenant'
      expect(granted(who), `${route} answers ${nobody} without a token, ${tenant} to a tenant's key`).toContain(route)
    }
  })
})
