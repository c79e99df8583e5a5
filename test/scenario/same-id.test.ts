/** The client's id is its idempotency key: what a second submission does depends on how far the first one has come. */
import { describe, expect, it } from 'vitest'
import { idsOf, openScene, type Scene } from '../support/scene.js'
import type { SinkMessage } from '../support/smtp-sink.js'
import { expectBalanced } from '../support/story.js'

const first = { id: 'same', subject: 'first', body: 'first body', to: 'first@example.net' }
const second = { id: 'same', subject: 'second', body: 'second body', to: 'second@example.net' }
const QUEUED = { ok: true, queued: 1, rejected: [] }

describe.each(['sqlite', 'postgres'] as const)('the same id again on %s', dialect => {
  const subjects = (messages: readonly SinkMessage[]) =>
    messages.map(({ raw }) => /^Subject: (.*)\r$/m.exec(raw.toString())?.[1])

  const statusIs = (scene: Scene, status: string) =>
    scene.service.until(`status ${status}`, async () => (await scene.service.message('same')).status === status)

  it('while pending replaces the content and keeps the place in the queue', async () => {
    const scene = await openScene({ dialect, account: { max_connections: 1 } })
    const { service, sink, client, reports } = scene
    await service.call('POST', '/account/main/pause?tenant_id=default', {})
    await service.send(first, { id: 'after' })
    expect((await service.message('same')).status).toBe('pending')
    expect(await service.send(second)).toEqual(QUEUED)
    expect((await service.message('same')).subject).toBe('second')
    await service.call('POST', '/account/main/resume?tenant_id=default')
    await expectBalanced(service, client, ['same', 'after'])
    expect(idsOf(sink.messages)).toEqual(['same', 'after'])
    expect(sink.messages[0]!.to).toEqual(['second@example.net'])
    expect(sink.messages[0]!.raw.toString()).toContain('second body')
    expect(reports('same')).toHaveLength(1)
  })

  it('while deferred replaces the content and starts the attempts anew', async () => {
    const scene = await openScene({
      dialect,
      sink: { behave: { rcpt: ({ address }) => (address === 'first@example.net' ? '451 4.2.1 Busy' : null) } },
      env: { GMP_RETRY_DELAYS: '60' },
    })
    const { service, sink, client, reports } = scene
    await service.send(first)
    await statusIs(scene, 'deferred')
    expect(await service.send(second)).toEqual(QUEUED)
    await expectBalanced(service, client, ['same'])
    expect(subjects(sink.messages)).toEqual(['second'])
    expect(reports('same').at(-1)).toMatchObject({ sent_ts: expect.any(Number), attempts: 1 })
  })

  it('while scheduled follows the new time', async () => {
    const scene = await openScene({ dialect })
    const { service, sink, client } = scene
    await service.send({ ...first, deferred_ts: Math.floor(Date.now() / 1000) + 3600 })
    expect(await service.message('same')).toMatchObject({ status: 'deferred', waiting_for: 'schedule' })
    expect(await service.send(second)).toEqual(QUEUED)
    await expectBalanced(service, client, ['same'])
    expect(subjects(sink.messages)).toEqual(['second'])
  })

  it('while suspended corrects the batch', async () => {
    const scene = await openScene({ dialect })
    const { service, sink, client } = scene
    const batch = { tenant_id: 'default', batch_code: 'spring' }
    await service.call('POST', '/commands/suspend', batch)
    await service.send({ ...first, batch_code: 'spring' })
    expect(await service.message('same')).toMatchObject({ waiting_for: 'suspension' })
    expect(await service.send({ ...second, batch_code: 'spring' })).toEqual(QUEUED)
    await service.call('POST', '/commands/activate', batch)
    await expectBalanced(service, client, ['same'])
    expect(subjects(sink.messages)).toEqual(['second'])
  })

  it('while it is being sent is rejected as in progress', async () => {
    let letGo = () => {}
    const inFlight = new Promise<void>(resolve => {
      letGo = resolve
    })
    const scene = await openScene({
      dialect,
      sink: {
        behave: {
          final() {
            letGo()
            return { delayMs: 1_500 }
          },
        },
      },
    })
    const { service, sink, client, reports } = scene
    await service.send(first)
    await inFlight
    const answer = await service.send(second)
    expect(answer).toMatchObject({ ok: false, queued: 0, rejected: [{ id: 'same', code: 'in_progress' }] })
    await expectBalanced(service, client, ['same'])
    expect(subjects(sink.messages)).toEqual(['first'])
    expect(reports('same')).toHaveLength(1)
  })

  it('once sent is rejected as already sent, which is a success', async () => {
    const scene = await openScene({ dialect })
    const { service, sink, client, reports } = scene
    await service.send(first)
    await expectBalanced(service, client, ['same'])
    const { status, body } = await service.call('POST', '/commands/add-messages', {
      messages: [{ ...second, from: 'a@example.com', account_id: 'main', tenant_id: 'default' }],
    })
    expect([status, body]).toEqual([
      200,
      { ok: true, queued: 0, rejected: [{ index: 0, id: 'same', reason: 'already sent', code: 'already_sent' }] },
    ])
    await service.send({ id: 'after' })
    await expectBalanced(service, client, ['same', 'after'])
    expect(subjects(sink.messages)).toEqual(['first', 'Subject'])
    expect(reports('same')).toHaveLength(1)
  })

  it('while in doubt is rejected as already sent: the server may have it', async () => {
    const scene = await openScene({
      dialect,
      sink: { behave: { final: ({ n }) => (n === 1 ? { cut: true, keep: true } : null) } },
      account: { in_doubt: 'hold' },
    })
    const { service, sink, client } = scene
    await service.send(first)
    await statusIs(scene, 'in_doubt')
    expect(await service.send(second)).toMatchObject({ ok: true, queued: 0, rejected: [{ code: 'already_sent' }] })
    await service.call('POST', '/messages/same/release')
    await expectBalanced(service, client, ['same'])
    expect(subjects(sink.messages)).toEqual(['first', 'first'])
  })

  it('after an error is a new submission', async () => {
    const scene = await openScene({
      dialect,
      sink: { behave: { rcpt: ({ address }) => (address === 'first@example.net' ? '550 5.1.1 Unknown' : null) } },
    })
    const { service, sink, client, reports } = scene
    await service.send(first)
    await expectBalanced(service, client, ['same'])
    expect(await service.send(second)).toEqual(QUEUED)
    await service.until('both ends told', () => reports('same').length === 2)
    expect(reports('same')).toMatchObject([
      { code: '550', attempts: 1 },
      { sent_ts: expect.any(Number), attempts: 1 },
    ])
    expect(subjects(sink.messages)).toEqual(['second'])
    expect(await service.message('same')).toMatchObject({ status: 'sent', attempts: 1 })
  })

  it('after a cancellation is a new submission', async () => {
    const scene = await openScene({ dialect })
    const { service, sink, reports } = scene
    await service.send({ ...first, deferred_ts: Math.floor(Date.now() / 1000) + 3600 })
    await service.call('POST', '/messages/same/cancel')
    expect(await service.message('same')).toMatchObject({ status: 'cancelled' })
    expect(await service.send(second)).toEqual(QUEUED)
    await service.until('both ends told', () => reports('same').length === 2)
    expect(reports('same')).toMatchObject([{ code: 'cancelled' }, { sent_ts: expect.any(Number) }])
    expect(subjects(sink.messages)).toEqual(['second'])
  })

  it('after some recipients were accepted is rejected as already sent, before and after its end', async () => {
    const scene = await openScene({
      dialect,
      sink: {
        behave: { rcpt: ({ address, n }) => (address === 'busy@example.net' && n === 1 ? '451 4.2.1 Busy' : null) },
      },
      env: { GMP_RETRY_DELAYS: '1' },
    })
    const { service, sink, client, reports } = scene
    await service.send({ ...first, to: ['good@example.net', 'busy@example.net'] })
    await statusIs(scene, 'deferred')
    expect(await service.send(second)).toMatchObject({ queued: 0, rejected: [{ code: 'already_sent' }] })
    await expectBalanced(service, client, ['same'])
    expect(await service.send(second)).toMatchObject({ queued: 0, rejected: [{ code: 'already_sent' }] })
    expect(sink.messages.map(({ to }) => to)).toEqual([['good@example.net'], ['busy@example.net']])
    expect(subjects(sink.messages)).toEqual(['first', 'first'])
    expect(reports('same')).toHaveLength(2)
  })

  it('twice in one call counts twice and the last content wins; a rejected one leaves no trace', async () => {
    const scene = await openScene({ dialect })
    const { service, sink, client } = scene
    const bad = await service.send({ ...first, to: 'no address' })
    expect(bad).toMatchObject({ ok: false, queued: 0, rejected: [{ id: 'same', field: 'to' }] })
    expect((await service.call('GET', '/messages/same')).status).toBe(404)
    await service.call('POST', '/commands/suspend', { tenant_id: 'default' })
    expect(await service.send(first, { id: 'between' }, second)).toEqual({ ok: true, queued: 3, rejected: [] })
    await service.call('POST', '/commands/activate', { tenant_id: 'default' })
    await expectBalanced(service, client, ['same', 'between'])
    expect(subjects(sink.messages).sort()).toEqual(['Subject', 'second'])
  })
})
