import { expect, it } from 'vitest'
import { createRouteTable } from './route-table.js'

it('knows the methods of a path, with parameters, queries and a trailing slash', () => {
  const table = createRouteTable()
  table.add({ url: '/account/:id', method: 'GET' })
  table.add({ url: '/account/:id', method: ['DELETE', 'HEAD'] })
  table.add({ url: '/tenants/sync-status', method: 'GET' })
  table.add({ url: '/docs/*', method: 'GET' })
  expect(table.methodsOf('/account/a%2Fb/?x=1')).toEqual(['DELETE', 'GET', 'HEAD'])
  expect(table.methodsOf('/docs/static/x.css')).toEqual(['GET'])
  expect(table.methodsOf('/account')).toEqual([])
  expect(table.methodsOf('/account/a/b')).toEqual([])
  expect(table.methodsOf('/tenantsXsync-status')).toEqual([])
})
