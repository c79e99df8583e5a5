import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

describe.each(dialects)('rules on %s', dialect => {
  let http: HttpApp
  beforeAll(async () => {
    http = await openHttpApp(dialect)
  })
  afterAll(() => http.close())
  const post = (body: object) => http.call('POST', '/commands/rules', { body })
  const names = async () =>
    (await http.call('GET', '/commands/rules')).body.rules.map((each: { name: string }) => each.name)

  it('an empty rule is enabled, all day, every minute, and each command answers all rules', async () => {
    const answer = await post({})
    expect(answer.body).toEqual({
      ok: true,
      rules: [
        { id: expect.any(Number), enabled: true, priority: 0, days: [], cross_midnight: false, interval_minutes: 1 },
      ],
    })
    expect((await http.call('DELETE', `/commands/rules/${answer.body.rules[0].id}`)).body).toEqual({
      ok: true,
      rules: [],
    })
  })

  it('they are listed by priority, then id; one without a priority goes last', async () => {
    await post({ name: 'five', priority: 5 })
    await post({ name: 'last' })
    await post({ name: 'one', priority: '1' })
    await post({ name: 'one again', priority: 1 })
    expect(await names()).toEqual(['one', 'one again', 'five', 'last'])
  })

  it('all fields come back', async () => {
    await http.addTenant('acme')
    await http.call('POST', '/account', { body: { id: 'main', tenant_id: 'acme', host: 'h' } })
    const rule = {
      name: 'night',
      enabled: false,
      priority: 9,
      days: [0, 4],
      start_hour: 22,
      end_hour: 6,
      cross_midnight: true,
      interval_minutes: 15,
      timezone: 'Europe/Rome',
      tenant_id: 'acme',
      account_id: 'main',
    }
    const { rules } = (await post(rule)).body
    expect(rules.at(-1)).toEqual({ id: expect.any(Number), ...rule })
    const { id } = rules.at(-1)
    const enabled = await http.call('PATCH', `/commands/rules/${id}`, { body: { enabled: 'yes' } })
    expect(enabled.body.rules.at(-1)).toMatchObject({ id, enabled: true })
  })

  it('a rule for an account that does not exist is 404', async () => {
    for (const body of [
      { account_id: 'maim' },
      { account_id: 'maim', tenant_id: 'acme' },
      { account_id: 'main', tenant_id: 'default' },
    ]) {
      const answer = await post(body)
      expect([answer.status, answer.body.error]).toEqual([404, `Account '${body.account_id}' not found`])
    }
    expect((await post({ name: 'every main', account_id: 'main' })).status).toBe(200)
  })

  it('an unknown id changes nothing and answers the rules', async () => {
    const before = await names()
    expect((await http.call('PATCH', '/commands/rules/4711', { body: { enabled: false } })).body.rules).toHaveLength(
      before.length,
    )
    expect((await http.call('DELETE', '/commands/rules/4711')).status).toBe(200)
    expect(await names()).toEqual(before)
  })

  it.each([
    { days: [7] },
    { start_hour: 24 },
    { interval_minutes: 0 },
    { start_hour: 9, end_hour: 9 },
    { start_hour: 22, end_hour: 6 },
    { timezone: 'Rome' },
    { priority: 'high' },
  ])('%j is refused', async body => {
    expect((await post(body)).status).toBe(422)
  })

  it('a change sets the fields given, null sets one back, and the others stay', async () => {
    const { rules } = (await post({ name: 'day', days: [0, 1], start_hour: 9, end_hour: 18, timezone: 'Europe/Rome' }))
      .body
    const { id, priority } = rules.at(-1)
    const patch = async (body: object) => {
      const answer = await http.call('PATCH', `/commands/rules/${id}`, { body })
      return [answer.status, answer.body.rules?.find((each: { id: number }) => each.id === id) ?? answer.body.error]
    }
    const day = { id, priority, name: 'day', enabled: true, cross_midnight: false, interval_minutes: 1 }
    expect(await patch({ start_hour: 8, days: [4, 4, 0], timezone: null, priority: null })).toEqual([
      200,
      { ...day, start_hour: 8, end_hour: 18, days: [0, 4] },
    ])
    expect(await patch({ start_hour: null, end_hour: null, days: null, tenant_id: 'acme' })).toEqual([
      200,
      { ...day, days: [], tenant_id: 'acme' },
    ])
    expect(await patch({})).toEqual([200, { ...day, days: [], tenant_id: 'acme' }])
    await patch({ start_hour: 9, end_hour: 18 })
    // Judged is the rule as it would be, not the fields alone.
    expect(await patch({ end_hour: 8 })).toEqual([422, expect.stringContaining('ends before it starts')])
    expect(await patch({ account_id: 'nobody' })).toEqual([404, "Account 'nobody' not found"])
    expect(await patch({ end_hour: 8, cross_midnight: true, account_id: 'main', tenant_id: null })).toEqual([
      200,
      { ...day, days: [], start_hour: 9, end_hour: 8, cross_midnight: true, account_id: 'main' },
    ])
  })

  it('a scope that does not exist is 404', async () => {
    expect((await post({ tenant_id: 'nowhere' })).status).toBe(404)
  })

  it('a change says so to the dispatcher', async () => {
    http.hints.length = 0
    await post({ name: 'x' })
    expect(http.hints).toEqual(['settings'])
  })
})
