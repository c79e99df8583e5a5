/** Live tests hold connections: a tenant's key must not take them all. */
import { expect, it } from 'vitest'
import { startHttpSink } from '../support/http-sink.js'
import { opened, openScene } from '../support/scene.js'

it('ten tests of a tenant may hang at once, more are refused, and other tenants are not concerned', async () => {
  const { service, sink } = await openScene({ sink: { behave: { greeting: () => ({ silent: true }) } } })
  const endpoint = await opened(
    startHttpSink(() => ({ hang: 'headers' })),
    each => each.close(),
  )
  const { body } = await service.call('POST', '/tenant', { id: 'hanging', client_base_url: endpoint.url })
  await service.account(sink, { tenant_id: 'hanging' })
  const asked = (count: number, path: string) =>
    Array.from({ length: count }, () => service.call('POST', path, undefined, body.api_key))
  const first = [...asked(6, '/tenant/hanging/test-sync'), ...asked(4, '/account/main/test')]
  await service.until('all ten hang', async () => endpoint.connections() === 6 && sink.connections === 4)

  for (const answer of await Promise.all([
    ...asked(20, '/tenant/hanging/test-sync'),
    ...asked(20, '/account/main/test'),
  ])) {
    expect(answer).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
  }
  expect(endpoint.connections()).toBe(6)
  expect(sink.connections).toBe(4)
  expect(await service.call('POST', '/tenant/default/test-sync')).toMatchObject({ status: 200, body: { ok: true } })

  await Promise.all([endpoint.close(), sink.close()])
  for (const answer of await Promise.all(first)) expect(answer).toMatchObject({ status: 200, body: { ok: false } })
  expect((await Promise.all(asked(1, '/tenant/hanging/test-sync')))[0]).toMatchObject({ status: 200 })
})
