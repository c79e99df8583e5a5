/** What an operator may do to a message, when it may be done, and that the tenant is told of it. */
import { describe, expect, it } from 'vitest'
import { startReportClient } from '../support/report-client.js'
import { idsOf, opened, openScene } from '../support/scene.js'
import { expectBalanced, many, tenant } from '../support/story.js'

const VERBS = ['retry', 'cancel', 'release', 'discard'] as const

describe.each(['sqlite', 'postgres'] as const)('an operator on %s', dialect => {
  it('may do to a message what fits its state, and is told no for the rest', async () => {
    const { service, sink } = await openScene({
      dialect,
      account: { in_doubt: 'hold' },
      sink: {
        behave: {
          rcpt: ({ address }) => (address === 'gone@example.net' ? '550 5.1.1 User unknown' : null),
          mail: ({ address }) => (address === 'slow@example.com' ? { delayMs: 3_000 } : null),
          final({ content }) {
            return content.includes('in doubt') ? { cut: true, keep: true } : null
          },
        },
      },
    })
    await service.send(
      { id: 'sent' },
      { id: 'error', to: 'gone@example.net' },
      { id: 'in_doubt', subject: 'in doubt' },
      { id: 'deferred', deferred_ts: Date.now() / 1000 + 3600 },
      { id: 'cancelled', deferred_ts: Date.now() / 1000 + 3600 },
      { id: 'sending', from: 'slow@example.com' },
    )
    const allowed: Record<string, string[]> = {
      sent: [],
      error: ['retry'],
      in_doubt: ['release', 'discard'],
      deferred: ['cancel'],
      cancelled: ['retry'],
      sending: [],
    }
    expect((await service.call('POST', '/messages/cancelled/cancel')).body).toMatchObject({ status: 'cancelled' })
    for (const id of Object.keys(allowed)) {
      await service.until(`${id} to be ${id}`, async () => (await service.message(id)).status === id)
    }
    for (const [id, fits] of Object.entries(allowed)) {
      for (const verb of VERBS.filter(each => !fits.includes(each))) {
        const { status, body } = await service.call('POST', `/messages/${id}/${verb}?tenant_id=default`)
        expect([id, verb, status, body.code]).toEqual([id, verb, 400, 'command_failed'])
        expect([id, (await service.message(id)).status]).toEqual([id, id])
      }
    }
    for (const verb of VERBS) {
      const { status, body } = await service.call('POST', `/messages/unknown/${verb}`)
      expect([verb, status, body.code]).toEqual([verb, 404, 'not_found'])
    }
    // One in flight can neither be deleted.
    const deleted = await service.call('POST', '/commands/delete-messages', {
      ids: ['sending', 'deferred', 'nobody'],
      tenant_id: 'default',
    })
    expect(deleted.body).toEqual({
      ok: true,
      removed: 1,
      not_found: ['nobody'],
      unauthorized: [],
      in_progress: ['sending'],
    })
    expect(idsOf(sink.messages).sort()).toEqual(['in_doubt', 'sent'])
  })

  it('retries what failed, for all its recipients, once the cause is mended', async () => {
    const { service, sink, client, reports } = await openScene({
      dialect,
      sink: { behave: { rcpt: () => '550 5.1.1 User unknown' } },
    })
    await service.send({ id: 'failed', to: ['a@example.net', 'b@example.net'] })
    await expectBalanced(service, client, ['failed'])
    sink.behave({})
    const { status, body } = await service.call('POST', '/messages/failed/retry')
    expect([status, body.ok, body.id]).toEqual([200, true, 'failed'])
    await service.until('it is told twice', () => reports('failed').length === 2)
    expect(reports('failed')).toMatchObject([{ code: '550' }, { sent_ts: expect.any(Number), attempts: 1 }])
    expect(sink.messages.map(({ to }) => to)).toEqual([['a@example.net', 'b@example.net']])
    const record = await service.message('failed')
    expect(record).toMatchObject({ status: 'sent', attempts: 1 })
    expect([record.error, record.error_ts, record.code]).toEqual([undefined, undefined, undefined])
  })

  it('cancels what waits, which is reported and never sent', async () => {
    const { service, sink, client, reports } = await openScene({ dialect })
    await service.call('POST', '/account/main/pause?tenant_id=default', {})
    await service.send({ id: 'pending' }, { id: 'scheduled', deferred_ts: Date.now() / 1000 + 1 }, { id: 'kept' })
    for (const id of ['pending', 'scheduled']) {
      expect((await service.call('POST', `/messages/${id}/cancel`)).body).toMatchObject({
        ok: true,
        status: 'cancelled',
      })
    }
    await service.until('both told', () => client.finals().length === 2)
    expect(reports('pending')).toMatchObject([{ error_ts: expect.any(Number), code: 'cancelled', attempts: 0 }])
    await service.call('POST', '/account/main/resume?tenant_id=default')
    // Later than the time the scheduled one was meant for.
    await service.send({ id: 'later', deferred_ts: Date.now() / 1000 + 1.2 })
    await expectBalanced(service, client, ['pending', 'scheduled', 'kept', 'later'])
    expect(idsOf(sink.messages)).toEqual(['kept', 'later'])
  })

  it('deletes without a report, and cleans up only what was reported', async () => {
    const { service, sink, client } = await openScene({ dialect })
    await service.send({ id: 'gone', deferred_ts: Date.now() / 1000 + 1 }, { id: 'sent' })
    expect((await service.call('POST', '/commands/delete-messages', { ids: ['gone'] })).body.removed).toBe(1)
    await expectBalanced(service, client, ['sent'])
    client.answer(() => ({ status: 500 }))
    await service.send({ id: 'unreported' })
    await sink.waitFor(2)
    await service.until('sent', async () => (await service.message('unreported')).status === 'sent')
    const clean = () => service.call('POST', '/commands/cleanup-messages', { older_than_seconds: 0 })
    expect((await clean()).body).toEqual({ ok: true, removed: 1 })
    expect((await service.call('GET', '/messages/sent')).status).toBe(404)
    expect((await service.call('GET', '/messages/unreported')).status).toBe(200)
    client.answer(() => ({ body: { ok: true } }))
    await service.call('POST', '/commands/run-now', { tenant_id: 'default' })
    await service.until('reported', async () => (await service.message('unreported')).reported_ts !== undefined)
    expect((await clean()).body.removed).toBe(1)
    expect((await service.call('GET', '/messages?tenant_id=default')).body.messages).toEqual([])
    expect(client.acknowledged.map(({ id }) => id)).toEqual(['sent', 'unreported'])
    expect(idsOf(sink.messages)).toEqual(['sent', 'unreported'])
  })

  it('deletes an account, whose queue becomes errors that are reported', async () => {
    const { service, sink, client, reports } = await openScene({ dialect })
    await service.account(sink, { id: 'second' })
    await service.call('POST', '/account/main/pause?tenant_id=default', {})
    const scheduled = { id: 'scheduled', deferred_ts: Date.now() / 1000 + 3600 }
    await service.send(...many(3, 'm'), scheduled, { id: 'other', account_id: 'second' })
    const deleted = await service.call('DELETE', '/account/main?tenant_id=default')
    expect([deleted.status, deleted.body]).toEqual([200, { ok: true }])
    await expectBalanced(service, client, ['m1', 'm2', 'm3', 'scheduled', 'other'])
    for (const id of ['m1', 'm2', 'm3', 'scheduled']) {
      expect(reports(id)).toMatchObject([{ code: 'account_deleted', error_ts: expect.any(Number), attempts: 0 }])
    }
    expect(idsOf(sink.messages)).toEqual(['other'])
    expect(await service.send({ id: 'new' })).toMatchObject({ queued: 0, rejected: [{ code: 'account_not_found' }] })
    // An account of the same name is another account: it gets nothing of the old one's.
    await service.account(sink)
    await service.send({ id: 'new' })
    await expectBalanced(service, client, ['m1', 'm2', 'm3', 'scheduled', 'other', 'new'])
    expect(idsOf(sink.messages)).toEqual(['other', 'new'])
  })

  it('finds the accounts `main` of two tenants independent of each other', async () => {
    const { service, sink, client } = await openScene({ dialect, account: { limit_per_hour: 1 } })
    const theirs = await opened(startReportClient(), each => each.close())
    const key = await tenant(service, 'acme', theirs)
    await service.account(sink, { tenant_id: 'acme' })
    const acme = (method: string, path: string, body?: unknown) => service.call(method, path, body, key)

    // The same ids, too; the limit of one is not the other's.
    await service.send(...many(3, 'm'))
    await service.send(...many(3, 'm', { tenant_id: 'acme' }))
    await expectBalanced(service, theirs, ['m1', 'm2', 'm3'], 'acme')
    await service.until('ours to wait', async () => (await service.message('m3')).status === 'deferred')
    expect((await acme('GET', '/messages/m3')).body).toMatchObject({ tenant_id: 'acme', status: 'sent' })

    // Neither a pause nor a deletion reaches across.
    await acme('POST', '/account/main/pause', {})
    expect((await service.call('GET', '/account/main?tenant_id=default')).body.paused).toBe(false)
    expect((await acme('DELETE', '/account/main')).status).toBe(200)
    expect((await acme('GET', '/accounts')).body.accounts).toEqual([])
    expect((await service.call('GET', '/accounts?tenant_id=default')).body.accounts).toHaveLength(1)
    expect((await service.message('m3')).status).toBe('deferred')
    expect((await acme('POST', '/messages/m3/cancel?tenant_id=default')).status).toBe(401)
    expect((await acme('POST', '/commands/delete-messages', { ids: ['m2', 'm3'] })).body.removed).toBe(2)
    expect((await service.message('m3')).status).toBe('deferred')
    await service.call('POST', '/account', { id: 'main', tenant_id: 'default', limit_per_hour: null })
    await expectBalanced(service, client, ['m1', 'm2', 'm3'])
    expect(sink.messages).toHaveLength(6)
  })
})
