import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  claimProbes,
  endTrial,
  listPaused,
  noteFailedProbe,
  pauseByFailure,
  resumeAfterProbe,
} from '../../src/accounts/pause.js'
import { deleteAccount, getAccount, loadAccounts, loadAllAccounts, saveAccount } from '../../src/accounts/store.js'
import { failAccountQueue, orphanedAccountKeys } from '../../src/queue/account-deleted.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { addMessages } from '../support/queue-rows.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('accounts on %s', dialect => {
  let http: HttpApp
  let acme: string
  beforeAll(async () => {
    http = await openHttpApp(dialect)
    acme = await http.addTenant('acme')
    await http.addTenant('other')
  })
  afterAll(() => http.close())
  const add = (body: object, token?: string) => http.call('POST', '/account', { body, token })
  const stored = async (tenant: string, id: string) => (await getAccount(http.temp.db, http.sealer, tenant, id))!

  it('a new account has the defaults, and its password never comes back', async () => {
    const answer = await add({
      id: 'main',
      tenant_id: 'acme',
      host: 'smtp.test',
      user: 'u',
      password: 'hunter2',
      limit_per_hour: '0',
    })
    expect([answer.status, answer.body]).toEqual([200, { ok: true }])
    const { body } = await http.call('GET', '/account/main?tenant_id=acme')
    expect(body).toEqual({
      ok: true,
      id: 'main',
      tenant_id: 'acme',
      host: 'smtp.test',
      port: 587,
      user: 'u',
      auth_method: 'password',
      tls_verify: true,
      limit_behavior: 'defer',
      ttl: 300,
      max_connections: 10,
      max_messages_per_connection: 100,
      max_recipients_per_transaction: 100,
      is_default: false,
      in_doubt: 'retry',
      on_pause_timeout: 'error',
      is_pec_account: false,
      imap_port: 993,
      paused: false,
      created_at: expect.any(String),
      updated_at: expect.any(String),
    })
    expect((await stored('acme', 'main')).password).toBe('hunter2')
    const [row] = await http.temp.db.read({ sql: "select password from accounts where id = 'main'", params: [] })
    expect(row!.password).toMatch(/^ENC:/)
    expect(JSON.stringify((await http.call('GET', '/command-log')).body)).not.toContain('hunter2')
  })

  it('naming it again changes only the fields given; null sets back', async () => {
    await add({ id: 'main', tenant_id: 'acme', port: '2525', limit_per_minute: 5, use_tls: 'yes', ttl: 60 })
    expect(await stored('acme', 'main')).toMatchObject({
      host: 'smtp.test',
      password: 'hunter2',
      port: 2525,
      limitPerMinute: 5,
      useTls: true,
      ttlSeconds: 60,
    })
    await add({ id: 'main', port: null, limit_per_minute: null, use_tls: null, ttl: null, password: null }, acme)
    expect(await stored('acme', 'main')).toMatchObject({
      port: 587,
      limitPerMinute: null,
      useTls: null,
      ttlSeconds: 300,
      password: null,
    })
  })

  it('reject is an alias of error', async () => {
    await add({ id: 'main', limit_behavior: 'reject' }, acme)
    expect((await stored('acme', 'main')).limitBehavior).toBe('error')
  })

  it('a new account needs a host', async () => {
    const answer = await add({ id: 'hostless' }, acme)
    expect([answer.status, answer.body.detail]).toEqual([
      422,
      [{ type: 'missing', loc: ['body', 'host'], msg: 'Field required' }],
    ])
  })

  it('a tenant that does not exist is 404', async () => {
    const answer = await add({ id: 'x', tenant_id: 'nowhere', host: 'h' })
    expect([answer.status, answer.body.detail]).toEqual([404, "Tenant 'nowhere' not found"])
  })

  it.each([
    { id: 'a/b' },
    { id: 'a', host: 'has space' },
    { id: 'a', host: '' },
    { id: 'a', host: 'x@y' },
    { id: 'a', host: 'h', port: 0 },
    { id: 'a', host: 'h', port: 70_000 },
    { id: 'a', host: 'h', password: 'a\r\nb' },
    { id: 'a', host: 'h', limit_per_day: -1 },
    { id: 'a', host: 'h', limit_behavior: 'explode' },
    { id: 'a', host: 'h', in_doubt: 'maybe' },
  ])('%j is refused', async body => {
    const answer = await add(body, acme)
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed'])
    expect(JSON.stringify(answer.body)).not.toContain('a\\r\\nb')
  })

  it('a host set by the admin is trusted until the tenant moves the endpoint', async () => {
    const trusted = async () => (await stored('acme', 'trust')).hostTrusted
    await add({ id: 'trust', tenant_id: 'acme', host: '10.0.0.5', port: 25 })
    expect(await trusted()).toBe(true)
    await add({ id: 'trust', host: '10.0.0.5', port: 25, user: 'x' }, acme)
    expect(await trusted()).toBe(true)
    await add({ id: 'trust', port: 6379 }, acme)
    expect(await trusted()).toBe(false)
    await add({ id: 'trust', tenant_id: 'acme', user: 'y' })
    expect(await trusted()).toBe(false)
    await add({ id: 'trust', tenant_id: 'acme', host: '10.0.0.5' })
    expect(await trusted()).toBe(true)
    await add({ id: 'theirs', host: '10.0.0.5' }, acme)
    expect((await stored('acme', 'theirs')).hostTrusted).toBe(false)
  })

  describe('a tenant who moves an account', () => {
    let mover: string
    beforeAll(async () => {
      mover = await http.addTenant('mover')
    })
    const given = {
      host: 'smtp.test',
      port: 587,
      user: 'u',
      password: 'set-by-the-admin',
      imap_host: 'imap.test',
      imap_port: 993,
      imap_password: 'imap-of-the-admin',
    }

    it.each([
      [{ host: 'evil.test' }, 'password', 'host changes'],
      [{ host: 'evil.test', password: '***' }, 'password', 'host changes'],
      [{ port: 2525 }, 'password', 'port changes'],
      [{ use_tls: false }, 'password', 'use_tls is made weaker'],
      [{ tls_verify: false }, 'password', 'tls_verify is turned off'],
      [{ imap_host: 'evil.test' }, 'imap_password', 'imap_host changes'],
      [{ imap_host: 'evil.test', imap_password: '***' }, 'imap_password', 'imap_host changes'],
      [{ imap_port: 143 }, 'imap_password', 'imap_port changes'],
      [{ imap_ssl: false }, 'imap_password', 'imap_ssl is turned off'],
    ])('by %j has to give the %s again', async (change, field, why) => {
      await add({ id: 'moved', tenant_id: 'mover', ...given })
      const before = await stored('mover', 'moved')
      const answer = await add({ id: 'moved', ...change }, mover)
      expect([answer.status, answer.body.error]).toEqual([
        422,
        `${field}: the password must be given again when ${why}`,
      ])
      expect(await stored('mover', 'moved')).toEqual(before)
    })

    it('may with the password, and may do all that sends it nowhere else', async () => {
      await add({ id: 'moves', tenant_id: 'mover', ...given })
      expect((await add({ id: 'moves', ...given, limit_per_hour: 5 }, mover)).status).toBe(200)
      expect((await add({ ...given, id: 'moves', password: '***', imap_password: '***' }, mover)).status).toBe(200)
      expect((await add({ id: 'moves', use_tls: true, imap_host: null }, mover)).status).toBe(200)
      // Back to an address is as far as away from it.
      expect((await add({ id: 'moves', imap_host: 'imap.test' }, mover)).status).toBe(422)
      expect((await add({ id: 'moves', host: 'new.test', password: 'mine' }, mover)).status).toBe(200)
      expect((await add({ id: 'moves', host: 'third.test', password: null }, mover)).status).toBe(200)
      expect((await add({ id: 'moves', host: 'fourth.test' }, mover)).status).toBe(200)
    })

    it('implicit TLS is not weakened by leaving use_tls to the port', async () => {
      await add({ id: 'implicit', tenant_id: 'mover', host: 'smtp.test', port: 465, use_tls: true, password: 'p' })
      expect((await add({ id: 'implicit', use_tls: null }, mover)).status).toBe(200)
      expect((await add({ id: 'implicit', use_tls: false }, mover)).status).toBe(422)
    })

    it('the admin is free to', async () => {
      await add({ id: 'free', tenant_id: 'mover', ...given })
      expect((await add({ id: 'free', tenant_id: 'mover', host: 'new.test', tls_verify: false })).status).toBe(200)
      expect(await stored('mover', 'free')).toMatchObject({ host: 'new.test', password: 'set-by-the-admin' })
    })
  })

  it('a tenant has one default account', async () => {
    await add({ id: 'd1', host: 'h', is_default: true }, acme)
    await add({ id: 'd2', host: 'h', is_default: true }, acme)
    await add({ id: 'd1', tenant_id: 'other', host: 'h', is_default: true })
    const { body } = await http.call('GET', '/accounts')
    const defaults = body.accounts.filter((each: { is_default: boolean }) => each.is_default)
    expect(defaults.map((each: { tenant_id: string; id: string }) => `${each.tenant_id}/${each.id}`)).toEqual([
      'acme/d2',
      'other/d1',
    ])
  })

  it('lists are by tenant and id, and a tenant sees its own', async () => {
    const ids = async (token?: string, query = '') =>
      (await http.call('GET', `/accounts${query}`, { token })).body.accounts.map((each: { id: string }) => each.id)
    expect(await ids(acme)).toEqual(['d1', 'd2', 'main', 'theirs', 'trust'])
    expect(await ids(undefined, '?tenant_id=other')).toEqual(['d1'])
    expect(await ids(undefined, '?tenant_id=nowhere')).toEqual([])
  })

  it('an admin who names no tenant means the only owner of the id, else default', async () => {
    expect((await http.call('GET', '/account/main')).body.tenant_id).toBe('acme')
    expect((await http.call('GET', '/account/d1')).status).toBe(404)
    await add({ id: 'd1', host: 'default.test' })
    expect((await http.call('GET', '/account/d1')).body).toMatchObject({ tenant_id: 'default', host: 'default.test' })
    expect((await stored('acme', 'd1')).host).toBe('h')
  })

  it('an unknown account is 404, deleting it 400 as before', async () => {
    const answer = await http.call('GET', '/account/no', { token: acme })
    expect([answer.status, answer.body.detail]).toEqual([404, "Account 'no' not found"])
    const gone = await http.call('DELETE', '/account/no?tenant_id=acme')
    expect([gone.status, gone.body.detail]).toEqual([400, 'account not found or not owned by tenant'])
  })

  it('of several who create the same account at once one creates it and all are kept', async () => {
    const options = { now: http.clock.now(), trusted: true }
    const id = { tenantId: 'other', id: 'race' }
    const patches = [{ host: 'h' }, { host: 'h', user: 'u' }, { host: 'h', limitPerDay: 3 }]
    const saved = await Promise.all(patches.map(patch => saveAccount(http.temp.db, http.sealer, id, patch, options)))
    expect(saved.map(each => each.kind).sort()).toEqual(['changed', 'changed', 'created'])
    expect(await stored('other', 'race')).toMatchObject({ user: 'u', limitPerDay: 3 })
  })

  it('an account whose password cannot be opened holds up nobody else', async () => {
    await add({ id: 'broken', tenant_id: 'other', host: 'h', password: 'x' })
    const broken = (await stored('other', 'broken')).key
    const healthy = (await stored('other', 'race')).key
    await http.temp.db.write([
      { sql: "update accounts set password = 'ENC:00000000:AAAA' where key = $1", params: [broken] },
    ])
    const unreadable: number[] = []
    const loaded = await loadAccounts(http.temp.db, http.sealer, [broken, healthy, 999_999], key =>
      unreadable.push(key),
    )
    expect([loaded.map(each => each.key), unreadable]).toEqual([[healthy], [broken]])
    await deleteAccount(http.temp.db, 'other', 'broken')
    expect((await loadAllAccounts(http.temp.db, http.sealer)).length).toBeGreaterThan(5)
  })

  describe('pauses', () => {
    it('an operator pauses and resumes, and the reason is shown', async () => {
      http.hints.length = 0
      expect(
        (await http.call('POST', '/account/main/pause', { token: acme, body: { reason: 'moving house' } })).body,
      ).toEqual({ ok: true })
      const now = Math.floor(http.clock.now() / 1000)
      const shown = (await http.call('GET', '/account/main', { token: acme })).body
      expect([shown.paused, shown.pause]).toEqual([
        true,
        { kind: 'manual', since_ts: now, reason: 'moving house', probes: 0 },
      ])
      expect((await http.call('GET', '/status', { token: acme })).body.paused_accounts).toMatchObject([
        { tenant_id: 'acme', id: 'main', reason: 'moving house' },
      ])
      expect((await http.call('POST', '/account/main/resume', { token: acme })).body).toEqual({ ok: true })
      expect((await http.call('GET', '/account/main', { token: acme })).body.paused).toBe(false)
      expect(http.hints).toContain('settings')
    })

    it('a failure pauses once, is probed by one, and a good probe ends it', async () => {
      const { db } = http.temp
      const { key } = await stored('acme', 'main')
      const failure = { key, now: 1000, reason: '535 5.7.8 no', code: '535', probeAt: 6000 }
      const paused = await Promise.all([pauseByFailure(db, failure), pauseByFailure(db, failure)])
      expect(paused.sort()).toEqual([false, true])
      expect(await claimProbes(db, { now: 5999, again: 36_000, limit: 10 })).toEqual([])
      const claims = await Promise.all([1, 2].map(() => claimProbes(db, { now: 6000, again: 36_000, limit: 10 })))
      expect(claims.flat()).toEqual([key])
      await noteFailedProbe(db, { ...failure, reason: '535 still no', probeAt: 16_000 })
      expect(await listPaused(db, 'acme', 10)).toEqual([
        {
          key,
          tenantId: 'acme',
          id: 'main',
          kind: 'failure',
          since: 1000,
          reason: '535 still no',
          code: '535',
          probeAt: 16_000,
          probes: 1,
        },
      ])
      expect([await resumeAfterProbe(db, key, 20_000), await resumeAfterProbe(db, key, 20_000)]).toEqual([true, false])
      expect((await stored('acme', 'main')).pause).toBeNull()
      await endTrial(db, key)
    })

    it('one that fails again after a probe goes on where it was, until a transaction goes well', async () => {
      const { db } = http.temp
      const { key } = await stored('acme', 'main')
      const failure = { key, reason: '530 no', code: '530', probeAt: 6000 }
      const since = async () => (await listPaused(db, 'acme', 10)).map(each => [each.since, each.probes])
      await pauseByFailure(db, { ...failure, now: 1000 })
      await resumeAfterProbe(db, key, 6000)
      expect((await stored('acme', 'main')).trial).toEqual({ since: 1000, probes: 0, resumedAt: 6000 })
      await pauseByFailure(db, { ...failure, now: 7000 })
      expect(await since()).toEqual([[1000, 1]])

      await resumeAfterProbe(db, key, 9000)
      expect([await endTrial(db, key), await endTrial(db, key)]).toEqual([true, false])
      await pauseByFailure(db, { ...failure, now: 10_000 })
      expect(await since()).toEqual([[10_000, 0]])

      // A success of long ago is no trial any more.
      await resumeAfterProbe(db, key, 20_000)
      await pauseByFailure(db, { ...failure, now: 20_000 + 3_600_000 })
      expect(await since()).toEqual([[3_620_000, 0]])
      await resumeAfterProbe(db, key, 4_000_000)
      await endTrial(db, key)
    })

    it('an operator has the last word over what delivery finds', async () => {
      const { db } = http.temp
      const { key } = await stored('acme', 'main')
      await http.call('POST', '/account/main/pause', { token: acme })
      expect(await pauseByFailure(db, { key, now: 1, reason: 'x', code: null, probeAt: 2 })).toBe(false)
      expect(await resumeAfterProbe(db, key, 20_000)).toBe(false)
      await http.call('POST', '/account/main/resume', { token: acme })
    })

    it('new settings of a failing account are probed at once', async () => {
      const { db } = http.temp
      const { key } = await stored('acme', 'main')
      await pauseByFailure(db, { key, now: 1, reason: 'x', code: null, probeAt: http.clock.now() + 300_000 })
      await add({ id: 'main', password: 'better' }, acme)
      expect(await claimProbes(db, { now: http.clock.now(), again: http.clock.now() + 30_000, limit: 10 })).toEqual([
        key,
      ])
      await resumeAfterProbe(db, key, 20_000)
    })
  })

  it('test tells the conversation', async () => {
    http.probe = async account => ({
      ok: false,
      conversation: [`connect ${account.host}`, '535 no'],
      error: `${account.password?.length} characters refused`,
    })
    const answer = await http.call('POST', '/account/main/test', { token: acme })
    expect([answer.status, answer.body]).toEqual([
      200,
      { ok: false, conversation: ['connect smtp.test', '535 no'], error: '6 characters refused' },
    ])
  })

  describe('deleting', () => {
    it('turns what waits into reported errors, leaves what is in flight and other tenants alone', async () => {
      const { db } = http.temp
      for (const tenant_id of ['acme', 'other']) await add({ id: 'del', tenant_id, host: 'h' })
      await addMessages(db, { tenantId: 'acme', accountId: 'del', count: 700 })
      await addMessages(db, {
        tenantId: 'acme',
        accountId: 'del',
        count: 1,
        prefix: 'doubt',
        status: 'in_doubt',
        stage: 4,
      })
      await addMessages(db, {
        tenantId: 'acme',
        accountId: 'del',
        count: 1,
        prefix: 'flight',
        status: 'sending',
        stage: 3,
      })
      await addMessages(db, { tenantId: 'acme', accountId: 'del', count: 1, prefix: 'some', stage: 2, accepted: 1 })
      await addMessages(db, { tenantId: 'other', accountId: 'del', count: 2 })
      http.hints.length = 0
      expect((await http.call('DELETE', '/account/del', { token: acme })).body).toEqual({ ok: true })
      expect(http.hints).toEqual(['settings', 'reports'])
      const counts = await db.read({
        sql: 'select tenant_id, status, code, count(*) as n from messages group by tenant_id, status, code order by tenant_id, status',
        params: [],
      })
      expect(counts.map(row => [row.tenant_id, row.status, row.code, Number(row.n)])).toEqual([
        ['acme', 'error', 'account_deleted', 701],
        ['acme', 'sending', null, 1],
        ['acme', 'sent', null, 1],
        ['other', 'pending', null, 2],
      ])
      const [event] = await db.read({
        sql: "select entry from events where type = 'error' and pending = 1 and tenant_id = 'acme' limit 1",
        params: [],
      })
      expect(JSON.parse(event!.entry as string)).toMatchObject({
        code: 'account_deleted',
        tenant_id: 'acme',
        account_id: 'del',
        priority: 2,
        attempts: 0,
      })
    })

    it('what a crash left behind is found as an orphan', async () => {
      const { db } = http.temp
      await add({ id: 'crash', tenant_id: 'other', host: 'h' })
      await addMessages(db, { tenantId: 'other', accountId: 'crash', count: 1, prefix: 'left' })
      const key = (await deleteAccount(db, 'other', 'crash'))!
      expect(await orphanedAccountKeys(db)).toEqual([key])
      expect(await failAccountQueue(db, key, 5)).toEqual({ ended: 1, tenantIds: ['other'] })
      expect(await orphanedAccountKeys(db)).toEqual([])
    })
  })

  it('/status counts what is open, each tenant its own', async () => {
    const pending = async (token?: string, query = '') =>
      (await http.call('GET', `/status${query}`, { token })).body.pending_messages
    const before = await pending()
    await add({ id: 'count', tenant_id: 'other', host: 'h' })
    await addMessages(http.temp.db, { tenantId: 'other', accountId: 'count', count: 3, prefix: 'c' })
    await addMessages(http.temp.db, {
      tenantId: 'other',
      accountId: 'count',
      count: 1,
      prefix: 'ended',
      stage: 0,
      status: 'sent',
    })
    await http.clock.advance(1000)
    expect([await pending(), await pending(undefined, '?tenant_id=other'), await pending(acme)]).toEqual([
      before + 3,
      5,
      0,
    ])
  })
})
