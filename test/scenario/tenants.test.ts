/** What separates tenants: a key reaches nothing of another tenant by any route, and keys and tenants end when told. */
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ReportClient, startReportClient } from '../support/report-client.js'
import { startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many, tenant } from '../support/story.js'

/** Everything a foreign key could change. The command log may tell of the attempt. */
const TABLES = ['tenants', 'accounts', 'api_keys', 'messages', 'contents', 'events', 'rules', 'meta']

describe.each(['sqlite', 'postgres'] as const)('tenants on %s', dialect => {
  let service: TestService
  let client: ReportClient
  let sink: SmtpSink
  let acme: string
  let evil: string

  beforeEach(async () => {
    client = await startReportClient()
    sink = await startSink()
    service = await startTestService({ dialect })
    acme = await tenant(service, 'acme', client)
    evil = await tenant(service, 'evil', null)
    await service.account(sink, { tenant_id: 'acme' })
    await service.account(sink, { tenant_id: 'evil', id: 'own' })
  })
  afterEach(async () => {
    await service.stop()
    await client.close()
    await sink.close()
  })

  async function snapshot(): Promise<unknown> {
    const rows = TABLES.map(async name => [
      name,
      await service.service.db!.read({ sql: `select * from ${name} order by 1, 2`, params: [] }),
    ])
    return Object.fromEntries((await Promise.all(rows)) as [string, unknown][])
  }

  it("another tenant's key gets 401 or 403 from every route that is not public, and changes and learns nothing", async () => {
    const far = Math.floor(Date.now() / 1000) + 3600
    await service.send(
      { tenant_id: 'acme', id: 'sent', subject: 'secret subject' },
      { tenant_id: 'acme', id: 'waiting', deferred_ts: far },
    )
    await sink.waitFor(1)
    await service.until('told', () => client.finals().length === 1)
    await service.until('the answer is recorded', async () => {
      const { body } = await service.call('GET', '/messages/sent?tenant_id=acme')
      return typeof body.reported_ts === 'number'
    })
    const { body: api } = await service.call('GET', '/openapi.json')
    const before = await snapshot()
    const tried: string[] = []
    for (const [path, methods] of Object.entries<Record<string, any>>(api.paths)) {
      for (const [method, route] of Object.entries(methods)) {
        if (route.security === undefined) continue
        const values: Record<string, string> = {
          tenant_id: 'acme',
          account_id: 'main',
          id: 'waiting',
          rule_id: '1',
          name: 'disk',
        }
        const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? 'x')
        const named = path.includes('{tenant_id}') ? filled : `${filled}?tenant_id=acme`
        const body =
          method === 'get'
            ? undefined
            : { tenant_id: 'acme', ids: ['waiting'], id: 'main', host: 'evil.example', messages: [], enabled: false }
        const answers = [await service.call(method.toUpperCase(), named, body, evil)]
        // The tenant named in the body alone counts as well.
        if (body !== undefined && !path.includes('{tenant_id}'))
          answers.push(await service.call(method.toUpperCase(), filled, body, evil))
        for (const { status, body: told } of answers) {
          expect([`${method} ${path}`, [401, 403].includes(status)]).toEqual([`${method} ${path}`, true])
          expect(told).toMatchObject({
            ok: false,
            code: status === 401 ? 'unauthorized' : 'forbidden',
            detail: expect.any(String),
          })
          expect(JSON.stringify(told)).not.toContain('secret subject')
        }
        tried.push(`${method} ${path}`)
      }
    }
    expect(tried.length).toBeGreaterThan(30)
    for (const known of [
      'post /commands/add-messages',
      'post /commands/suspend',
      'get /messages/{id}',
      'get /stats',
      'delete /account/{account_id}',
    ]) {
      expect(tried).toContain(known)
    }
    await pause(200)
    expect(await snapshot()).toEqual(before)
    expect(sink.accepted).toBe(1)
  })

  it('without naming a tenant a key means its own, and what is not its own does not exist', async () => {
    const far = Math.floor(Date.now() / 1000) + 3600
    await service.send({ tenant_id: 'acme', id: 'waiting', deferred_ts: far, subject: 'secret subject' })
    const ask = (method: string, path: string, body?: unknown) => service.call(method, path, body, evil)
    for (const operation of ['retry', 'cancel', 'release', 'discard']) {
      expect((await ask('POST', `/messages/waiting/${operation}`, {})).status).toBe(404)
    }
    expect((await ask('GET', '/messages/waiting')).status).toBe(404)
    expect((await ask('GET', '/account/main')).status).toBe(404)
    expect((await ask('DELETE', '/account/main')).status).toBe(400)
    for (const operation of ['pause', 'resume', 'test'])
      expect((await ask('POST', `/account/main/${operation}`, {})).status).toBe(404)
    expect((await ask('GET', '/messages?include_history=true')).body.messages).toEqual([])
    expect((await ask('GET', '/accounts')).body.accounts.map((each: { id: string }) => each.id)).toEqual(['own'])
    expect((await ask('GET', '/reports')).body.reports).toEqual([])
    expect((await ask('GET', '/status')).body).toMatchObject({ pending_messages: 0, paused_accounts: [] })
    expect((await ask('GET', '/stats')).body).toMatchObject({ by_status: {}, by_account: [] })
    expect((await ask('POST', '/commands/delete-messages', { ids: ['waiting'] })).body).toMatchObject({ removed: 0 })
    expect((await ask('POST', '/commands/cleanup-messages', { older_than_seconds: 0 })).body).toMatchObject({
      removed: 0,
    })
    // A message may not name another tenant, nor its account.
    const { status, body } = await ask('POST', '/commands/add-messages', {
      messages: [
        { id: 'a', tenant_id: 'acme', account_id: 'main', from: 'x@example.com', to: 'y@example.net', subject: 's' },
        { id: 'b', account_id: 'main', from: 'x@example.com', to: 'y@example.net', subject: 's' },
      ],
    })
    expect([status, body.rejected.map((each: { code: string }) => each.code)]).toEqual([
      400,
      ['unauthorized', 'account_not_found'],
    ])
    expect(await service.message('waiting', 'acme')).toMatchObject({ status: 'deferred', subject: 'secret subject' })
    expect(sink.connections).toBe(0)
  })

  it("two tenants may use the same ids; deleting one's account or tenant leaves the other's mail alone", async () => {
    await service.account(sink, { tenant_id: 'evil', id: 'main' })
    const far = Math.floor(Date.now() / 1000) + 3600
    for (const id of ['acme', 'evil'])
      await service.send(...many(3, 'm', { tenant_id: id, deferred_ts: far, batch_code: 'spring' }))
    await service.call('POST', '/commands/suspend', { batch_code: 'spring' }, evil)
    await service.call('POST', '/messages/m1/cancel', {}, evil)
    await service.call('POST', '/commands/delete-messages', { ids: ['m2'] }, evil)
    expect((await service.call('DELETE', '/account/main', undefined, evil)).status).toBe(200)
    expect((await service.message('m3', 'evil')).code).toBe('account_deleted')
    expect((await service.call('DELETE', '/tenant/evil')).status).toBe(200)
    const { body } = await service.call('GET', '/messages', undefined, acme)
    expect(body.messages.map((each: { id: string; status: string }) => [each.id, each.status])).toEqual([
      ['m3', 'deferred'],
      ['m2', 'deferred'],
      ['m1', 'deferred'],
    ])
    expect((await service.call('GET', '/account/main', undefined, acme)).status).toBe(200)
    expect((await service.call('GET', '/status', undefined, evil)).status).toBe(401)
  })

  it('a rotated key lives through its overlap, an expiring one until its time, a revoked one no longer', async () => {
    const works = async (key: string) => (await service.call('GET', '/status', undefined, key)).status === 200
    const rotate = async (query = '') =>
      (await service.call('POST', `/tenant/acme/api-key${query}`)).body.api_key as string
    const second = await rotate('?overlap_seconds=3')
    expect([await works(acme), await works(second)]).toEqual([true, true])
    await service.until('the overlap ends', async () => !(await works(acme)))
    expect(await works(second)).toBe(true)

    const third = await rotate()
    expect([await works(second), await works(third)]).toEqual([false, true])
    const expiring = await rotate(`?expires_at=${Math.floor(Date.now() / 1000) + 3}&overlap_seconds=60`)
    expect([await works(third), await works(expiring)]).toEqual([true, true])
    await service.until('it expires', async () => !(await works(expiring)))

    await service.call('DELETE', '/tenant/acme/api-key')
    expect(await works(third)).toBe(false)
    expect(await works(evil)).toBe(true)
    expect((await service.call('GET', '/tenant/acme')).status).toBe(200)
  })

  it("an inactive tenant's submissions are refused, its queue waits, and its reports still go", async () => {
    const later = Math.ceil(Date.now() / 1000) + 2
    await service.send({ tenant_id: 'acme', id: 'held', deferred_ts: later })
    await service.send({ tenant_id: 'acme', id: 'doomed', deferred_ts: later + 600 })
    await service.call('PUT', '/tenant/acme', { active: false })
    const { status, body } = await service.call(
      'POST',
      '/commands/add-messages',
      {
        messages: [{ id: 'new', from: 'x@example.com', to: 'y@example.net', subject: 's' }],
      },
      acme,
    )
    expect([status, body.rejected[0].code]).toEqual([400, 'tenant_inactive'])
    await service.until('it would be due', async () => (await service.message('held', 'acme')).status === 'pending')
    await service.call('POST', '/messages/doomed/cancel', { tenant_id: 'acme' })
    await service.until('its end is told', () =>
      client.finals().some(each => each.id === 'doomed' && each.error_ts !== undefined),
    )
    await pause(300)
    expect(sink.accepted).toBe(0)
    expect(await service.message('held', 'acme')).toMatchObject({
      waiting_for: 'suspension',
      waiting_detail: 'Its tenant is inactive.',
    })
    expect((await service.message('new', 'acme')).ok).toBe(false)

    await service.call('PUT', '/tenant/acme', { active: true })
    await sink.waitFor(1)
    await service.until('told', () => client.finals().some(each => each.id === 'held'))
  })
})
