/** Suspension at three levels: nothing of it is sent, nothing of it is lost, everything else goes on. */
import { describe, expect, it } from 'vitest'
import { startReportClient } from '../support/report-client.js'
import { idsOf, opened, openScene } from '../support/scene.js'
import { expectBalanced, many, tenant } from '../support/story.js'

describe.each(['sqlite', 'postgres'] as const)('a suspension on %s', dialect => {
  it('of a tenant lets the other tenants send', async () => {
    const { service, sink, client } = await openScene({ dialect })
    const other = await opened(startReportClient(), each => each.close())
    await tenant(service, 'acme', other)
    await service.account(sink, { tenant_id: 'acme' })
    const suspended = await service.call('POST', '/commands/suspend', { tenant_id: 'default' })
    expect(suspended.body).toMatchObject({ ok: true, active: false, tenant_id: 'default', suspended_batches: ['*'] })
    await service.send({ id: 'waits', priority: 0 }, { id: 'goes', tenant_id: 'acme' })
    await expectBalanced(service, other, ['goes'], 'acme')
    expect(await service.message('waits')).toMatchObject({ status: 'pending', waiting_for: 'suspension' })
    // Run-now sends what rules hold back, not what somebody suspended.
    await service.call('POST', '/commands/run-now', {})
    await service.send({ id: 'goes too', tenant_id: 'acme' })
    await expectBalanced(service, other, ['goes', 'goes too'], 'acme')
    expect(idsOf(sink.messages)).toEqual(['goes', 'goes too'])

    const resumed = await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    expect(resumed.body).toMatchObject({ ok: true, active: true, suspended_batches: [] })
    await expectBalanced(service, client, ['waits'])
    expect(idsOf(sink.messages)).toEqual(['goes', 'goes too', 'waits'])
  })

  it('of batches adds up, lets other batches send, and ends batch by batch', async () => {
    const { service, sink, client } = await openScene({ dialect })
    const suspend = (batch_code: string) =>
      service.call('POST', '/commands/suspend', { tenant_id: 'default', batch_code })
    await suspend('spring')
    expect((await suspend('autumn, late')).body.suspended_batches).toEqual(['autumn, late', 'spring'])
    await service.send(
      { id: 'spring', batch_code: 'spring' },
      { id: 'autumn', batch_code: 'autumn, late' },
      { id: 'winter', batch_code: 'winter' },
      { id: 'none' },
    )
    await service.until('the others', () => client.finals().length === 2)
    expect(idsOf(sink.messages).sort()).toEqual(['none', 'winter'])
    expect(await service.message('spring')).toMatchObject({ status: 'pending', waiting_for: 'suspension' })

    const one = { tenant_id: 'default', batch_code: 'spring' }
    expect((await service.call('POST', '/commands/activate', one)).body.suspended_batches).toEqual(['autumn, late'])
    await service.until('spring', () => client.finals().length === 3)
    expect(idsOf(sink.messages)).not.toContain('autumn')
    await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    await expectBalanced(service, client, ['spring', 'autumn', 'winter', 'none'])
    expect(idsOf(sink.messages)).toHaveLength(4)
  })

  it('of everything cannot be ended for one batch', async () => {
    const { service, sink, client } = await openScene({ dialect })
    await service.call('POST', '/commands/suspend', { tenant_id: 'default' })
    await service.send({ id: 'waits', batch_code: 'spring' })
    const one = { tenant_id: 'default', batch_code: 'spring' }
    const refused = await service.call('POST', '/commands/activate', one)
    expect(refused.status).toBe(400)
    expect(refused.body).toMatchObject({ ok: false, code: 'command_failed', error: expect.stringContaining('batch') })
    expect(await service.message('waits')).toMatchObject({ status: 'pending', waiting_for: 'suspension' })
    expect(sink.connections).toBe(0)
    await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    await expectBalanced(service, client, ['waits'])
  })

  it('survives a restart, whole scheduler, tenant and batch', async () => {
    const scene = await openScene({ dialect })
    const { sink, client } = scene
    await scene.service.call('POST', '/commands/suspend', { tenant_id: 'default', batch_code: 'spring' })
    const off = await scene.service.call('POST', '/commands/suspend', {})
    expect(off.body).toMatchObject({ active: false, suspended_batches: ['*'] })
    await scene.service.send({ id: 'batch', batch_code: 'spring' }, { id: 'plain', priority: 0 })
    const service = await scene.restart()
    expect((await service.call('GET', '/status')).body).toMatchObject({ active: false, pending_messages: 2 })
    expect(await service.message('plain')).toMatchObject({ waiting_for: 'suspension' })
    expect(sink.connections).toBe(0)

    expect((await service.call('POST', '/commands/activate', {})).body).toMatchObject({ active: true })
    await service.until('the plain one', () => client.finals().length === 1)
    expect(await service.message('batch')).toMatchObject({ status: 'pending', waiting_for: 'suspension' })
    await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    await expectBalanced(service, client, ['batch', 'plain'])
    expect(idsOf(sink.messages)).toEqual(['plain', 'batch'])
  })

  it('gives time to correct a batch, of which only the corrected form is ever sent', async () => {
    const { service, sink, client } = await openScene({ dialect })
    const batch = { tenant_id: 'default', batch_code: 'spring' }
    await service.call('POST', '/commands/suspend', batch)
    const wrong = many(30, 'm', { batch_code: 'spring', subject: 'Sprnig sale', body: 'wrong prices' })
    await service.send(...wrong)
    const corrected = wrong.map(message => ({ ...message, subject: 'Spring sale', body: 'right prices' }))
    expect((await service.send(...corrected.slice(0, 29))).queued).toBe(29)
    expect((await service.call('POST', '/commands/delete-messages', { ids: ['m30'] })).body.removed).toBe(1)
    await service.call('POST', '/commands/activate', batch)
    await expectBalanced(
      service,
      client,
      wrong.slice(0, 29).map(({ id }) => id as string),
    )
    expect(sink.messages).toHaveLength(29)
    for (const { raw } of sink.messages) expect(raw.toString()).toContain('right prices')
  })

  it('of a batch is no overrun of a limit: what waits is neither told so nor failed', async () => {
    const { service, sink, client } = await openScene({
      dialect,
      account: { limit_per_hour: 100, limit_behavior: 'error' },
    })
    const batch = { tenant_id: 'default', batch_code: 'spring' }
    await service.call('POST', '/commands/suspend', batch)
    await service.send({ id: 'waits', batch_code: 'spring' }, { id: 'goes' })
    await service.until('the other one', () => client.finals().length === 1)
    await service.send({ id: 'goes too' })
    await service.until('another one', () => client.finals().length === 2)
    expect(await service.message('waits')).toMatchObject({ status: 'pending', waiting_for: 'suspension' })
    await service.call('POST', '/commands/activate', batch)
    await expectBalanced(service, client, ['waits', 'goes', 'goes too'])
    expect(client.acknowledged.filter(each => each.sent_ts === undefined)).toEqual([])
    expect(sink.messages).toHaveLength(3)
  })
})
