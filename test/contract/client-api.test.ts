/**
 * The client against the API's own description: every operation has a method, and what each method sends and is answered
 * by a running service is what /openapi.json says.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createClient, type MailProxyClient } from '../../src/client/index.js'
import { type ApiDocument, type Exchange, notingFetch, readApiDocument } from '../support/api-document.js'
import { ADMIN_TOKEN, startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'

/** Which schema of the document each interface of the client is: a path from an operation on. */
const INTERFACES: readonly (readonly [file: string, name: string, operation: string, ...path: string[]])[] = [
  ['accounts', 'AccountInput', 'post /account', 'body'],
  ['accounts', 'Account', 'get /accounts', 'answer', 'accounts', 'items'],
  ['accounts', 'AccountTest', 'post /account/{account_id}/test', 'answer'],
  ['accounts', 'OAuth', 'get /accounts', 'answer', 'accounts', 'items', 'oauth2'],
  ['accounts', 'OAuthInput', 'post /account', 'body', 'oauth2'],
  ['accounts', 'Pause', 'get /accounts', 'answer', 'accounts', 'items', 'pause'],
  ['commands', 'Status', 'get /status', 'answer'],
  ['commands', 'Stats', 'get /stats', 'answer'],
  ['commands', 'Suspension', 'post /commands/suspend', 'answer'],
  ['instance', 'InstanceInput', 'put /instance', 'body'],
  ['instance', 'LoggedCommand', 'get /command-log', 'answer', 'commands', 'items'],
  ['instance', 'Rule', 'get /commands/rules', 'answer', 'rules', 'items'],
  ['instance', 'RuleInput', 'post /commands/rules', 'body'],
  ['messages', 'AttachmentInput', 'post /commands/add-messages', 'body', 'messages', 'items', 'attachments', 'items'],
  ['messages', 'DeletedMessages', 'post /commands/delete-messages', 'answer'],
  ['messages', 'MessageInput', 'post /commands/add-messages', 'body', 'messages', 'items'],
  ['messages', 'MessageRecord', 'get /messages/{id}', 'answer'],
  ['messages', 'OperatedMessage', 'post /messages/{id}/retry', 'answer'],
  ['messages', 'RecipientState', 'get /messages/{id}', 'answer', 'recipients', 'items'],
  ['messages', 'HistoryEntry', 'get /messages/{id}', 'answer', 'history', 'items'],
  ['submit', 'Rejected', 'post /commands/add-messages', 'answer', 'rejected', 'items'],
  ['submit', 'Warning', 'post /commands/add-messages', 'answer', 'warnings', 'items'],
  ['tenants', 'SyncStatus', 'get /tenants/sync-status', 'answer', 'tenants', 'items'],
  ['tenants', 'SyncTest', 'post /tenant/{tenant_id}/test-sync', 'answer'],
  ['tenants', 'Tenant', 'get /tenant/{tenant_id}', 'answer'],
  ['tenants', 'TenantFields', 'put /tenant/{tenant_id}', 'body'],
  ['tenants', 'LargeFileConfig', 'put /tenant/{tenant_id}', 'body', 'large_file_config'],
  ['volumes', 'Volume', 'get /volume/{name}', 'answer'],
  ['volumes', 'VolumeInput', 'post /volume', 'body'],
]

/** Fields of the document that the client leaves out, and why. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'MessageInput.from_addr': 'an alias of from',
  'LargeFileConfig.lifespan_after_download_days': 'of old clients; ignored',
}

/** Operations that no client calls, and why. */
const WITHOUT_METHOD: Readonly<Record<string, string>> = {
  'get /diagnostics': 'for an operator, who has `mail-proxy <instance> diagnose`',
  'get /loops': 'for an operator, who has `mail-proxy <instance> check-loop`',
  'get /files/{id}/{filename}': 'followed by the recipients of mails, by links with a signature',
}

describe('the client and the description of the API', () => {
  let service: TestService
  let sink: SmtpSink
  let document: ApiDocument
  const exchanges: Exchange[] = []
  let admin: MailProxyClient
  let shop: MailProxyClient
  /** Called methods of the client, by whichever of the two. */
  const called = new Set<string>()
  const noting = (client: MailProxyClient): MailProxyClient =>
    new Proxy(client, {
      get(target, name) {
        called.add(String(name))
        return Reflect.get(target, name)
      },
    })

  beforeAll(async () => {
    // A server that cuts the line after the final dot leaves a message in doubt.
    let cuts = 2
    sink = await startSink({
      behave: {
        rcpt: ({ address }) => (address.startsWith('nobody') ? '550 5.1.1 No such user' : null),
        final: ({ content }) => (/^Subject: doubt/m.test(content.toString()) && cuts-- > 0 ? { cut: true } : null),
      },
    })
    service = await startTestService()
    document = readApiDocument((await service.call('GET', '/openapi.json', undefined, '')).body)
    admin = noting(createClient({ url: service.url, token: ADMIN_TOKEN, fetch: notingFetch(exchanges), retry: false }))
  })
  afterAll(async () => {
    await service.stop()
    await sink.close()
  })

  const message = (id: string, fields: object = {}) => ({
    id,
    from: 'Shop <shop@example.org>',
    to: ['ada@example.net'],
    subject: 'Subject',
    body: 'Body',
    ...fields,
  })

  it('calls every method against a running service', async () => {
    expect((await admin.health()).status).toBe('ok')
    expect(await admin.ready()).toEqual({ ready: true, problems: [] })
    expect(await admin.metrics()).toContain('gmp_pending_messages')

    // Tenants and keys.
    const { apiKey } = await admin.saveTenant({ id: 'shop', name: 'Shop', rate_limits: { hourly: 5000 } })
    expect(apiKey).toMatch(/^.{40,}$/)
    expect((await admin.saveTenant({ id: 'shop', name: 'The shop' })).apiKey).toBeNull()
    await admin.saveTenant({ id: 'gone' })
    expect((await admin.listTenants({ activeOnly: true })).map(({ id }) => id)).toEqual(['default', 'gone', 'shop'])
    expect((await admin.listSyncStatus()).tenants).toHaveLength(3)
    await admin.revokeOldApiKeys('gone')
    await admin.revokeApiKeys('gone')
    await admin.deleteTenant('gone')
    const key = await admin.createApiKey('shop', { overlapSeconds: 60, expiresAt: 4_102_444_800 })
    shop = noting(createClient({ url: `${service.url}/`, token: key, fetch: notingFetch(exchanges), retry: false }))
    await shop.updateTenant('shop', { client_base_url: null, name: 'The shop' })
    expect((await shop.getTenant('shop')).name).toBe('The shop')

    // Accounts: the admin's own server is on a private address, which a tenant's key could not set.
    const account = { host: sink.host, port: sink.port, use_tls: false, in_doubt: 'hold' as const }
    await admin.saveAccount({ id: 'main', tenant_id: 'shop', ...account, is_default: true })
    await admin.saveAccount({ id: 'old', ...account }, { tenantId: 'shop' })
    await shop.deleteAccount('old')
    expect(await shop.testAccount('main')).toMatchObject({ ok: true })
    await shop.pauseAccount('main', 'for a while')
    expect((await shop.getAccount('main')).pause?.reason).toBe('for a while')
    expect((await shop.status()).paused_accounts[0]).toMatchObject({ id: 'main', reason: 'for a while' })
    await shop.resumeAccount('main')
    expect((await shop.listAccounts()).map(({ id }) => id)).toEqual(['main'])

    // Volumes.
    const keys = { access_key_id: 'id', secret_access_key: 'secret' }
    await shop.saveVolume({ name: 'uploads', backend: 's3', config: { bucket: 'b', region: 'eu-south-1', ...keys } })
    await admin.saveVolume({
      name: 'files',
      backend: 'http',
      config: { base_url: 'https://files.example.org/' },
      tenant_id: 'shop',
    })
    expect((await shop.listVolumes()).map(({ name }) => name)).toEqual(['files', 'uploads'])
    expect((await shop.getVolume('files')).backend).toBe('http')
    await shop.deleteVolume('files')

    // Messages.
    const everyField = message('every-field', {
      tenant_id: 'shop',
      account_id: 'main',
      cc: 'cc@example.net',
      bcc: ['bcc@example.net'],
      reply_to: 'answers@example.org',
      return_path: 'bounces@example.org',
      body: undefined,
      body_text: 'Text',
      body_html: '<p>Html</p>',
      headers: { 'X-Shop': '1' },
      message_id: '<one@example.org>',
      attachments: [{ filename: 'a.txt', storage_path: 'base64:aGVsbG8=', mime_type: 'text/plain', content_id: 'a' }],
      priority: 'high',
      batch_code: 'batch',
    })
    const refused = message('refused', { to: 'nobody@example.net' })
    const later = message('later', { deferred_ts: 4_102_444_800, expires_ts: 4_102_444_900 })
    const submitted = await shop.addMessages(
      [everyField, refused, later, message('doubt-1', { subject: 'doubt' }), message('doubt-2', { subject: 'doubt' })],
      { defaultPriority: 'medium', strict: true },
    )
    expect(submitted).toEqual({ answered: 5, queued: 5, rejected: [], warnings: [] })
    const nothing = await shop.addMessages([message('wrong', { to: 'no address' })])
    expect(nothing.rejected).toMatchObject([{ index: 0, id: 'wrong', code: 'invalid_field', field: 'to' }])
    await shop.runNow()
    await service.until('all but one have ended', async () => {
      const { by_status: counts } = await shop.stats()
      return counts.sent === 1 && counts.error === 1 && counts.in_doubt === 2 && counts.deferred === 1
    })
    const sent = await shop.getMessage('every-field')
    expect(sent).toMatchObject({ status: 'sent', priority: 1, attempt_log: [{ n: 1 }] })
    const listed: string[] = []
    for await (const each of shop.listMessages({ limit: 2, include_history: true })) listed.push(each.id)
    expect(listed).toEqual(['doubt-2', 'doubt-1', 'later', 'refused', 'every-field'])
    expect((await shop.retryMessage('refused')).status).toBe('pending')
    expect((await shop.cancelMessage('later')).status).toBe('cancelled')
    expect((await shop.releaseMessage('doubt-1')).status).toBe('pending')
    expect((await shop.discardMessage('doubt-2')).status).toBe('error')
    await service.until('the released one is sent', async () => (await shop.getMessage('doubt-1')).status === 'sent')
    const replayed: string[] = []
    let cursor = ''
    for await (const page of shop.replayReports({ limit: 2 })) {
      replayed.push(...page.reports.map(each => each.id))
      cursor = page.cursor
    }
    expect(new Set(replayed)).toEqual(new Set(listed))
    for await (const page of shop.replayReports({ after: cursor })) expect(page.reports).toEqual([])
    expect(await shop.deleteMessages(['later', 'unknown'])).toMatchObject({ removed: 1, not_found: ['unknown'] })
    expect(await shop.cleanupMessages(0)).toEqual({ ok: true, removed: expect.any(Number) })
    expect(await shop.suspend({ batchCode: 'news' })).toMatchObject({ active: false, suspended_batches: ['news'] })
    expect(await admin.activate({ tenantId: 'shop', batchCode: 'news' })).toMatchObject({ suspended_batches: [] })

    expect(await shop.testSync('shop')).toMatchObject({
      ok: false,
      error: expect.stringContaining('no report endpoint'),
    })

    // The instance.
    const rules = await admin.addRule({ name: 'Office', days: [0, 1], start_hour: 8, end_hour: 18, tenant_id: 'shop' })
    const { id } = rules[0]!
    expect(await admin.setRuleEnabled(id, false)).toMatchObject([{ id, enabled: false }])
    expect(await admin.updateRule(id, { end_hour: 17 })).toMatchObject([{ id, end_hour: 17, enabled: false }])
    expect(await admin.listRules()).toHaveLength(1)
    expect(await admin.deleteRule(id)).toEqual([])
    await admin.updateInstance({ name: 'the test' })
    expect(await admin.getInstance()).toMatchObject({ name: 'the test' })
    await admin.reloadBounce()
    const { sealing_key, newest_key, rotation } = await admin.getSealingKey()
    expect([newest_key, rotation]).toEqual([sealing_key, null])
    await expect(admin.rotateSealingKey()).rejects.toMatchObject({ code: 'command_failed' })
    expect((await admin.commandLog({ tenant_id: 'shop', endpoint_filter: 'pause', limit: 5 }))[0]).toMatchObject({
      endpoint: 'pauseAccount',
      response_status: 200,
    })
    expect((await admin.exportCommandLog({ since_ts: 1 }))[0]).toMatchObject({ endpoint: 'addTenant' })

    expect([...called].sort()).toEqual(Object.keys(createClient({ url: service.url, token: 'any' })).sort())
  })

  it('has a method for every operation', () => {
    const covered = new Set(exchanges.map(each => document.judge(each).operation))
    const missing = [...document.operations.keys()].filter(
      each => !covered.has(each) && WITHOUT_METHOD[each] === undefined,
    )
    expect(missing).toEqual([])
    expect(Object.keys(WITHOUT_METHOD).filter(each => covered.has(each) || !document.operations.has(each))).toEqual([])
  })

  it('sends and is answered what the description says', () => {
    const problems = exchanges.flatMap(each => {
      const { operation, problems: found } = document.judge(each)
      return found.map(problem => `${operation ?? `${each.method} ${each.path}`}: ${problem}`)
    })
    expect([...new Set(problems)]).toEqual([])
    expect(exchanges.length).toBeGreaterThan(50)
  })

  it.each(INTERFACES)('has in %s the fields of %s', (file, name, operation, ...path) => {
    const { properties = {}, required = [] } = document.schema(operation, path)
    const described = Object.keys(properties)
      .filter(field => field !== 'ok' && LEFT_OUT[`${name}.${field}`] === undefined)
      .map(field => (required.includes(field) ? field : `${field}?`))
    expect(described.length).toBeGreaterThan(1)
    expect(fieldsOf(file, name)).toEqual(described.sort())
  })

  it('would notice a request and an answer that are not as described', () => {
    const judge = (exchange: Partial<Exchange>) =>
      document.judge({
        method: 'get',
        path: '/status',
        query: {},
        sent: undefined,
        status: 200,
        answered: {},
        ...exchange,
      })
    expect(judge({ path: '/nowhere' }).operation).toBeNull()
    expect(judge({ query: { colour: 'red' } }).problems).toContain('the query parameter colour is not in the document')
    expect(judge({}).problems.join()).toContain('answer 200')
    const sent = { host: 5, colour: 'red' }
    const { problems } = judge({ method: 'post', path: '/account', sent, answered: { ok: true, more: 1 } })
    expect(problems).toContain('the field colour of the body is not in the document')
    expect(problems).toContain('the field more of the answer is not in the document')
    expect(problems.some(each => each.startsWith('body'))).toBe(true)
  })
})

/** The fields of an interface as its source has them, `?` behind those that may be absent. */
function fieldsOf(file: string, name: string): string[] {
  const source = readFileSync(`src/client/${file}.ts`, 'utf8')
  const [, block = ''] = new RegExp(`^export interface ${name} \\{\\n([\\s\\S]*?)^\\}`, 'm').exec(source) ?? []
  const fields = [...block.matchAll(/^ {2}(\w+\??):/gm)].map(match => match[1]!)
  // The answer of a test is `ok` or not, which is no mere sign of success.
  return fields.filter(field => field !== 'ok').sort()
}
