/**
 * Accounts with auth_method oauth2: a token endpoint that judges the grant, an SMTP server that judges the token, a
 * service between them.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { createMovingClock } from '../support/moving-clock.js'
import { type OAuthServer, oauthAccount, startOAuthServer } from '../support/oauth-server.js'
import { idsOf, opened, openScene, type Scene, type SceneOptions, wireText } from '../support/scene.js'
import type { SmtpSink } from '../support/smtp-sink.js'
import { expectBalanced, many, untilReported } from '../support/story.js'

/** The pause does not outlast the retry schedule while the test looks at it. */
const PATIENT = { GMP_RETRY_DELAYS: '20' }
const HOUR = 3_600_000
const RECORD = '/account/main?tenant_id=default'

async function openStory(options: SceneOptions & { oauth2?: Record<string, unknown> } = {}) {
  const oauth = await opened(startOAuthServer(options.overrides?.clock), each => each.close())
  const scene = await openScene({
    env: PATIENT,
    // One connection a message: each logs in.
    account: { ...oauthAccount(oauth, options.oauth2), max_messages_per_connection: 1, max_connections: 1 },
    ...options,
    sink: {
      auth: ['PLAIN', 'XOAUTH2'],
      isTokenGood: (token, user) => user === 'shop@mail.test' && oauth.isGood(token),
    },
  })
  return { oauth, ...scene, scene }
}

async function untilSent({ service, sink }: Pick<Scene, 'service' | 'sink'>, ...ids: string[]) {
  await service.send(...ids.map(id => ({ id })))
  await service.until(`sent ${ids}`, () => ids.every(id => idsOf(sink.messages).includes(id)))
}

/** Each is asked why, and told with an empty line. */
function refusedLogins(sink: SmtpSink): number {
  return sink.commands.filter(({ line }) => line === '').length
}

async function probe({ service }: Pick<Scene, 'service'>) {
  return (await service.call('POST', `/account/main/test?tenant_id=default`)).body
}

/** No secret stands in the clear anywhere but where it was sent to. */
async function expectNothingLeaked(oauth: OAuthServer, scene: Scene, ...texts: unknown[]) {
  const { service, sink, client } = scene
  const database =
    service.databaseUrl.startsWith('postgres') === false
      ? ['', '-wal'].map(end => readFileSync(`${service.databaseUrl}${end}`, 'latin1')).join('')
      : JSON.stringify(
          await Promise.all(
            ['accounts', 'access_tokens', 'command_log', 'events', 'messages'].map(table =>
              service.service.db!.read({ sql: `select * from ${table}`, params: [] }),
            ),
          ),
        )
  const told = JSON.stringify([service.logs, client.acknowledged, ...texts])
  // The premise: what is stored and told is looked at.
  expect([database.includes('shop@mail.test'), service.logs.length > 0]).toEqual([true, true])
  expect(oauth.secrets().length).toBeGreaterThan(2)
  for (const secret of oauth.secrets()) {
    const base64 = Buffer.from(secret).toString('base64').replace(/=+$/, '')
    expect([secret, database.includes(secret), told.includes(secret), told.includes(base64)]).toEqual([
      secret,
      false,
      false,
      false,
    ])
  }
  expect(wireText(sink)).not.toContain('the-client-secret')
}

describe.each(['sqlite', 'postgres'] as const)('oauth2 on %s', dialect => {
  it('sends with a token that is kept for many logins and over a restart, and shows no secret to anybody', async () => {
    const { oauth, service, sink, client, scene } = await openStory({ dialect })
    await service.send(...many(5, 'm'))
    await expectBalanced(service, client, ['m1', 'm2', 'm3', 'm4', 'm5'])
    expect(sink.messages.map(({ authUser }) => authUser)).toEqual(Array(5).fill('shop@mail.test'))
    expect([sink.countOf('AUTH XOAUTH2'), oauth.given.length]).toEqual([5, 1])
    expect(Object.fromEntries(oauth.asked[0]!)).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'refresh-from-the-consent',
      client_id: 'app',
      client_secret: 'the-client-secret',
    })
    const tested = await probe(scene)
    expect(tested).toMatchObject({ ok: true })
    expect(tested.conversation[0]).toMatch(/^OAuth: the access token kept from before, for 3\d{3} s more$/)
    expect(tested.conversation).toContain('C: AUTH XOAUTH2 ***')

    await scene.restart()
    await untilSent(scene, 'after')
    expect([sink.countOf('AUTH XOAUTH2'), oauth.asked.length]).toEqual([7, 1])
    const { body: record } = await scene.service.call('GET', RECORD)
    expect(record.oauth2).toMatchObject({ client_secret: '***', refresh_token: '***' })
    await scene.service.call('GET', '/command-log')
    await expectNothingLeaked(oauth, scene, tested, record)
  })

  it('renews a token that nears its end while the old one is used, and one past it before the login', async () => {
    const clock = createMovingClock()
    const { oauth, service, sink, scene } = await openStory({ dialect, overrides: { clock } })
    await untilSent(scene, 'first')
    await clock.move(3_200_000)
    await untilSent(scene, 'early')
    expect(oauth.given).toHaveLength(1)
    // Within five minutes of the end: this login still uses it.
    await clock.move(150_000)
    await untilSent(scene, 'ahead')
    await service.until('the renewal', () => oauth.given.length === 2)
    await service.until('it is kept', async () => (await probe(scene)).conversation[0].includes('for 35'))
    await untilSent(scene, 'renewed')
    const tokens = () => sink.commands.flatMap(({ line }) => /^AUTH XOAUTH2 (\S+)/.exec(line)?.[1] ?? []).map(decoded)
    expect(tokens().slice(0, 3)).toEqual(Array(3).fill(`user=shop@mail.test\x01auth=Bearer ${oauth.given[0]}\x01\x01`))
    expect(tokens().at(-1)).toContain(oauth.given[1])

    await clock.move(7_200_000)
    await untilSent(scene, 'past')
    expect(oauth.given).toHaveLength(3)
    expect(tokens().at(-1)).toContain(oauth.given[2])
    expect(sink.countOf('AUTH')).toBe(tokens().length)
    expect(service.logs.filter(line => /paused|renewed ahead/.test(line))).toEqual([])
  })

  it('a clock that is set ahead costs one new token; set back, none is used past the life its provider gave', async () => {
    const clock = createMovingClock()
    const { oauth, service, sink, scene } = await openStory({ dialect, overrides: { clock } })
    await untilSent(scene, 'before')
    clock.jump(HOUR)
    await untilSent(scene, 'ahead', 'once')
    expect(oauth.given).toHaveLength(2)
    // By the wall clock alone it would be good for two hours now.
    clock.jump(-HOUR)
    await untilSent(scene, 'back')
    expect(oauth.given).toHaveLength(2)
    await clock.move(HOUR)
    await untilSent(scene, 'past', 'again')
    expect(oauth.given).toHaveLength(3)
    expect(refusedLogins(sink)).toBe(0)
    expect(service.logs.filter(line => /paused|renewed ahead/.test(line))).toEqual([])
  })

  it('a process that starts after the clock was set back asks anew, and a token it takes for good costs one refused login', async () => {
    const clock = createMovingClock()
    const { oauth, sink, client, scene } = await openStory({ dialect, overrides: { clock } })
    clock.jump(HOUR)
    await untilSent(scene, 'before')
    await untilReported(scene.service)
    clock.jump(-HOUR)
    await clock.move(1_800_000)
    await scene.restart()
    await untilSent(scene, 'dated ahead')
    await untilReported(scene.service)
    expect([refusedLogins(sink), oauth.given.length]).toEqual([0, 2])

    // Nothing tells this process that an hour went by and the clock was set back by half of it.
    await clock.move(HOUR)
    clock.jump(-1_800_000)
    await scene.restart()
    await scene.service.send({ id: 'dead token' })
    await expectBalanced(scene.service, client, ['before', 'dated ahead', 'dead token'])
    expect([refusedLogins(sink), oauth.given.length]).toEqual([1, 3])
    expect(await scene.service.message('dead token')).toMatchObject({ status: 'sent', attempts: 1 })
    expect(scene.service.logs.filter(line => line.includes('paused'))).toEqual([])
  })

  it('a token that is revoked before its end leads to one new one, and mail goes on', async () => {
    const { oauth, service, sink, client, scene } = await openStory({ dialect })
    await untilSent(scene, 'before')
    oauth.revokeAll()
    await service.send(...many(3, 'm'))
    await expectBalanced(service, client, ['before', 'm1', 'm2', 'm3'])
    expect(oauth.given).toHaveLength(2)
    expect(refusedLogins(sink)).toBe(1)
    expect((await service.message('m1')).attempts).toBe(1)
    expect(service.logs.filter(line => line.startsWith('ERROR'))).toEqual([])
  })

  it('an expired grant pauses the account in the words of the provider, and the repaired one resumes it', async () => {
    const { oauth, service, sink, client, scene } = await openStory({ dialect })
    oauth.refreshTokens.clear()
    await service.send(...many(3, 'm'))
    await service.until('all told', () => client.deferrals().length === 3)
    const reason = `Token endpoint ${oauth.tokenUrl} answered 400: invalid_grant: Token has been expired or revoked: ***`
    const { body: record } = await service.call('GET', RECORD)
    expect(record).toMatchObject({ paused: true, pause: { kind: 'failure', reason } })
    const { body: status } = await service.call('GET', '/status')
    expect(status.paused_accounts).toMatchObject([{ id: 'main', reason }])
    expect(await service.message('m2')).toMatchObject({
      status: 'deferred',
      attempts: 0,
      waiting_for: 'paused_account',
    })
    const tested = await probe(scene)
    expect(tested).toEqual({ ok: false, error: reason, conversation: [`OAuth: ${reason}`] })
    expect(sink.connections).toBe(0)
    expect(service.logs.filter(line => line.startsWith('ERROR'))).toEqual([
      `ERROR Account main of tenant default is paused: ${reason}`,
    ])

    oauth.refreshTokens.add('refresh-of-another-consent')
    const repaired = { id: 'main', tenant_id: 'default', oauth2: { refresh_token: 'refresh-of-another-consent' } }
    expect((await service.call('POST', '/account', repaired)).status).toBe(200)
    await expectBalanced(service, client, ['m1', 'm2', 'm3'])
    expect((await service.call('GET', RECORD)).body.paused).toBe(false)
    await expectNothingLeaked(oauth, scene, record, status, tested)
  })

  it('a token endpoint that is away pauses the account, and it resumes by itself', async () => {
    const { oauth, service, client } = await openStory({ dialect })
    oauth.failing = { status: 503, body: 'try later' }
    await service.send(...many(2, 'm'))
    await service.until('told', () => client.deferrals().length === 2)
    expect((await service.message('m1')).waiting_detail).toContain(`Token endpoint ${oauth.tokenUrl} answered 503`)
    oauth.failing = { close: true }
    await service.until('newer words', async () => {
      const { body } = await service.call('GET', RECORD)
      return body.pause?.reason.endsWith('cannot be asked: UND_ERR_SOCKET')
    })
    oauth.failing = null
    await expectBalanced(service, client, ['m1', 'm2'])
    expect((await service.message('m1')).attempts).toBe(1)
  })

  it('a new token that the mail server will not have pauses the account, with what it said why', async () => {
    // The operator's probe alone: a refused one of the service's own would leave it no token.
    const env = { ...PATIENT, GMP_PROBE_FIRST: '600', GMP_PROBE_MAX: '600' }
    const { oauth, service, client, sink, scene } = await openStory({ dialect, env })
    await service.call('POST', '/account', { id: 'main', tenant_id: 'default', user: 'other@mail.test' })
    await service.send({ id: 'm1' })
    await service.until('told', () => client.deferrals().length === 1)
    const { body } = await service.call('GET', RECORD)
    expect(body.pause).toMatchObject({
      code: '535',
      reason: '535 5.7.8 Username and Password not accepted (status 401, schemes bearer, scope https://mail.test/)',
    })
    // A probe has a token from before, and so asks once for another.
    const before = [oauth.given.length, sink.countOf('AUTH')]
    const tested = await probe(scene)
    expect(tested).toMatchObject({ ok: false, error: body.pause.reason })
    expect(tested.conversation.filter((line: string) => line.startsWith('OAuth: '))).toHaveLength(2)
    expect(oauth.given.length).toBeGreaterThan(before[0]!)
    await service.call('POST', '/account', { id: 'main', tenant_id: 'default', user: 'shop@mail.test' })
    await expectBalanced(service, client, ['m1'])
  })

  it('keeps the refresh token that the provider gives in place of the one it had, over a restart too', async () => {
    const clock = createMovingClock()
    const { oauth, scene } = await openStory({ dialect, overrides: { clock } })
    oauth.rotates = true
    await untilSent(scene, 'm1')
    expect(oauth.refreshTokens.has('refresh-from-the-consent')).toBe(false)
    await clock.move(4_000_000)
    await untilSent(scene, 'm2')
    await scene.restart()
    await clock.move(4_000_000)
    await untilSent(scene, 'm3')
    // A change of what a refresh token is not bound to does not lose it.
    const change = { id: 'main', tenant_id: 'default', oauth2: { scope: 'mail.send' } }
    expect((await scene.service.call('POST', '/account', change)).status).toBe(200)
    await untilSent(scene, 'm4')
    expect(oauth.asked.map(form => form.get('refresh_token')?.slice(0, 17))).toEqual([
      'refresh-from-the-',
      'refresh-rotated-1',
      'refresh-rotated-2',
      'refresh-rotated-3',
    ])
    expect(oauth.asked.map(form => form.get('scope'))).toEqual([null, null, null, 'mail.send'])
    expect(scene.service.logs.filter(line => line.includes('paused'))).toEqual([])
    await expectNothingLeaked(oauth, scene)
  })

  it('asks with client credentials, in the form or in the header', async () => {
    const { oauth, scene } = await openStory({
      dialect,
      oauth2: { grant_type: 'client_credentials', refresh_token: null, scope: 'https://mail.test/.default' },
    })
    await untilSent(scene, 'm1')
    const basic = { id: 'main', tenant_id: 'default', oauth2: { client_auth_method: 'client_secret_basic' } }
    expect((await scene.service.call('POST', '/account', basic)).status).toBe(200)
    await untilSent(scene, 'm2')
    const scope = { grant_type: 'client_credentials', scope: 'https://mail.test/.default' }
    expect(oauth.asked.map(form => Object.fromEntries(form))).toEqual([
      { ...scope, client_id: 'app', client_secret: 'the-client-secret' },
      scope,
    ])
    await expectNothingLeaked(oauth, scene)
  })
})

function decoded(base64: string): string {
  return Buffer.from(base64, 'base64').toString()
}
