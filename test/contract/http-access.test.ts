/**
 * Who may do what: every operation of the OpenAPI document with every kind of token. Who may call it stands in the
 * document (`x-access`, which authentication goes by); what it is asked stands in ASKED, and a route that is not there
 * fails. With another tenant's key a thing of a tenant must look like one that does not exist, and nothing may happen to it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Row } from '../../src/db/db.js'
import type { Routes } from '../../src/http/app.js'
import { allRoutes } from '../../src/http/routes/index.js'
import { type ApiDocument, readApiDocument } from '../support/api-document.js'
import { ADMIN, type HttpApp, openHttpApp } from '../support/http-app.js'
import { dialects } from '../support/temp-db.js'

type Kind =
  | 'account'
  | 'waiting'
  | 'failed'
  | 'doubtful'
  | 'reported'
  | 'batch'
  | 'volume'
  | 'rule'
  | 'tenant'
  | 'newTenant'

interface Asking {
  /** What it names: made anew for each call, and put where the path has `{…}`. */
  readonly of?: Kind
  readonly query?: (id: string) => string
  readonly body?: (id: string) => object
  /** The status where it may be called; 200 unless it says another. */
  readonly status?: number
}

const mail = (id: string, fields: object = {}) => ({
  messages: [{ id, from: 'a@example.com', to: 'b@example.net', subject: 's', body: 'b', ...fields }],
})
const files = { backend: 'http', config: { base_url: 'https://files.example.com/' } }
const ofAccount: Asking = { of: 'account' }
const ofTenant: Asking = { of: 'tenant' }
const plain: readonly Asking[] = [{}]
let unused = 0

/** By operation, what it is asked. Of what a tenant may call: each field by which it can name what may be another's. */
const ASKED: Readonly<Record<string, readonly Asking[]>> = {
  'get /health': plain,
  'get /ready': plain,
  'get /status': plain,
  'get /metrics': plain,
  'get /files/{id}/{filename}': [{ status: 403 }],
  'post /tenant': [{ body: () => ({ id: `made-${++unused}` }) }],
  'get /tenants': plain,
  'get /tenants/sync-status': plain,
  'get /tenant/{tenant_id}': [ofTenant],
  'put /tenant/{tenant_id}': [{ ...ofTenant, body: () => ({ name: 'renamed' }) }],
  'delete /tenant/{tenant_id}': [{ of: 'newTenant' }],
  'post /tenant/{tenant_id}/api-key': [{ of: 'newTenant' }],
  'delete /tenant/{tenant_id}/api-key': [{ of: 'newTenant' }],
  'post /tenant/{tenant_id}/test-sync': [ofTenant],
  'post /account': [{ ...ofAccount, body: id => ({ id, host: 'mine.example.com' }) }],
  'get /accounts': plain,
  'get /account/{account_id}': [ofAccount],
  'delete /account/{account_id}': [ofAccount],
  'post /account/{account_id}/pause': [ofAccount],
  'post /account/{account_id}/resume': [ofAccount],
  'post /account/{account_id}/test': [ofAccount],
  'post /volume': [
    { of: 'volume', body: name => ({ name, ...files }) },
    { of: 'account', body: account_id => ({ name: 'at-account', account_id, ...files }) },
  ],
  'get /volumes': [
    {},
    { ...ofAccount, query: id => `account_id=${id}` },
    { ...ofTenant, query: id => `account_id=${id}` },
    { ...ofAccount, query: id => `account_id=acme/${id}` },
  ],
  'get /volume/{name}': [
    { of: 'volume' },
    { of: 'volume', query: name => `account_id=${name.replace('volume', 'main')}`, status: 404 },
  ],
  'delete /volume/{name}': [
    { of: 'volume' },
    { of: 'volume', query: name => `account_id=${name.replace('volume', 'main')}`, status: 404 },
  ],
  'post /commands/add-messages': [
    { of: 'account', body: account_id => mail('m1', { account_id }) },
    { of: 'waiting', body: id => mail(id) },
    { of: 'tenant', body: tenant_id => mail('m2', { tenant_id }) },
    { of: 'batch', body: batch_code => mail('m3', { batch_code }) },
    {
      of: 'volume',
      body: name => mail('m4', { attachments: [{ filename: 'a.txt', storage_path: `${name}:a.txt` }] }),
    },
  ],
  'get /messages': [
    {},
    { of: 'account', query: id => `account_id=${id}` },
    { of: 'batch', query: code => `batch_code=${code}` },
    { of: 'failed', query: id => `q=${id}&include_history=true` },
  ],
  'get /messages/{id}': [{ of: 'failed' }],
  'post /messages/{id}/retry': [{ of: 'failed' }],
  'post /messages/{id}/cancel': [{ of: 'waiting' }],
  'post /messages/{id}/release': [{ of: 'doubtful' }],
  'post /messages/{id}/discard': [{ of: 'doubtful' }],
  'post /commands/delete-messages': [{ of: 'waiting', body: id => ({ ids: [id] }) }],
  'post /commands/cleanup-messages': [{ of: 'reported', body: () => ({ older_than_seconds: 0 }) }],
  'post /commands/run-now': plain,
  'post /commands/suspend': [
    { of: 'batch', query: code => `batch_code=${code}` },
    { of: 'batch', body: batch_code => ({ batch_code }) },
    {},
  ],
  'post /commands/activate': [
    {},
    { of: 'batch', query: code => `batch_code=${code}` },
    { of: 'batch', body: batch_code => ({ batch_code }) },
  ],
  'get /commands/rules': plain,
  'post /commands/rules': [{ of: 'newTenant', body: tenant_id => ({ tenant_id }) }],
  'patch /commands/rules/{rule_id}': [{ of: 'rule', body: () => ({ enabled: false }) }],
  'delete /commands/rules/{rule_id}': [{ of: 'rule' }],
  'get /stats': plain,
  'get /reports': plain,
  'get /diagnostics': plain,
  'get /loops': plain,
  'get /instance': plain,
  'put /instance': plain,
  'post /instance/reload-bounce': plain,
  'get /instance/sealing-key': plain,
  'post /instance/sealing-key/rotate': [{ status: 400 }],
  'get /command-log': plain,
  'get /command-log/export': plain,
}

/** Fields by which a thing is named; the others are of the mail itself and of OAuth. */
const isReference = (name: string) =>
  /(^|_)(ids?|code)$/.test(name) && !/^(tenant|content|message|client)_id$/.test(name)

const DENIED = {
  anonymous: { status: 401, error: 'Invalid or missing API token' },
  unknown: { status: 401, error: 'Invalid or missing API token' },
  adminNeeded: { status: 401, error: 'Admin token required' },
  tenantKey: { status: 403, error: 'Admin token required, tenant tokens not allowed for this operation' },
  foreign: { status: 401, error: 'Token not authorized for this tenant' },
}

const routesSeen = new Set<string>()
const watch: Routes = app => {
  app.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat()) routesSeen.add(`${each.toLowerCase()} ${url.replace(/:(\w+)/g, '{$1}')}`)
  })
}

describe.each(dialects)('who may do what, on %s', dialect => {
  let house: HttpApp
  let document: ApiDocument
  /** acme's keys, and the ones of other tenants. */
  const keys = { own: '', foreign: '', expired: '', revoked: '', ofDeleted: '' }
  const refused = ['wrong', 'expired', 'revoked', 'ofDeleted'] as const
  let made = 0

  beforeAll(async () => {
    house = await openHttpApp(dialect, { routes: [watch, ...allRoutes] })
    document = readApiDocument((await house.call('GET', '/openapi.json', { token: null })).body)
    const rotate = async (body: object) => (await house.call('POST', '/tenant/acme/api-key', { body })).body.api_key
    keys.revoked = await house.addTenant('acme')
    keys.expired = await rotate({ expires_at: Math.floor(house.clock.now() / 1000) + 1 })
    keys.own = await rotate({ overlap_seconds: 3600 })
    keys.foreign = await house.addTenant('foreign')
    keys.ofDeleted = await house.addTenant('gone')
    await house.call('DELETE', '/tenant/gone')
    await house.clock.advance(2000)
    // So that lists have what they must not show.
    await must('POST', '/account', { token: keys.own, body: account('main') })
    for (const kind of ['account', 'waiting', 'failed', 'doubtful', 'reported', 'batch', 'volume', 'rule'] as const) {
      await make(kind)
    }
    await must('POST', '/volume', { token: keys.own, body: { name: 'acme-at-main', account_id: 'main', ...files } })
  })
  afterAll(() => house.close())

  const account = (id: string) => ({ id, host: 'smtp.example.com', is_default: id === 'main' })

  async function must(...asked: Parameters<HttpApp['call']>) {
    const answer = await house.call(...asked)
    if (answer.status !== 200) throw new Error(`${asked[0]} ${asked[1]}: ${JSON.stringify(answer.body)}`)
    return answer.body
  }

  /** A thing of acme that nothing was done to yet. */
  async function make(kind: Kind | undefined): Promise<string> {
    const id = `acme-${kind}-${++made}`
    const token = keys.own
    switch (kind) {
      case undefined:
        return 'none'
      case 'tenant':
        return 'acme'
      case 'newTenant':
        await house.addTenant(id)
        return id
      case 'account':
        await must('POST', '/account', { token, body: account(id) })
        return id
      case 'volume':
        await must('POST', '/volume', { token, body: { name: id, ...files } })
        return id
      case 'rule': {
        const { rules } = await must('POST', '/commands/rules', { body: { tenant_id: 'acme', name: id } })
        return String(Math.max(...rules.map((each: { id: number }) => each.id)))
      }
      case 'batch':
        await must('POST', '/commands/add-messages', { token, body: mail(`${id}-mail`, { batch_code: id }) })
        return id
      case 'waiting':
      case 'failed':
      case 'reported':
      case 'doubtful': {
        await must('POST', '/commands/add-messages', { token, body: mail(id) })
        const state = {
          waiting: "status = 'pending', stage = 1",
          failed: "status = 'error', stage = 0",
          reported: "status = 'sent', stage = 0, accepted = 1, reported_at = 1",
          doubtful: "status = 'in_doubt', stage = 4",
        }[kind]
        await house.temp.db.write([{ sql: `update messages set ${state} where id = $1`, params: [id] }])
        return id
      }
    }
  }

  /** What would be its id, if there were one. */
  function missing(kind: Kind | undefined): string {
    if (kind === undefined) return 'none'
    return kind === 'rule' ? '999999' : `nowhere-${kind}-${++made}`
  }

  const operationOf = (name: string) => document.operations.get(name)!

  function ask(operation: string, asking: Asking, id: string, token: string | null, more = '') {
    const { method, path } = operationOf(operation)
    const query = [asking.query?.(id) ?? '', more].filter(each => each !== '').join('&')
    const body = asking.body?.(id)
    return house.call(method, `${path.replace(/\{\w+\}/g, id)}${query && `?${query}`}`, { token, body })
  }

  /** Every row of the database that does not belong to one of these tenants. */
  async function rowsBesides(...tenants: string[]) {
    await house.app.flushAudit()
    const { db } = house.temp
    const names = await db.read({
      sql:
        dialect === 'sqlite'
          ? "select name from sqlite_master where type = 'table' and name not like 'sqlite%'"
          : "select tablename as name from pg_tables where schemaname = 'public'",
      params: [],
    })
    const isTheirs = (row: Row) => tenants.includes(row.tenant_id as string)
    const messages = await db.read({ sql: 'select seq, tenant_id from messages', params: [] })
    const seqs = new Set(messages.filter(isTheirs).map(row => Number(row.seq)))
    const rows = new Map<string, string[]>()
    for (const { name } of names) {
      const all = await db.read({ sql: `select * from ${String(name)}`, params: [] })
      const others = all.filter(row => {
        if ('tenant_id' in row) return !isTheirs(row)
        return name === 'tenants' ? !tenants.includes(row.id as string) : !seqs.has(Number(row.seq))
      })
      rows.set(String(name), others.map(row => JSON.stringify(row)).sort())
    }
    return Object.fromEntries([...rows].sort())
  }

  it('every operation of the document is told here, and every route but its own pages stands in the document', () => {
    const documented = [...document.operations.keys()]
    expect(Object.keys(ASKED).sort()).toEqual(documented.sort())
    const hidden = [...routesSeen].filter(each => !each.startsWith('head ') && !documented.includes(each))
    expect(hidden).toEqual(['get /openapi.json'])
  })

  it('every field by which a tenant can name a thing is asked with the thing of another', () => {
    for (const [operation, askings] of Object.entries(ASKED)) {
      const { access, path, query, body } = operationOf(operation)
      if (!['any', 'tenant'].includes(access)) continue
      const wanted = [...query, ...namesIn(body)].filter(isReference)
      const used = askings
        .filter(each => each.of !== undefined)
        .flatMap(each => [...new URLSearchParams(each.query?.('x')).keys(), ...keysIn(each.body?.('x'))])
      expect([operation, wanted.filter(each => !used.includes(each))]).toEqual([operation, []])
      if (path.includes('{'))
        expect([operation, askings.some(each => each.of !== undefined)]).toEqual([operation, true])
    }
  })

  it.each(Object.keys(ASKED))('%s', async operation => {
    const { access } = operationOf(operation)
    expect(['public', 'any', 'tenant', 'admin']).toContain(access)
    const [first] = ASKED[operation] as [Asking]
    const tokens = { ...keys, wrong: 'wrong' }

    if (access === 'public') {
      const wanted = await ask(operation, first, 'none', null)
      expect(wanted.status).toBe(first.status ?? 200)
      for (const token of [...Object.values(tokens), ADMIN]) {
        const { status, body } = await ask(operation, first, 'none', token)
        expect([status, body]).toEqual([wanted.status, wanted.body])
      }
      return
    }

    const id = await make(first.of)
    const before = await rowsBesides()
    for (const token of [null, '']) {
      expectDenied(await ask(operation, first, id, token), access === 'admin' ? DENIED.adminNeeded : DENIED.anonymous)
    }
    for (const each of refused) expectDenied(await ask(operation, first, id, tokens[each]), DENIED.unknown)

    if (access === 'admin') {
      for (const token of [keys.own, keys.foreign])
        expectDenied(await ask(operation, first, id, token), DENIED.tenantKey)
    }
    expect(await rowsBesides()).toEqual(before)
    if (access !== 'admin') {
      await asForeigners(operation)
      for (const asking of ASKED[operation]!) {
        const others = await rowsBesides('acme')
        const { status, body } = await ask(operation, asking, await make(asking.of), keys.own)
        expect([status, body]).toEqual([asking.status ?? 200, expect.anything()])
        expect(await rowsBesides('acme')).toEqual(others)
      }
    }
    for (const asking of ASKED[operation]!) {
      const more = access === 'admin' ? '' : 'tenant_id=acme'
      const { status, body } = await ask(operation, asking, await make(asking.of), ADMIN, more)
      expect([status, body]).toEqual([asking.status ?? 200, expect.anything()])
    }
  })

  /** Of two tenants alike one asks for what is acme's, the other for what does not exist: they must see the same. */
  async function asForeigners(operation: string): Promise<void> {
    const strangers = [`asks-${++made}`, `asks-${++made}`] as const
    const tokens = [await house.addTenant(strangers[0]), await house.addTenant(strangers[1])] as const
    for (const token of tokens) await must('POST', '/account', { token, body: account('main') })
    const used: (readonly [string, string])[] = [strangers]
    for (const asking of ASKED[operation]!) {
      const ids = [await make(asking.of), missing(asking.of)] as const
      used.push(ids)
      const before = await rowsBesides(...strangers)
      const seen = []
      for (const i of [0, 1] as const) {
        const { status, headers, body } = await ask(operation, asking, ids[i], tokens[i])
        const text = used.reduce((text, pair, n) => text.replaceAll(pair[i], `<${n}>`), JSON.stringify(body))
        const { 'content-length': _, date: __, ...others } = headers
        seen.push({ status, headers: others, body: text })
      }
      expect(seen[0]).toEqual(seen[1])
      expect(seen[0]!.body).not.toContain('acme')
      for (const tenant of ['acme', 'nowhere']) {
        const named = [await ask(operation, asking, ids[0], tokens[0], `tenant_id=${tenant}`)]
        if (!operation.startsWith('get ')) {
          const body = (given: string) => ({ ...asking.body?.(given), tenant_id: tenant })
          named.push(await ask(operation, { ...asking, body }, ids[0], tokens[0]))
        }
        for (const answer of named) expectDenied(answer, DENIED.foreign)
      }
      expect(await rowsBesides(...strangers)).toEqual(before)
    }
  }
})

function expectDenied(
  answer: Awaited<ReturnType<HttpApp['call']>>,
  { status, error }: { status: number; error: string },
) {
  const code = status === 401 ? 'unauthorized' : 'forbidden'
  expect([answer.status, answer.body]).toEqual([status, { ok: false, error, code, detail: error }])
  expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined)
}

/** The names of all properties of a schema, at any depth. */
function namesIn(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  return Object.entries(schema).flatMap(([key, value]) => [
    ...(key === 'properties' ? Object.keys(value) : []),
    ...namesIn(value),
  ])
}

function keysIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, each]) => [...(Array.isArray(value) ? [] : [key]), ...keysIn(each)])
}
