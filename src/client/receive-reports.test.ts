/** Who may report, what is acknowledged and when; with requests signed as the service signs them. */
import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { signWebhook } from '../reports/sign.js'
import { createReportReceiver, type ReportEntry, verifyReport } from './index.js'

const SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`
const OTHER = `whsec_${Buffer.alloc(32, 2).toString('base64')}`
const NOW = 1_795_181_935_000
const body = JSON.stringify({ delivery_report: [{ id: 'ü', sent_ts: 1 }] })
const signed = (secrets = [SECRET], at = NOW, of = body): Record<string, string> => ({
  ...signWebhook(secrets, 'msg_1', at, of),
})
const genuine = (headers: Record<string, string>, options = {}) =>
  verifyReport(headers, body, [SECRET], { now: NOW, ...options })

describe('verifyReport', () => {
  it('knows what the service signed, as text and octets, in headers of fetch and of node', () => {
    expect(genuine(signed())).toBe(true)
    expect(verifyReport(new Headers(signed()), Buffer.from(body), [SECRET], { now: NOW })).toBe(true)
  })

  it('knows it by either secret while one takes over from the other', () => {
    expect(genuine(signed([OTHER, SECRET]))).toBe(true)
    expect(verifyReport(signed([OTHER]), body, [SECRET, OTHER], { now: NOW })).toBe(true)
    expect(genuine(signed([OTHER]))).toBe(false)
  })

  it('refuses an altered body, id or time', () => {
    expect(verifyReport(signed(), `${body} `, [SECRET], { now: NOW })).toBe(false)
    expect(genuine({ ...signed(), 'webhook-id': 'msg_2' })).toBe(false)
    expect(genuine({ ...signed(), 'webhook-timestamp': String(NOW / 1000 + 1) })).toBe(false)
  })

  it('refuses what is older or earlier than the tolerance', () => {
    expect(genuine(signed([SECRET], NOW - 300_000))).toBe(true)
    expect(genuine(signed([SECRET], NOW - 301_000))).toBe(false)
    expect(genuine(signed([SECRET], NOW + 301_000))).toBe(false)
    expect(genuine(signed([SECRET], NOW - 301_000), { toleranceSeconds: 600 })).toBe(true)
    expect(genuine({ ...signed(), 'webhook-timestamp': 'NaN' })).toBe(false)
  })

  it.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])('refuses a request without %s', name => {
    const headers = signed()
    delete headers[name]
    expect(genuine(headers)).toBe(false)
  })

  it('refuses other versions, cut signatures and no secrets', () => {
    const { 'webhook-signature': signature } = signed()
    expect(genuine({ ...signed(), 'webhook-signature': signature!.replace('v1,', 'v2,') })).toBe(false)
    expect(genuine({ ...signed(), 'webhook-signature': signature!.slice(0, -8) })).toBe(false)
    expect(genuine({ ...signed(), 'webhook-signature': 'v1,' })).toBe(false)
    expect(genuine({ ...signed(), 'webhook-signature': `v1,AAAA ${signature}` })).toBe(true)
    expect(verifyReport(signed(), body, [], { now: NOW })).toBe(false)
  })

  it.each(['', 'whsec_', 'whsec_c2hvcnQ=', SECRET.slice(6)])(
    'throws for the secret %j, by which everybody could sign',
    secret => {
      const mac = createHmac('sha256', Buffer.from(secret.replace('whsec_', ''), 'base64'))
        .update(`msg_1.${NOW / 1000}.${body}`)
        .digest('base64')
      expect(() =>
        verifyReport({ ...signed(), 'webhook-signature': `v1,${mac}` }, body, [secret], { now: NOW }),
      ).toThrow(TypeError)
    },
  )
})

describe('a report receiver', () => {
  const AUTH = { method: 'bearer', token: 'the-token' } as const
  const headers = { authorization: 'Bearer the-token' }

  it('hands the entries over and answers what record says', async () => {
    const taken: ReportEntry[] = []
    const receive = createReportReceiver({
      auth: AUTH,
      record: entries => {
        taken.push(...entries)
        return { not_found: ['ü'] }
      },
    })
    expect(await receive({ headers, body: Buffer.from(body) })).toEqual({
      status: 200,
      body: { ok: true, not_found: ['ü'] },
    })
    expect(taken).toEqual([{ id: 'ü', sent_ts: 1 }])
    // An idle call, which only asks whether there is something to say.
    expect(await receive({ headers, body: '{}' })).toMatchObject({ status: 200 })
  })

  it('acknowledges only once they are stored', async () => {
    let stored: () => void = () => {}
    const receive = createReportReceiver({
      auth: AUTH,
      record: () => new Promise(resolve => (stored = () => resolve(undefined))),
    })
    let answered = false
    const answer = receive({ headers, body }).then(given => {
      answered = true
      return given
    })
    await new Promise(setImmediate)
    expect(answered).toBe(false)
    stored()
    expect(await answer).toEqual({ status: 200, body: { ok: true } })
  })

  it('rejects with what record threw, so that nothing is acknowledged', async () => {
    const receive = createReportReceiver({
      auth: AUTH,
      record: () => {
        throw new Error('the disk is full')
      },
    })
    await expect(receive({ headers, body })).rejects.toThrow('the disk is full')
  })

  const never = () => expect.fail('it was recorded')
  const basic = { method: 'basic', user: 'proxy', password: 'pw' } as const
  const basicHeader = `Basic ${Buffer.from('proxy:pw').toString('base64')}`
  it.each([
    ['no credentials', { auth: AUTH }, {}],
    ['another token', { auth: AUTH }, { authorization: 'Bearer the-token2' }],
    ['two headers', { auth: AUTH }, { authorization: ['Bearer the-token', 'Bearer x'] }],
    ['another password', { auth: basic }, { authorization: `${basicHeader}x` }],
    ['no signature', { auth: AUTH, secrets: [SECRET] }, headers],
    ['a signature and no token', { auth: AUTH, secrets: [SECRET] }, signed([SECRET], Date.now())],
  ])('answers 401 to a request with %s', async (_, options, given) => {
    const receive = createReportReceiver({ ...options, record: never })
    expect(await receive({ headers: given, body })).toEqual({ status: 401, body: { ok: false } })
  })

  it('takes a request with all that was asked for', async () => {
    const record = () => undefined
    const both = createReportReceiver({ auth: basic, secrets: [SECRET], record })
    const given = { authorization: basicHeader, ...signed([SECRET], Date.now()) }
    expect((await both({ headers: given, body })).status).toBe(200)
  })

  it.each(['', 'no json', 'null', '[]', '{"delivery_report": {}}'])('answers %j without breaking', async given => {
    const receive = createReportReceiver({ auth: AUTH, record: entries => expect(entries).toEqual([]) as undefined })
    const { status } = await receive({ headers, body: given })
    expect(status).toBe(given === 'null' || given === '[]' ? 200 : 400)
  })

  it('is not made where anybody could report', () => {
    const record = () => undefined
    expect(() => createReportReceiver({ record })).toThrow(TypeError)
    expect(() => createReportReceiver({ secrets: [''], record })).toThrow(TypeError)
    expect(() => createReportReceiver({ auth: { method: 'bearer', token: '' }, record })).toThrow(TypeError)
  })
})
