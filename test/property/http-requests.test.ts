/**
 * Every route of the document against hostile bodies, queries and paths: an answer of the service always, and never one
 * that says the service is at fault. A new route is taken in by standing in the document.
 */
import fc from 'fast-check'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Operation, readApiDocument, type Schema } from '../support/api-document.js'
import { type HttpApp, openHttpApp } from '../support/http-app.js'

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const times = Number(process.env.FUZZ_TIMES ?? 1)
console.info(`FUZZ_SEED=${seed} FUZZ_TIMES=${times}`)

let http: HttpApp
let tenantKey: string
let operations: readonly Operation[]

/** They need a service that runs. */
const NOT_HERE = /diagnos|^\/docs|\/metrics/

// Anew for each: what the admin asks may well give the tenant another key.
beforeEach(async () => {
  http = await openHttpApp('sqlite', { env: { GMP_REQUESTS_PER_MINUTE: '1000000' } })
  tenantKey = await http.addTenant('acme', { client_base_url: 'http://c.test' })
  await http.call('POST', '/account', { body: { id: 'main', tenant_id: 'acme', host: 'smtp.test' } })
  const { body } = await http.call('GET', '/openapi.json')
  operations = [...readApiDocument(body).operations.values()].filter(({ path }) => !NOT_HERE.test(path))
})
afterEach(() => http.close())

const text = fc.oneof(
  fc.constantFrom(
    'acme',
    'main',
    'default',
    '',
    '.',
    '..',
    'a@x.it',
    '1',
    '-1',
    '1e999',
    '\0',
    '\r\n',
    '\ud800',
    '__proto__',
  ),
  fc.constantFrom(
    'http://x.test/',
    'constructor',
    '$HOME',
    "' or 1=1 --",
    '%',
    '\u202e',
    'x'.repeat(5_000),
    'true',
    'null',
  ),
  fc.string({ unit: 'binary', maxLength: 30 }),
)
const number = fc.oneof(
  fc.constantFrom(0, -1, 1, 2 ** 53, 2 ** 63, 1e300, 0.5, -0, 253_402_300_800),
  fc.integer(),
  fc.double(),
)
const scalar = fc.oneof(text, number, fc.boolean(), fc.constant(null))
const anything = fc.oneof(
  scalar,
  fc.array(scalar, { maxLength: 3 }),
  fc.dictionary(text, scalar, { maxKeys: 3 }),
  fc.jsonValue(),
)

/** So that what stands beside them is looked at. */
const HONEST: ReadonlyMap<string, unknown> = new Map(
  Object.entries({ id: 'm1', from: 'a@x.it', to: 'b@y.it', subject: 'Hi', host: 'smtp.test', account_id: 'main' }),
)

function fieldFor(name: string, schema: Schema, depth: number): fc.Arbitrary<unknown> {
  const hostile = valueFor(schema, depth)
  return HONEST.has(name) ? fc.oneof({ weight: 9, arbitrary: fc.constant(HONEST.get(name)) }, hostile) : hostile
}

/** Fields as the schema has them, with whatever in them. */
function valueFor(schema: Schema, depth = 0): fc.Arbitrary<unknown> {
  const inner = schema.anyOf?.find(each => each.properties !== undefined || each.items !== undefined) ?? schema
  if (depth > 3) return anything
  if (inner.properties !== undefined) {
    const fields = Object.fromEntries(
      Object.entries(inner.properties).map(([name, each]) => [name, fieldFor(name, each, depth + 1)]),
    )
    const requiredKeys = Object.keys(fields).filter(name => HONEST.has(name))
    return fc.oneof({ weight: 9, arbitrary: fc.record(fields, { requiredKeys }) }, anything)
  }
  if (inner.items !== undefined) {
    return fc.oneof({ weight: 4, arbitrary: fc.array(valueFor(inner.items, depth + 1), { maxLength: 3 }) }, anything)
  }
  return anything
}

/** As JSON, now and then with a piece of it broken. */
function bodyOf(schema: Schema): fc.Arbitrary<string> {
  const json = valueFor(schema).map(value => JSON.stringify(value) ?? '')
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    ',',
    '"',
    '\\',
    '\\ud800',
    '"__proto__":',
    '1e999',
    '{"a":1,"a":2}',
    '['.repeat(100),
  ]
  const broken = fc.tuple(json, fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(...pieces), fc.nat(3))
  return fc.oneof(
    { weight: 4, arbitrary: json },
    broken.map(([whole, at, piece, cut]) => {
      const from = Math.floor(at * whole.length)
      return whole.slice(0, from) + piece + whole.slice(from + cut)
    }),
  )
}

it.each(['the admin', 'a tenant'])(
  'whatever %s asks is answered, and nothing is an error of the service',
  async who => {
    expect(operations.length).toBeGreaterThan(30)
    const token = who === 'the admin' ? undefined : tenantKey
    const statuses = new Set<number>()
    for (const { method, path, body, query } of operations) {
      const asked = fc.record({
        ids: fc.array(text, { minLength: 3, maxLength: 3 }),
        query: fc.record(Object.fromEntries(query.map(name => [name, scalar])), { requiredKeys: [] }),
        body: body === null ? fc.constant(undefined) : bodyOf(body),
      })
      await fc.assert(
        fc.asyncProperty(asked, async given => {
          let i = 0
          const where = path.replace(/\{[^}]+\}/g, () =>
            encodeURIComponent(given.ids[i++ % 3]!.replace(/\p{Cs}/gu, '�')),
          )
          const search = new URLSearchParams()
          for (const [name, value] of Object.entries(given.query)) search.set(name, String(value))
          const answer = await http.call(method, `${where}?${search}`, { token, body: given.body })
          statuses.add(answer.status)
          expect(http.errors).toEqual([])
          expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(500)
          if (method === 'HEAD' || answer.status === 302) return
          if (!String(answer.headers['content-type']).startsWith('application/json')) return
          // Of a test `ok` is what it found out.
          if (path === '/openapi.json' || /\/test(-sync)?$/.test(path)) return
          expect(answer.body.ok).toBe(answer.status < 400)
        }),
        { seed, numRuns: (body === null ? 5 : 20) * times },
      )
    }
    // The twin: some of it is taken.
    expect([...statuses]).toEqual(expect.arrayContaining([200, 422]))
  },
  60_000 * times,
)
