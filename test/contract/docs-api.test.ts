/** docs/api.md is held to the service: its examples are run in their order, its routes and fields are those there are. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MESSAGE_FIELDS } from '../../src/messages/parse.js'
import { ATTACHMENT_FIELDS } from '../../src/messages/parse-attachments.js'
import { type Example, examplesOf, unlike } from '../support/docs-examples.js'
import { type HttpSink, startHttpSink } from '../support/http-sink.js'
import { ADMIN_TOKEN, startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

const text = readFileSync('docs/api.md', 'utf8')
let service: TestService
let smtp: SmtpSink
let client: HttpSink
let tenantKey = ''

beforeAll(async () => {
  client = await startHttpSink()
  smtp = await startSink({
    auth: ['PLAIN'],
    users: { acme: 'the-smtp-password' },
    behave: {
      rcpt: ({ address }) => (address === 'nobody@example.net' ? '550 5.1.1 No such user' : null),
      // Taken once without a word: the message is in doubt.
      final: ({ content }) => (/^Subject: Your order 471[34]/m.test(content.toString()) ? { cut: true } : null),
    },
  })
  service = await startTestService({ env: { GMP_ALLOW_PRIVATE_NETWORKS: 'true', GMP_SYNC_INTERVAL: '20' } })
  await service.call('POST', '/tenant', { id: 'globex' })
  await service.account(smtp, { id: 'old' })
})

afterAll(async () => {
  await service?.stop()
  await smtp?.close()
  await client?.close()
})

const examples = examplesOf(text)

describe('docs/api.md', () => {
  it.each(examples)('line $line: $method $path answers as written', async example => {
    // What is being sent takes its time; a command is given once.
    const deadline = performance.now() + (example.method === 'GET' ? 10_000 : 0)
    for (;;) {
      const { status, body } = await ask(example)
      if (typeof body?.api_key === 'string' && !example.path.includes('globex')) tenantKey = body.api_key
      const difference = status === example.status ? unlike(example.answer, body) : `status ${status}`
      if (difference === null) return
      if (performance.now() > deadline) expect.fail(`${difference}\n${JSON.stringify(body, null, 2)}`)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  })

  it('has an example for every route of /openapi.json, and no other', async () => {
    const { body } = await service.call('GET', '/openapi.json')
    const routes = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
      Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
    )
    const documented = [...text.matchAll(/^#### ([A-Z]+ \/\S+)$/gm)].map(match => match[1])
    expect(documented.toSorted()).toEqual(routes.toSorted())
    for (const route of routes) {
      const [method, path = ''] = route.split(' ')
      const pattern = new RegExp(`^${path.replace(/\{\w+\}/g, '[^/?]+')}(\\?|$)`)
      expect(
        examples.filter(each => each.method === method && pattern.test(each.path)),
        route,
      ).not.toEqual([])
    }
  })
})

describe('the fields in docs/api.md', () => {
  // The lists that decide what is unknown.
  const known = { message: MESSAGE_FIELDS, attachment: ATTACHMENT_FIELDS }
  it.each(Object.entries(known))('tell of each field of a submitted %s', (_what, fields) => {
    expect([...fields].filter(field => !text.includes(`\`${field}\``))).toEqual([])
  })

  it.each([
    ['post', '/account', 'Account fields'],
    ['post', '/tenant', 'Tenant fields'],
    ['post', '/commands/rules', 'Rule fields'],
    ['post', '/volume', 'Volume fields'],
  ])('tell of each field of %s %s', async (method, path, title) => {
    const { body } = await service.call('GET', '/openapi.json')
    const schema = body.paths[path][method].requestBody.content['application/json'].schema
    const chapter = text.split(`\n## ${title}\n`)[1]?.split('\n## ')[0] ?? ''
    const documented = [...chapter.matchAll(/^\| ([^|]+)\|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`(\w+)`/g)].map(match => match[1]),
    )
    expect(documented.toSorted()).toEqual(Object.keys(schema.properties).toSorted())
  })

  it("tell of each field of an account's oauth2", async () => {
    const { body } = await service.call('GET', '/openapi.json')
    const account = body.paths['/account'].post.requestBody.content['application/json'].schema
    const [schema] = account.properties.oauth2.anyOf
    const chapter = text.split('\n## OAuth2 fields\n')[1]?.split('\n## ')[0] ?? ''
    const documented = [...chapter.matchAll(/^\| `(\w+)`/gm)].map(match => match[1])
    expect(documented.toSorted()).toEqual(Object.keys(schema.properties).toSorted())
  })

  it('tell of each field of a record', async () => {
    const { body } = await service.call('GET', '/openapi.json')
    const schema = body.paths['/messages/{id}'].get.responses['200'].content['application/json'].schema
    expect(Object.keys(schema.properties).filter(field => !text.includes(field))).toEqual([])
  })
})

async function ask({ method, path, token, body }: Example) {
  const given = body
    .replaceAll('"smtp.example.com"', '"127.0.0.1"')
    .replaceAll('"port": 587', `"port": ${smtp.port}`)
    .replaceAll('https://app.example.com', client.url)
  const known = token.replace('$TENANT_KEY', tenantKey).replace('$ADMIN_TOKEN', ADMIN_TOKEN)
  return service.call(method, path, given === '' ? undefined : JSON.parse(given), known)
}
