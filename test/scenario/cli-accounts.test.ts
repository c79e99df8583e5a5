/** `accounts …` on the command line: the same answers whether the instance runs or not. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CliInstance, openCliInstance } from '../support/cli-instance.js'
import { opened } from '../support/scene.js'
import { type SinkOptions, startSink } from '../support/smtp-sink.js'

async function openShop(state: string): Promise<CliInstance> {
  const shop = await openCliInstance()
  await shop.line('shop tenants add acme')
  if (state === 'stopped') await shop.stop()
  return shop
}

const sink = (options: SinkOptions = {}) => opened(startSink(options), each => each.close())

// A command on a stopped instance loads the whole service each time.
describe.each(['running', 'stopped'])('accounts of a %s instance', { timeout: 120_000 }, state => {
  it('are added from flags, listed, shown, changed, paused, resumed and deleted', async () => {
    const shop = await openShop(state)
    const { run, line } = shop
    expect(await line('shop acme accounts list')).toEqual({
      code: 0,
      out: 'acme has no account; `mail-proxy shop acme accounts add` makes one\n',
      err: '',
    })
    const added = await line('shop acme accounts add main --host smtp.example.com --port 2525 --limit-per-hour 100')
    expect(added).toEqual({
      code: 0,
      out: 'account main is saved: smtp.example.com:2525\n`mail-proxy shop acme accounts test main` tries its login\n',
      err: '',
    })
    expect((await line('shop acme accounts list')).out).toBe(
      [
        'ACCOUNT  HOST                   USER  LIMITS    STATE',
        'main     smtp.example.com:2525  -     100/hour  active',
        '',
      ].join('\n'),
    )
    const listed = JSON.parse((await line('shop accounts list --json')).out)
    expect(listed.accounts).toMatchObject([{ id: 'main', tenant_id: 'acme', limit_per_hour: 100 }])

    expect((await run(['shop', 'acme', 'accounts', 'pause', 'main', '--reason', 'Moving\x1b[2J house'])).code).toBe(1)
    expect((await run(['shop', 'acme', 'accounts', 'pause', 'main', '--reason', 'Moving house'])).code).toBe(0)
    expect((await line('shop acme accounts list --paused')).out).toMatch(/paused: Moving house\n$/)
    expect((await line('shop acme accounts show main')).out).toMatch(
      /^state +paused\nreason +Moving house\npaused since +\d{4}-.+ by an operator\n/m,
    )
    expect((await line('shop acme accounts resume main')).out).toBe('account main sends again\n')
    expect((await line('shop acme accounts list --paused')).out).toBe('no account is paused\n')

    const changed = await run(['shop', 'acme', 'accounts', 'update', 'main', '--limit-per-hour', '', '--tls', 'always'])
    expect(changed).toEqual({ code: 0, out: 'account main is changed\n', err: '' })
    const shown = JSON.parse((await line('shop acme accounts show main --json')).out)
    expect(shown).toMatchObject({ id: 'main', use_tls: true, host: 'smtp.example.com' })
    expect(shown.limit_per_hour).toBeUndefined()

    expect(await line('shop acme accounts delete main --yes')).toEqual({
      code: 0,
      out: 'account main is deleted\n',
      err: '',
    })
    expect(await line('shop acme accounts show main')).toEqual({
      code: 1,
      out: '',
      err: "Error: Account 'main' not found\n",
    })
  })

  it('test their login: the conversation without secrets, exit 1 when it is refused', async () => {
    const shop = await openShop(state)
    const server = await sink({ auth: ['PLAIN'], users: { me: 'the-right-one' } })
    const at = ['--host', '127.0.0.1', '--port', String(server.port), '--user', 'me', '--tls', 'never']
    const password = join(shop.folder, 'password.txt')
    writeFileSync(password, 'the-right-one\n')
    const good = await shop.run([
      'shop',
      'acme',
      'accounts',
      'add',
      'main',
      ...at,
      '--password-file',
      password,
      '--test',
    ])
    expect(good).toMatchObject({ code: 0, err: '' })
    expect(good.out).toMatch(/^account main is saved: 127\.0\.0\.1:\d+\nS: 220 .*\nC: EHLO [\s\S]*\nlogin works\n$/)

    expect(
      (await shop.run(['shop', 'acme', 'accounts', 'update', 'main', '--password-file', '-'], 'a-wrong-one')).code,
    ).toBe(0)
    const bad = await shop.line('shop acme accounts test main')
    expect(bad).toMatchObject({ code: 1, err: '' })
    expect(bad.out).toMatch(/C: AUTH PLAIN \*\*\*\nS: 535 [\s\S]*\nfailed: .*535/)
    const told = JSON.parse((await shop.line('shop acme accounts test main --json')).out)
    expect(told).toMatchObject({ ok: false, error: expect.stringContaining('535') })
    expect(`${good.out}${bad.out}`).not.toMatch(/the-right-one|a-wrong-one/)
    expect(server.messages).toEqual([])
  })

  it('take what a provider fills in, and flags before it', async () => {
    const shop = await openShop(state)
    const filled = await shop.line(
      'shop acme accounts add mail --provider microsoft365 --user me@example.com --password pw --limit-per-day 500 --json',
    )
    expect(JSON.parse(filled.out)).toMatchObject({
      id: 'mail',
      host: 'smtp.office365.com',
      port: 587,
      use_tls: true,
      limit_per_minute: 30,
      limit_per_day: 500,
    })
    expect(filled.out).not.toContain('"pw"')
    const text = await shop.line(
      'shop acme accounts add bulk --provider ses --region eu-west-1 --user AKIA --password pw',
    )
    expect(text.out).toMatch(/^account bulk is saved: email-smtp\.eu-west-1\.amazonaws\.com:587\n/)
    const shown = JSON.parse((await shop.line('shop acme accounts show mail --json')).out)
    expect(shown).toMatchObject({ limit_per_minute: 30, limit_per_day: 500, use_tls: true, user: 'me@example.com' })
    const key = await shop.line('shop acme accounts add grid --provider sendgrid --password SG.key')
    expect(key.code).toBe(0)
    expect(JSON.parse((await shop.line('shop acme accounts show grid --json')).out).user).toBe('apikey')
  })

  it('say before a deletion how many messages become errors', async () => {
    const shop = await openCliInstance()
    await shop.line('shop tenants add acme')
    await shop.line('shop acme accounts add main --host 127.0.0.1 --port 1 --tls never')
    await shop.line('shop acme accounts pause main')
    await shop.service!.send(...['a', 'b'].map(id => ({ id, tenant_id: 'acme', account_id: 'main' })), {
      id: 'c',
      tenant_id: 'acme',
      account_id: 'main',
    })
    if (state === 'stopped') await shop.stop()
    expect(await shop.line('shop acme accounts delete main')).toEqual({
      code: 2,
      out: '',
      err: 'Error: this needs a yes: add --yes\n',
    })
    expect(await shop.line('shop acme accounts delete main --yes --json')).toEqual({
      code: 0,
      out: '{"id":"main","tenant_id":"acme","deleted":true,"waiting_messages":3}\n',
      err: '',
    })
  })

  it('refuse what makes no sense, with the name of the flag', async () => {
    const { run, line } = await openShop(state)
    const usage = async (text: string, message: string) =>
      expect([text, await line(text)]).toEqual([text, { code: 2, out: '', err: `Error: ${message}\n` }])
    await usage('shop tenants key acme --revoke --revoke-old', '--revoke and --revoke-old do not go together')
    await usage('shop acme accounts add', '<account> is missing: give an id and --host or --provider')
    await usage('shop acme accounts add main', '--host is missing, or --provider')
    await usage('shop acme accounts add main --host h --user me', '--password-file is missing')
    await usage('shop acme accounts add main --provider ses --user u', '--region is missing, as in eu-west-1')
    await usage('shop acme accounts update main', 'nothing to change was given; see --help')
    await usage(
      'shop acme accounts update main --password a --password-file b',
      '--password and --password-file exclude each other',
    )
    // As parts of a path they would name something else.
    const odd = 'an id cannot be empty, "." or ".."'
    expect(await run(['shop', 'acme', 'accounts', 'test', ''])).toMatchObject({ code: 2, err: `Error: ${odd}\n` })
    await usage('shop acme accounts delete .. --yes', odd)
    const choice = await line('shop acme accounts add main --provider hotmail')
    expect(choice).toMatchObject({ code: 2, out: '' })
    expect(choice.err).toMatch(/^Error: option '--provider <name>' argument 'hotmail' is invalid.*gmail.*\n$/)

    const failed = async (text: string, message: RegExp) => {
      const { code, out, err } = await line(text)
      expect([text, code, out]).toEqual([text, 1, ''])
      expect(err).toMatch(message)
    }
    await failed('shop acme accounts add main --host h --port http', /^Error: .*port.*\n$/)
    await failed('shop nobody accounts list', /^Error: Tenant 'nobody' not found\n$/)
    await failed('shop nobody accounts add main --host h', /^Error: Tenant 'nobody' not found\n$/)
    await line('shop acme accounts add main --host h')
    await failed(
      'shop acme accounts add main --host h',
      /^Error: account main is there already; `accounts update main`/,
    )
    await failed('shop acme accounts update other --port 25', /^Error: Account 'other' not found\n$/)
    expect((await run(['shop', 'acme', 'accounts', 'update', 'main', '--host', 'a b'])).err).toMatch(/^Error: .*host/)
  })
})
