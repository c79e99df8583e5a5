/** What strangers answer over HTTP: to reports, to requests for tokens, and the service itself to its clients. */
import { createCall } from '../../../src/client/call.js'
import { MailProxyError } from '../../../src/client/error.js'
import { createReportReceiver } from '../../../src/client/receive-reports.js'
import { verifyReport } from '../../../src/client/verify-report.js'
import { readAnswer } from '../../../src/oauth/grant.js'
import { judgeAnswer } from '../../../src/reports/acknowledge.js'
import { check, FIELD, type FuzzTarget, fieldsOf, stated } from '../target.js'

const NOW = 1_737_627_332_456
const WORDS = [
  FIELD,
  '200',
  '404',
  '{',
  '}',
  '[',
  ']',
  '"ok":',
  'true',
  'false',
  'null',
  '"error":',
  '"queued":',
  '"next_sync_after":',
  '"not_found":',
  '{"toString":1}',
  '{"id":1}',
  '1e999',
  '-1',
  '"2027-01-01"',
  '__proto__',
  '\0',
  '\xff',
  '[['.repeat(50),
]

/** One that an answer can have. */
function statusOf(text: string): number {
  const number = Math.abs(Number.parseInt(text.slice(0, 6), 10) || 0)
  return number >= 200 && number <= 599 ? number : 200 + (number % 400)
}

const acknowledgements: FuzzTarget = {
  name: 'report-answers',
  seeds: [
    `200${FIELD}{"ok":true,"error":["a",{"id":"b"}],"not_found":[],"queued":3,"next_sync_after":1737627400}`,
    `200${FIELD}{}`,
    `500${FIELD}x`,
    `200${FIELD}{"ok":"false","next_sync_after":"2025-01-23T10:20:00Z"}`,
  ],
  words: WORDS,
  run(octets) {
    const [status, body] = fieldsOf(octets, 2) as [string, string]
    const verdict = judgeAnswer({ status: statusOf(status), body }, NOW)
    if (!verdict.acknowledged) return check(verdict.cause.length < 100, 'a long cause', verdict.cause)
    check(statusOf(status) <= 299, 'acknowledged by a failure')
    const { quietUntil, again } = verdict
    for (const id of again) check(typeof id === 'string', 'no id')
    check(
      quietUntil == null ||
        (Number.isSafeInteger(quietUntil) && quietUntil > NOW && quietUntil <= NOW + 366 * 86_400_000),
      'no time',
      quietUntil,
    )
  },
}

const grant = {
  tokenUrl: 'https://t.test/',
  trusted: true,
  grantType: 'refresh_token',
  clientId: 'c',
  clientSecret: 'Secret-1',
  refreshToken: 'Refresh-2',
  scope: null,
  clientAuthMethod: 'client_secret_post',
} as const

const tokens: FuzzTarget = {
  name: 'token-answers',
  seeds: [
    `200${FIELD}{"access_token":"t","token_type":"Bearer","expires_in":3599,"refresh_token":"r"}`,
    `400${FIELD}{"error":"invalid_grant","error_description":"Secret-1 or Refresh-2 are wrong"}`,
    `400${FIELD}{"error":{"code":400,"message":"x","status":"Y"}}`,
  ],
  words: [
    ...WORDS,
    '"access_token":',
    '"token_type":',
    '"expires_in":',
    '"refresh_token":',
    '"error_description":',
    '"message":',
    'Secret-1',
    'Refresh-2',
    '\\r\\n',
    '\\u2028',
    '***',
    '😀'.repeat(300),
  ],
  run(octets) {
    const [status, body] = fieldsOf(octets, 2) as [string, string]
    const answer = readAnswer(Number(status), body, grant)
    if (answer.ok) {
      check(/^[\x21-\x7e]{1,8192}$/.test(answer.accessToken), 'no token')
      check(answer.lifeSeconds >= 0 && answer.lifeSeconds <= 30 * 86_400, 'no life', answer.lifeSeconds)
      return
    }
    check(!/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(answer.words) && answer.words.length < 700, 'no line', answer.words)
    check(!answer.words.includes('Secret-1') && !answer.words.includes('Refresh-2'), 'a secret is told', answer.words)
  },
}

const clients: FuzzTarget = {
  name: 'client-answers',
  seeds: [
    `200${FIELD}application/json${FIELD}3${FIELD}{"ok":true}`,
    `429${FIELD}application/json${FIELD}120${FIELD}{"ok":false,"error":"x","code":"y","detail":[]}`,
    `302${FIELD}text/html${FIELD}Wed, 21 Oct 2026 07:28:00 GMT${FIELD}<html>`,
  ],
  words: [...WORDS, 'application/json', '"code":', '"detail":', 'Infinity', '1e308', '0x10', '-1', ' '],
  async run(octets) {
    const [status, type, after, body] = fieldsOf(octets, 4) as [string, string, string, string]
    const clean = (text: string) => text.replace(/[^\t -~]/g, '')
    const code = statusOf(status)
    const headers = { 'content-type': clean(type), 'retry-after': clean(after) }
    const fetch = async () => new Response([204, 205, 304].includes(code) ? null : body, { status: code, headers })
    const call = createCall({ url: 'http://p.test', token: 't', retry: false, fetch })
    const read = await stated([MailProxyError], () => call({ method: 'GET', path: '/accounts', repeatable: true }))
    if (read.ok) return
    const { retryAfter, code: told } = read.error as MailProxyError
    check(typeof told === 'string' && told !== '', 'no code')
    check(retryAfter == null || (Number.isFinite(retryAfter) && retryAfter >= 0), 'no time', retryAfter)
  },
}

const secret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`
const receive = createReportReceiver({ auth: { method: 'bearer', token: 't' }, record: () => undefined })

const received: FuzzTarget = {
  name: 'received-reports',
  seeds: [
    `Bearer t${FIELD}v1,x v1,y${FIELD}1737627332${FIELD}{"delivery_report":[{"id":"a"}]}`,
    `Bearer x${FIELD}v2,${FIELD}0${FIELD}null`,
  ],
  words: [...WORDS, 'v1,', 'Bearer t', '"delivery_report":'],
  async run(octets) {
    const [authorization, signature, timestamp, body] = fieldsOf(octets, 4) as [string, string, string, string]
    const headers = { authorization, 'webhook-id': 'a', 'webhook-timestamp': timestamp, 'webhook-signature': signature }
    check(!verifyReport(headers, body, [secret], { now: NOW }), 'signed by nobody')
    const { status } = await receive({ headers, body })
    check(status === 401 ? authorization !== 'Bearer t' : authorization === 'Bearer t', 'let in', status)
  },
}

export const answerTargets = [acknowledgements, tokens, clients, received]
