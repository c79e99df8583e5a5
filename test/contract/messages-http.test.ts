import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

const mail = (id: string, fields: object = {}) => ({ id, from: 'a@x.it', to: 'b@y.it', subject: 'Hi', ...fields })

describe.each(dialects)('message routes on %s', dialect => {
  let http: HttpApp
  let one: string
  let two: string

  beforeAll(async () => {
    http = await openHttpApp(dialect)
    one = await http.addTenant('one')
    two = await http.addTenant('two')
    for (const tenant_id of ['default', 'one', 'two']) {
      await http.call('POST', '/account', { body: { id: 'main', tenant_id, host: 'smtp.example.org', port: 587 } })
    }
  })
  afterAll(() => http.close())

  const add = (messages: unknown, token = one, query = '') =>
    http.call('POST', `/commands/add-messages${query}`, { token, body: { messages } })
  const set = (id: string, sql: string) =>
    http.temp.db.write([{ sql: `update messages set ${sql} where id = $1`, params: [id] }])

  describe('add-messages', () => {
    it('answers what was queued, what was not and why', async () => {
      http.hints.length = 0
      const { status, body } = await add([
        mail('h1'),
        mail('h2', { to: '', bodyhtml: 1 }),
        mail('h3', { bodyHtml: 'x' }),
      ])
      expect(status).toBe(200)
      expect(body).toEqual({
        ok: true,
        queued: 2,
        rejected: [{ index: 1, id: 'h2', reason: 'missing to', code: 'missing_field', field: 'to' }],
        warnings: [{ id: 'h3', field: 'bodyHtml', hint: 'unknown field, ignored; did you mean "body_html"?' }],
      })
      expect(http.hints).toContain('queue')
    })

    it('is 400 with the same body when nothing was queued', async () => {
      const rejected = [
        {
          index: 0,
          id: 'x1',
          reason: "account not found for tenant: 'none'",
          code: 'account_not_found',
          field: 'account_id',
        },
      ]
      const { status, body } = await add([mail('x1', { account_id: 'none' })])
      expect(status).toBe(400)
      expect(body).toEqual({
        ok: false,
        queued: 0,
        rejected,
        error: "No message was queued: account not found for tenant: 'none'",
        code: 'command_failed',
        detail: { error: null, rejected },
      })
    })

    it('is 200 when all was sent before: repeating a request is no fault', async () => {
      await add([mail('s1')])
      await set('s1', "stage = 0, status = 'sent', accepted = 1")
      expect(await add([mail('s1')])).toMatchObject({
        status: 200,
        body: { ok: true, queued: 0, rejected: [{ code: 'already_sent' }] },
      })
    })

    it('is 200 for no message at all', async () => {
      expect(await add([])).toMatchObject({ status: 200, body: { ok: true, queued: 0, rejected: [] } })
    })

    it('is 429 when the quota refused all', async () => {
      const token = await http.addTenant('small', { max_queued_messages: 1 })
      await http.call('POST', '/account', { body: { id: 's', tenant_id: 'small', host: 'h', port: 25 } })
      expect((await add([mail('q1')], token)).status).toBe(200)
      expect(await add([mail('q2')], token)).toMatchObject({ status: 429, body: { ok: false, code: 'quota_exceeded' } })
    })

    it('a tenant key cannot submit for another tenant', async () => {
      const { status, body } = await add([mail('f1', { tenant_id: 'two' })])
      expect(status).toBe(400)
      expect(body.rejected).toMatchObject([{ id: 'f1', code: 'unauthorized' }])
      expect((await http.call('GET', '/messages/f1', { token: two })).status).toBe(404)
    })

    it('default_priority counts for messages without their own', async () => {
      const body = { messages: [mail('p1'), mail('p2', { priority: 3 })], default_priority: 'high' }
      await http.call('POST', '/commands/add-messages', { token: one, body })
      expect((await http.call('GET', '/messages/p1', { token: one })).body.priority).toBe(1)
      expect((await http.call('GET', '/messages/p2', { token: one })).body.priority).toBe(3)
      for (const wrong of ['"urgent"', '1e999', '{}']) {
        const text = `{"messages": [], "default_priority": ${wrong}}`
        expect(await http.call('POST', '/commands/add-messages', { token: one, body: text })).toMatchObject({
          status: 422,
          body: { error: 'default_priority: Input should be 0 to 3 or immediate, high, medium, low' },
        })
      }
    })

    it('strict refuses unknown fields', async () => {
      expect((await add([mail('st', { foo: 1 })], one, '?strict=true')).body.rejected).toMatchObject([
        { code: 'unknown_field', field: 'foo' },
      ])
    })

    it('unknown fields beside the messages warn as well, and strict refuses them', async () => {
      const asked = { token: one, body: { messages: [mail('top')], defaultPriority: 1 } }
      const warned = await http.call('POST', '/commands/add-messages', asked)
      expect(warned.body).toMatchObject({
        queued: 1,
        warnings: [
          { id: null, field: 'defaultPriority', hint: 'unknown field, ignored; did you mean "default_priority"?' },
        ],
      })
      const refused = await http.call('POST', '/commands/add-messages?strict=true', asked)
      expect([refused.status, refused.body.error]).toEqual([
        422,
        'defaultPriority: unknown field defaultPriority: did you mean "default_priority"?',
      ])
    })

    it('a wrong envelope is 422 as of old', async () => {
      const missing = await http.call('POST', '/commands/add-messages', { token: one, body: {} })
      expect(missing).toMatchObject({
        status: 422,
        body: { detail: [{ type: 'missing', loc: ['body', 'messages'], msg: 'Field required' }] },
      })
      expect((await add('text')).body.detail).toMatchObject([{ type: 'list_type', loc: ['body', 'messages'] }])
    })

    it('more than 10,000 are refused as a whole', async () => {
      const { status, body } = await add(Array.from({ length: 10_001 }, (_, i) => ({ id: `n${i}` })))
      expect(status).toBe(400)
      expect(body.detail).toEqual({ error: 'Cannot enqueue more than 10000 messages at once', rejected: null })
    })

    it('a body over 1 MB is taken as well', async () => {
      const { status, body } = await add(
        Array.from({ length: 700 }, (_, i) => mail(`big${i}`, { body: 'x'.repeat(2000), batch_code: 'big' })),
      )
      expect({ status, queued: body.queued }).toEqual({ status: 200, queued: 700 })
      const page = await http.call('GET', '/messages?batch_code=big&limit=1000', { token: one })
      expect(page.body.messages).toHaveLength(700)
    })

    it.each([
      ['as it is', (text: string) => text],
      ['with an escape in its key', (text: string) => text.replace('storage_path', 'storage\\u005fpath')],
      ['beside a field called storage_path', (text: string) => text.replace('"x"', `"${'QUJD'.repeat(20_000)}"`)],
    ])('a large content is stored apart from its message: %s', async (_, written) => {
      await http.temp.db.write([{ sql: 'delete from uploads', params: [] }])
      const attachments = [{ filename: 'a', storage_path: `base64:${'QUJD'.repeat(500_000)}` }]
      const body = written(JSON.stringify({ messages: [mail('apart', { attachments, storage_path: 'x' })] }))
      expect(await http.call('POST', '/commands/add-messages', { token: one, body })).toMatchObject({ status: 200 })
      const rows = await http.temp.db.read({ sql: 'select size, seq from uploads', params: [] })
      expect(rows).toMatchObject([{ size: 1_500_000, seq: expect.any(Number) }])
    })

    it('the command log tells count, ids and a digest, and no message', async () => {
      await add([mail('logged', { body: 'private words' })])
      const { body } = await http.call('GET', '/command-log?endpoint_filter=addMessages&limit=1')
      expect(body.commands[0]).toMatchObject({
        endpoint: 'addMessages',
        tenant_id: 'one',
        payload: { count: 1, ids: ['logged'] },
      })
      expect(JSON.stringify(body)).not.toContain('private words')
    })
  })

  describe('looking', () => {
    it('a list has pages, and its own tenant’s messages only', async () => {
      await add([
        mail('l1', { batch_code: 'list' }),
        mail('l2', { batch_code: 'list' }),
        mail('l3', { batch_code: 'list' }),
      ])
      await add([mail('l4', { batch_code: 'list' })], two)
      const first = await http.call('GET', '/messages?batch_code=list&limit=2', { token: one })
      expect(first.body).toMatchObject({ ok: true, messages: [{ id: 'l3' }, { id: 'l2' }] })
      const second = await http.call('GET', `/messages?batch_code=list&limit=2&cursor=${first.body.next_cursor}`, {
        token: one,
      })
      expect(second.body).toMatchObject({ messages: [{ id: 'l1' }], next_cursor: null })
      expect((await http.call('GET', '/messages?batch_code=list')).body.messages).toHaveLength(4)
      expect((await http.call('GET', '/messages?tenant_id=two&batch_code=list')).body.messages).toHaveLength(1)
      expect((await http.call('GET', '/messages?tenant_id=two', { token: one })).status).toBe(401)
    })

    it.each(['limit=0', 'limit=1001', 'status=lost', 'cursor=x', 'since=x', 'active_only=maybe'])(
      '?%s is 422',
      async query => {
        expect((await http.call('GET', `/messages?${query}`, { token: one })).status).toBe(422)
      },
    )

    it('a status that is none, or two, is told all there are', async () => {
      const all = "Input should be 'pending', 'deferred', 'sending', 'sent', 'error', 'cancelled' or 'in_doubt'"
      for (const query of ['status=lost', 'status=sent&status=error']) {
        const answer = await http.call('GET', `/messages?${query}`)
        expect([answer.status, answer.body.detail.length, answer.body.error]).toEqual([422, 1, `status: ${all}`])
      }
    })

    it('one message tells what it waits for', async () => {
      await add([mail('w1', { deferred_ts: Math.floor(http.clock.now() / 1000) + 60 })])
      expect((await http.call('GET', '/messages/w1', { token: one })).body).toMatchObject({
        ok: true,
        id: 'w1',
        status: 'deferred',
        waiting_for: 'schedule',
        next_attempt_ts: Math.floor(http.clock.now() / 1000) + 60,
        attempt_log: [],
        history: [],
        message: { from: 'a@x.it', to: ['b@y.it'] },
      })
    })

    it('ids may hold any printable character', async () => {
      const id = 'a/b ?%#é'
      await add([mail(id)])
      expect((await http.call('GET', `/messages/${encodeURIComponent(id)}`, { token: one })).body.id).toBe(id)
    })

    it('an unknown or foreign id is 404', async () => {
      expect((await http.call('GET', '/messages/nothing', { token: one })).body).toMatchObject({
        ok: false,
        error: "Message 'nothing' not found",
        code: 'not_found',
      })
      await add([mail('foreign')], two)
      expect((await http.call('GET', '/messages/foreign', { token: one })).status).toBe(404)
      expect((await http.call('GET', '/messages/foreign')).body.tenant_id).toBe('two')
    })

    it('figures are the caller’s own', async () => {
      const mine = (await http.call('GET', '/stats', { token: two })).body
      expect(mine.by_account.map((each: { tenant_id: string }) => each.tenant_id)).toEqual(['two'])
      expect((await http.call('GET', '/stats')).body.by_account.length).toBeGreaterThan(1)
    })

    it('report entries come again by cursor', async () => {
      await add([mail('r1'), mail('r2')], two)
      for (const id of ['r1', 'r2']) await http.call('POST', `/messages/${id}/cancel`, { token: two })
      const first = (await http.call('GET', '/reports?limit=1', { token: two })).body
      expect(first).toMatchObject({ ok: true, reports: [{ id: 'r1', code: 'cancelled' }] })
      const second = (await http.call('GET', `/reports?after=${first.next_cursor}`, { token: two })).body
      expect(second).toMatchObject({ reports: [{ id: 'r2' }], next_cursor: null })
      expect((await http.call('GET', `/reports?after=${second.cursor}`, { token: two })).body.reports).toEqual([])
    })
  })

  describe('operating', () => {
    const operate = (id: string, what: string, token = one) => http.call('POST', `/messages/${id}/${what}`, { token })

    it('a waiting message is cancelled, a cancelled one tried again', async () => {
      await add([mail('o1')])
      expect((await operate('o1', 'retry')).status).toBe(400)
      expect((await operate('o1', 'cancel')).body).toEqual({
        ok: true,
        id: 'o1',
        tenant_id: 'one',
        status: 'cancelled',
      })
      expect((await operate('o1', 'cancel')).body).toMatchObject({
        code: 'command_failed',
        error: 'only a waiting message can be cancelled',
      })
      expect((await operate('o1', 'retry')).body.status).toBe('pending')
    })

    it('one that was scheduled keeps its schedule when it is tried again', async () => {
      const deferred_ts = Math.floor(http.clock.now() / 1000) + 3600
      await add([mail('o2', { deferred_ts })])
      await operate('o2', 'cancel')
      expect((await operate('o2', 'retry')).body.status).toBe('deferred')
      const { body } = await http.call('GET', '/messages/o2', { token: one })
      expect(body).toMatchObject({ status: 'deferred', deferred_ts, waiting_for: 'schedule' })
    })

    it('one whose account is gone is refused at once, and the account is named', async () => {
      await http.call('POST', '/account', { token: one, body: { id: 'short-lived', host: 'h' } })
      await add([mail('o3', { account_id: 'short-lived' })])
      await http.call('DELETE', '/account/short-lived', { token: one })
      // One of the same name is another account.
      await http.call('POST', '/account', { token: one, body: { id: 'short-lived', host: 'h' } })
      const answer = await operate('o3', 'retry')
      expect([answer.status, answer.body.code, answer.body.error]).toEqual([
        400,
        'command_failed',
        "its account 'short-lived' was deleted: submit the message again through another one",
      ])
      expect((await http.call('GET', '/messages/o3', { token: one })).body.code).toBe('account_deleted')
      await http.call('DELETE', '/account/short-lived', { token: one })
    })

    it('a message in doubt is released or discarded', async () => {
      await add([mail('d1'), mail('d2')])
      expect((await operate('d1', 'release')).status).toBe(400)
      await set('d1', "stage = 4, status = 'in_doubt'")
      await set('d2', "stage = 4, status = 'in_doubt'")
      expect((await operate('d1', 'release')).body.status).toBe('pending')
      expect((await operate('d2', 'discard')).body.status).toBe('error')
    })

    it('a tenant cannot touch another’s message', async () => {
      await add([mail('t1')], two)
      for (const what of ['retry', 'cancel', 'release', 'discard']) expect((await operate('t1', what)).status).toBe(404)
      expect((await http.call('GET', '/messages/t1', { token: two })).body.status).toBe('pending')
      expect((await http.call('POST', '/messages/t1/cancel')).body.tenant_id).toBe('two')
    })
  })

  describe('delete and clean up', () => {
    const remove = (ids: unknown, token?: string) =>
      http.call('POST', '/commands/delete-messages', { ...(token ? { token } : {}), body: { ids } })

    it('tells what was removed, unknown and in flight', async () => {
      await add([mail('r-a'), mail('r-b')])
      await add([mail('r-c')], two)
      await set('r-b', "stage = 3, status = 'sending'")
      expect((await remove(['r-a', 'r-b', 'r-c', 'r-z'], one)).body).toEqual({
        ok: true,
        removed: 1,
        not_found: ['r-c', 'r-z'],
        unauthorized: [],
        in_progress: ['r-b'],
      })
      expect((await http.call('GET', '/messages/r-c', { token: two })).status).toBe(200)
    })

    it('an admin without tenant removes the one owner’s message and never several', async () => {
      await add([mail('both'), mail('mine')], one)
      await add([mail('both')], two)
      expect((await remove(['both', 'mine'])).body).toMatchObject({ removed: 1, not_found: ['both'] })
    })

    it('clean-up removes what was reported long enough ago', async () => {
      await add([mail('c-old'), mail('c-new')], two)
      await set('c-old', `stage = 0, status = 'sent', reported_at = ${http.clock.now() - 8 * 86_400_000}`)
      await set('c-new', `stage = 0, status = 'sent', reported_at = ${http.clock.now() - 1000}`)
      const clean = (token: string, body: object = {}) =>
        http.call('POST', '/commands/cleanup-messages', { token, body })
      expect((await clean(one)).body).toEqual({ ok: true, removed: 0 })
      expect((await clean(two)).body).toEqual({ ok: true, removed: 1 })
      expect((await clean(two, { older_than_seconds: -5 })).body).toEqual({ ok: true, removed: 1 })
    })
  })

  describe('suspend, activate, run now', () => {
    const command = (name: string, query: string, token?: string, body: object = {}) =>
      http.call('POST', `/commands/${name}${query}`, { ...(token ? { token } : {}), body })

    it('batches add up, whatever characters they hold, and activate ends them', async () => {
      const token = await http.addTenant('susp')
      await http.call('POST', '/account', { body: { id: 's', tenant_id: 'susp', host: 'h', port: 25 } })
      await add([mail('b1', { batch_code: 'a,b' }), mail('b2')], token)
      http.hints.length = 0
      expect((await command('suspend', '?batch_code=a,b', token)).body).toEqual({
        ok: true,
        active: false,
        tenant_id: 'susp',
        batch_code: 'a,b',
        suspended_batches: ['a,b'],
        pending_messages: 1,
      })
      expect(http.hints).toContain('settings')
      expect((await command('suspend', '', token, { batch_code: 'b"\\é' })).body.suspended_batches).toEqual([
        'a,b',
        'b"\\é',
      ])
      expect((await http.call('GET', '/messages/b1', { token })).body.waiting_for).toBe('suspension')
      expect((await http.call('GET', '/messages/b2', { token })).body.waiting_for).toBe('queue')
      expect((await command('activate', '?batch_code=a,b', token)).body).toMatchObject({
        active: true,
        suspended_batches: ['b"\\é'],
      })
      expect((await command('suspend', '', token)).body).toMatchObject({
        active: false,
        suspended_batches: ['*'],
        pending_messages: 2,
      })
      expect(await command('activate', '?batch_code=x', token)).toMatchObject({
        status: 400,
        body: { detail: 'tenant not found or cannot activate single batch from full suspension' },
      })
      expect((await command('activate', '', token)).body).toMatchObject({
        active: true,
        suspended_batches: [],
        pending_messages: 2,
      })
    })

    it('an empty batch code changes nothing', async () => {
      expect((await command('suspend', '?batch_code=', two)).body).toMatchObject({ ok: true, suspended_batches: [] })
    })

    it('two suspensions at the same instant both hold', async () => {
      await Promise.all(['x', 'y', 'z'].map(code => command('suspend', `?batch_code=${code}`, two)))
      expect((await command('suspend', '?batch_code=', two)).body.suspended_batches).toEqual(['x', 'y', 'z'])
      await command('activate', '', two)
    })

    it('an unknown tenant is 400 in the words of old, a foreign one 401', async () => {
      expect(await command('suspend', '?tenant_id=nobody')).toMatchObject({
        status: 400,
        body: { detail: 'tenant not found' },
      })
      expect((await command('suspend', '?tenant_id=two', one)).status).toBe(401)
      expect((await command('activate', '?tenant_id=two', one)).status).toBe(401)
      expect(await command('suspend', '?tenant_id=')).toMatchObject({
        status: 400,
        body: { detail: 'tenant_id is required' },
      })
      expect(await command('suspend', '?batch_code=b')).toMatchObject({
        status: 400,
        body: { detail: 'tenant_id is required' },
      })
    })

    it('an admin without tenant switches the whole scheduler', async () => {
      expect((await command('suspend', '')).body).toMatchObject({ ok: true, active: false, suspended_batches: ['*'] })
      expect(
        await http.temp.db.read({ sql: "select value from meta where key = 'scheduler_active'", params: [] }),
      ).toEqual([expect.objectContaining({ value: '0' })])
      expect((await command('activate', '', two)).body.active).toBe(false)
      expect((await command('activate', '')).body).toMatchObject({ active: true, suspended_batches: [] })
    })

    it('run-now wakes and ends the tenant’s do-not-disturb', async () => {
      await http.temp.db.write([
        { sql: "insert into sync_state (tenant_id, quiet_until) values ('one', 9), ('two', 9)", params: [] },
      ])
      http.hints.length = 0
      expect(await http.call('POST', '/commands/run-now', { token: one })).toMatchObject({
        status: 200,
        body: { ok: true },
      })
      expect(http.hints).toContain('runNow')
      const quiet = await http.temp.db.read({
        sql: 'select tenant_id, quiet_until from sync_state order by tenant_id',
        params: [],
      })
      expect(quiet.map(row => row.quiet_until)).toEqual([null, 9])
    })
  })

  it('nothing of all this was an internal error', () => {
    expect(http.errors).toEqual([])
  })

  it('the routes are documented', async () => {
    const { body } = await http.call('GET', '/openapi.json', { token: null })
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining([
        '/commands/add-messages',
        '/messages',
        '/messages/{id}',
        '/messages/{id}/release',
        '/stats',
        '/reports',
      ]),
    )
  })
})
