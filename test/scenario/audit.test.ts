/** The command log: who commanded what and with which answer, newest first, without a secret and without anyone's mail. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ADMIN_TOKEN, startTestService, type TestService } from '../support/service.js'
import { type SmtpSink, startSink } from '../support/smtp-sink.js'
import { many, tenant } from '../support/story.js'

const SECRETS = [
  'smtp-password-1',
  'imap-password-2',
  'bearer-token-3',
  'whsec_c2lnbmluZy1zZWNyZXQtNCBvZiAyNCBieXRlcw==',
  'body-of-the-mail-6',
]

describe.each(['sqlite', 'postgres'] as const)('the command log on %s', dialect => {
  let service: TestService
  let sink: SmtpSink
  let key: string

  beforeAll(async () => {
    service = await startTestService({ dialect })
    sink = await startSink()
    const [password, imap_password, token, signing, body] = SECRETS
    key = await tenant(service, 'acme', null, {
      client_auth: { method: 'bearer', token },
      signing_secrets: [signing],
    })
    await service.account(sink, { tenant_id: 'acme', password, imap_password, imap_host: 'imap.example' })
    await service.call(
      'POST',
      '/commands/add-messages',
      {
        messages: many(250, 'm', {
          from: 'a@example.com',
          to: 'private@example.net',
          subject: 'private subject',
          body,
          account_id: 'main',
        }),
        default_priority: 'low',
      },
      key,
    )
    await service.call('POST', '/commands/add-messages', { messages: [{ id: 'bad', from: 'a@example.com' }] }, key)
    await service.call('POST', '/commands/suspend', { batch_code: 'spring' }, key)
    await service.call('POST', '/commands/suspend?tenant_id=nobody')
    await service.call('POST', '/tenant/acme/api-key')
    await service.call('GET', '/messages?tenant_id=acme')
    await service.call('DELETE', '/account/main?tenant_id=acme')
  })
  afterAll(async () => {
    await service.stop()
    await sink.close()
  })

  const log = async (query = '') => (await service.call('GET', `/command-log${query}`)).body

  it('has each state-changing command once, newest first, with tenant and answer', async () => {
    const { commands, total } = await log()
    expect(total).toBe(commands.length)
    expect(commands.map((each: any) => [each.endpoint, each.tenant_id, each.response_status])).toEqual([
      ['deleteAccount', 'acme', 200],
      ['createApiKey', 'acme', 200],
      ['suspend', 'nobody', 400],
      ['suspend', 'acme', 200],
      ['addMessages', 'acme', 400],
      ['addMessages', 'acme', 200],
      ['addAccount', 'acme', 200],
      ['addTenant', undefined, 200],
    ])
    const ids = commands.map((each: any) => each.id)
    expect(ids).toEqual([...ids].sort((a, b) => b - a))
  })

  it('tells of submissions count, first hundred ids and a digest', async () => {
    const { commands } = await log('?endpoint_filter=addmessages')
    expect(commands).toHaveLength(2)
    const ids = many(250, 'm').map(each => each.id as string)
    const digest = createHash('sha256')
    for (const id of ids) digest.update(`${id}\n`)
    expect(commands[1].payload).toEqual({
      count: 250,
      ids: ids.slice(0, 100),
      digest: `sha256:${digest.digest('hex')}`,
      default_priority: 'low',
    })
  })

  it('holds no secret, no key and no mail, neither in its answers nor in the database, and neither does the log', async () => {
    const { body: exported } = await service.call('GET', '/command-log/export')
    const rows = await service.service.db!.read({ sql: 'select payload from command_log', params: [] })
    const texts = [JSON.stringify(await log()), JSON.stringify(exported), JSON.stringify(rows), service.logs.join('\n')]
    for (const text of texts) {
      for (const secret of [...SECRETS, key, ADMIN_TOKEN, 'private@example.net', 'private subject'])
        expect(text).not.toContain(secret)
    }
    const [account] = (await log('?endpoint_filter=addAccount')).commands
    expect(account.payload).toMatchObject({
      id: 'main',
      password: '***',
      imap_password: '***',
      imap_host: 'imap.example',
    })
    const [added] = (await log('?endpoint_filter=addTenant')).commands
    expect(added.payload).toMatchObject({ client_auth: { method: 'bearer', token: '***' }, signing_secrets: ['***'] })
  })

  it('filters by tenant, time and name, and exports oldest first', async () => {
    const { commands } = await log('?tenant_id=acme&limit=2')
    expect(commands.map((each: any) => each.endpoint)).toEqual(['deleteAccount', 'createApiKey'])
    const now = Math.floor(Date.now() / 1000)
    expect((await log(`?since_ts=${now + 60}`)).commands).toEqual([])
    expect((await log(`?until_ts=${now + 60}`)).total).toBe(8)
    expect((await log('?endpoint_filter=suspend')).total).toBe(2)
    const { body } = await service.call('GET', '/command-log/export?tenant_id=acme')
    expect(body.commands.map((each: any) => each.endpoint)).toEqual([
      'addAccount',
      'addMessages',
      'addMessages',
      'suspend',
      'createApiKey',
      'deleteAccount',
    ])
    expect(Object.keys(body.commands[0]).sort()).toEqual(['command_ts', 'endpoint', 'payload', 'tenant_id'])
  })

  it('has many commands of a moment each once', async () => {
    const ids = Array.from({ length: 200 }, (_, i) => `crowd-${i}`)
    const removing = ids.map(id => service.call('POST', '/commands/delete-messages', { ids: [id] }))
    expect((await Promise.all(removing)).map(({ status }) => status)).toEqual(ids.map(() => 200))
    const { commands } = await log('?limit=1000')
    const logged = commands.flatMap(({ payload }: { payload: { ids?: string[] } }) => payload.ids ?? [])
    expect(logged.filter((id: string) => id.startsWith('crowd-')).toSorted()).toEqual(ids.toSorted())
  })
})
