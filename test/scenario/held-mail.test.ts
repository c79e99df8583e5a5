/** What stands still on purpose is told apart from what stands still: alerts look at the one and not at the other. */
import { expect, it } from 'vitest'
import { openScene } from '../support/scene.js'
import { metric, tenant } from '../support/story.js'

it.each(['sqlite', 'postgres'] as const)('on %s /metrics says which accounts are held, and by what', async dialect => {
  const { service, sink } = await openScene({ dialect })
  await tenant(service, 'quiet', null)
  await service.account(sink, { tenant_id: 'quiet' })
  for (const id of ['manual', 'ruled']) await service.account(sink, { id })
  await service.account(sink, { id: 'limited', limit_per_hour: 1 })
  const ok = async (path: string, body: unknown) => expect((await service.call('POST', path, body)).status).toBe(200)

  await service.send({ id: 'first', account_id: 'limited' })
  await service.until('the window is full', async () => (await service.message('first')).status === 'sent')
  await ok('/account/manual/pause?tenant_id=default', {})
  await ok('/commands/suspend?tenant_id=quiet', {})
  const otherDay = (new Date().getUTCDay() + 6 + 3) % 7
  await ok('/commands/rules', {
    name: 'other day',
    enabled: true,
    account_id: 'ruled',
    days: [otherDay],
    interval_minutes: 1,
  })
  // All of it, so that also what nothing holds is still there to be seen.
  await ok('/commands/suspend', {})
  await service.send(
    ...['main', 'manual', 'ruled', 'limited'].map(account => ({ id: `of-${account}`, account_id: account })),
    { id: 'of-quiet', tenant_id: 'quiet' },
  )

  await service.until('the dispatcher knows it', async () => (await metric(service, 'gmp_scheduler_active')) === 0)

  const { body } = await service.call('GET', '/metrics')
  const series = String(body)
    .split('\n')
    .filter(line => line.startsWith('gmp_account_held{'))
  expect(series.sort()).toEqual([
    'gmp_account_held{tenant_id="default",account_id="limited",by="limit"} 1',
    'gmp_account_held{tenant_id="default",account_id="manual",by="pause"} 1',
    'gmp_account_held{tenant_id="default",account_id="ruled",by="rule"} 1',
    'gmp_account_held{tenant_id="quiet",account_id="main",by="suspension"} 1',
  ])
  expect(await metric(service, 'gmp_account_due_messages{tenant_id="default",account_id="main"}')).toBe(1)

  await ok('/commands/activate', {})
  await service.until('what nothing holds', async () => (await service.message('of-main')).status === 'sent')
  expect((await service.message('of-limited')).status).not.toBe('sent')
})
