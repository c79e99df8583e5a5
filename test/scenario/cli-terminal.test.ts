/** The command line at a real terminal: questions, Ctrl-C, colours, width; and without one. */
import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { type CliInstance, openCliInstance } from '../support/cli-instance.js'
import { MAIN } from '../support/process.js'
import { opened } from '../support/scene.js'
import { startSink } from '../support/smtp-sink.js'
import { BACKSPACE, CTRL_C, ENTER, hasScript, openTerminal, type TerminalOptions } from '../support/terminal.js'

const PROGRAM = `'${process.execPath}' '${MAIN}'`

function atTerminal(shop: CliInstance, words: string, options: Omit<TerminalOptions, 'env'> = {}, env = {}) {
  return openTerminal(`exec ${PROGRAM} ${words}`, { ...options, env: { ...shop.env, ...env } })
}

async function openShop(): Promise<CliInstance> {
  const shop = await openCliInstance()
  await shop.line('shop tenants add acme')
  return shop
}

if (!hasScript) console.warn('skipped: the tests at a terminal need `script` of util-linux (Debian: bsdutils)')

describe.skipIf(!hasScript)('questions at a terminal', { timeout: 120_000 }, () => {
  it('make a tenant: an empty answer, one that is refused, a secret that is not shown', async () => {
    const shop = await openCliInstance()
    const terminal = atTerminal(shop, 'shop tenants add')
    await terminal.until('Id of the tenant')
    terminal.type(`a b${ENTER}`)
    await terminal.until('1 to 64 of A-Z a-z 0-9 _ . -')
    terminal.type(`${BACKSPACE.repeat(3)}acme${ENTER}`)
    await terminal.until('Name (may stay empty)')
    terminal.type(ENTER)
    await terminal.until('Base URL')
    terminal.type(`app.example${ENTER}`)
    await terminal.until('a URL that begins with http:// or https://')
    terminal.type(`${BACKSPACE.repeat(11)}https://app.example${ENTER}`)
    await terminal.until('How does the service log in there?')
    await terminal.until('user and password')
    terminal.type(ENTER)
    await terminal.until('Token')
    terminal.type(`the-secret-token${ENTER}`)
    await terminal.until(/API key \(shown this once\): \S+\n/)
    expect(await terminal.ended).toBe(0)
    expect(terminal.raw()).not.toContain('the-secret')
    expect(terminal.text()).toContain('▪▪▪▪')
    expect(JSON.parse((await shop.line('shop tenants show acme --json')).out)).toMatchObject({
      id: 'acme',
      client_base_url: 'https://app.example',
      client_auth: { method: 'bearer' },
    })
  })

  it('make an account: the provider searched, defaults taken with Enter, a wrong port refused, the login tested', async () => {
    const shop = await openShop()
    const sink = await opened(startSink({ auth: ['PLAIN'], users: { me: 'the-secret-password' } }), each =>
      each.close(),
    )
    const terminal = atTerminal(shop, 'shop acme accounts add')
    await terminal.until('Provider (type to search)')
    terminal.type('another')
    await terminal.until('(1 match)')
    terminal.type(ENTER)
    await terminal.until('Id of the account')
    terminal.type(ENTER)
    await terminal.until('SMTP server')
    terminal.type(`127.0.0.1${ENTER}`)
    await terminal.until('Port')
    terminal.type(`99999${ENTER}`)
    await terminal.until('a whole number from 1 to 65535')
    terminal.type(`${BACKSPACE.repeat(5)}${sink.port}${ENTER}`)
    await terminal.until('TLS')
    await terminal.until('never')
    terminal.type(ENTER)
    await terminal.until('without a user name none is tried')
    await terminal.until('User (may stay empty)')
    terminal.type(`me${ENTER}`)
    await terminal.until('Password')
    terminal.type(`the-secret-password${ENTER}`)
    await terminal.until('Limits are suggestions.')
    await terminal.until('Messages a minute')
    terminal.type(`60${ENTER}`)
    await terminal.until('Messages an hour')
    terminal.type(ENTER)
    await terminal.until('Messages a day')
    terminal.type(ENTER)
    await terminal.until('Test the login once it is saved?')
    terminal.type(ENTER)
    await terminal.until('account main is saved')
    await terminal.until('login works')
    expect(await terminal.ended).toBe(0)
    expect(terminal.raw()).not.toContain('the-secret')
    const account = JSON.parse((await shop.line('shop acme accounts show main --json')).out)
    expect(account).toMatchObject({ host: '127.0.0.1', port: sink.port, user: 'me', limit_per_minute: 60 })
    expect([account.use_tls, account.limit_per_hour, account.limit_per_day]).toEqual([undefined, undefined, undefined])
  })

  it('show what a provider fills in, and leave the account out when its login fails and nobody wants it', async () => {
    const shop = await openShop()
    const sink = await opened(startSink({ auth: ['PLAIN'], users: {} }), each => each.close())
    const flags = `--provider microsoft365 --host 127.0.0.1 --port ${sink.port} --tls never --user me --auth-method password`
    const terminal = atTerminal(shop, `shop acme accounts add ${flags}`)
    await terminal.until('Id of the account')
    terminal.type(`mail${ENTER}`)
    await terminal.until('Password')
    terminal.type(`wrong-one${ENTER}`)
    await terminal.until('30 messages a minute,')
    for (const limit of ['minute', 'hour', 'day']) {
      await terminal.until(`Messages a${limit === 'hour' ? 'n' : ''} ${limit} (0: no limit)`)
      if (limit === 'minute') await terminal.until('30')
      terminal.type(ENTER)
    }
    await terminal.until('Test the login')
    terminal.type(ENTER)
    await terminal.until(/The login failed: .*535/)
    await terminal.until('Keep the account all the same?')
    expect(JSON.parse((await shop.line('shop acme accounts show mail --json')).out)).toMatchObject({
      limit_per_minute: 30,
      limit_per_day: 10_000,
    })
    terminal.type('n')
    await terminal.until('Error: the login failed and the account was not kept')
    expect(await terminal.ended).toBe(1)
    expect((await shop.line('shop acme accounts show mail')).code).toBe(1)
  })

  it('are broken off with Ctrl-C at any of them: exit 130, nothing changed', async () => {
    const shop = await openShop()
    const sink = await opened(startSink({ auth: ['PLAIN'], users: {} }), each => each.close())
    const flags = `--provider other --host 127.0.0.1 --port ${sink.port} --tls never`
    const steps: readonly (readonly [question: string, answer: string])[] = [
      ['Id of the account', ENTER],
      ['User', `me${ENTER}`],
      ['Password', `wrong${ENTER}`],
      ['Messages a minute', ENTER],
      ['Messages an hour', ENTER],
      ['Messages a day', ENTER],
      ['Test the login', ENTER],
      // Here the account is saved already, and taken back.
      ['Keep the account', ''],
    ]
    for (const at of steps.keys()) {
      const terminal = atTerminal(shop, `shop acme accounts add ${flags}`)
      for (const [question, answer] of steps.slice(0, at)) {
        await terminal.until(question)
        terminal.type(answer)
      }
      await terminal.until(steps[at]![0])
      terminal.type(CTRL_C)
      await terminal.until('Error: broken off, nothing was changed')
      expect([steps[at]![0], await terminal.ended]).toEqual([steps[at]![0], 130])
    }
    expect(JSON.parse((await shop.line('shop acme accounts list --json')).out).accounts).toEqual([])
  })

  it('confirm a deletion only with a yes', async () => {
    const shop = await openShop()
    await shop.line('shop acme accounts add main --host smtp.example.com')
    const kept = atTerminal(shop, 'shop acme accounts delete main')
    await kept.until('Delete account main of acme? 0 waiting messages become errors.')
    kept.type(ENTER)
    await kept.until('Error: nothing was deleted')
    expect(await kept.ended).toBe(1)
    const gone = atTerminal(shop, 'shop acme accounts delete main')
    await gone.until('Delete account main of acme?')
    gone.type('y')
    await gone.until('account main is deleted')
    expect(await gone.ended).toBe(0)
  })
})

describe.skipIf(!hasScript)('what is shown at a terminal', { timeout: 60_000 }, () => {
  const coloured = /\x1b\[[0-9;]*m/

  it('has colours only there, and none where NO_COLOR or a dumb terminal says so', async () => {
    const shop = await openShop()
    await shop.line('shop acme accounts add main --host smtp.example.com')
    const shown = async (words: string, env = {}) => {
      const terminal = atTerminal(shop, words, {}, env)
      expect(await terminal.ended).toBe(0)
      return terminal
    }
    const there = await shown('shop acme accounts list')
    expect(there.raw()).toMatch(coloured)
    expect(there.text()).toContain('active')
    expect((await shown('shop acme accounts list', { NO_COLOR: '1' })).raw()).not.toMatch(coloured)
    expect((await shown('shop acme accounts list', { TERM: 'dumb' })).raw()).not.toMatch(coloured)
    expect((await shown('shop acme accounts list | cat')).raw()).not.toMatch(coloured)
  })

  it('has hints between the questions broken between words', async () => {
    const shop = await openShop()
    const asking = atTerminal(shop, 'shop acme accounts add --provider postmark --host h --port 25 --tls auto', {
      columns: 60,
    })
    await asking.until('Id of the account')
    asking.type(`second${ENTER}`)
    const hint = await asking.until('User')
    const lines = hint.slice(hint.indexOf('The server API token')).split('\n')
    expect(lines[0]).toBe('The server API token twice: as user and as password.')
    for (const line of lines) expect([...line].length).toBeLessThanOrEqual(60)
    asking.type(CTRL_C)
    expect(await asking.ended).toBe(130)
  })

  it('is cut to its width, and whole in a pipe', async () => {
    const shop = await openShop()
    const host = `smtp.${'long-name.'.repeat(8)}example.com`
    await shop.line(`shop acme accounts add main --host ${host}`)
    const narrow = atTerminal(shop, 'shop acme accounts list', { columns: 50 })
    expect(await narrow.ended).toBe(0)
    const lines = narrow.text().trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    for (const line of lines) expect([...line].length).toBeLessThanOrEqual(50)
    expect(lines[1]).toMatch(/^main +smtp\.long-\S+… .*active$/)
    const piped = atTerminal(shop, 'shop acme accounts list | cat', { columns: 50 })
    expect(await piped.ended).toBe(0)
    expect(piped.text()).toContain(`${host}:587`)
  })
})

describe('without a terminal', { timeout: 60_000 }, () => {
  const withoutTerminal = (shop: CliInstance, line: string) =>
    spawnSync('bash', ['-c', line], {
      env: { PATH: process.env.PATH, ...shop.env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })

  it('nothing is asked: exit 2 with the name of the flag', async () => {
    const shop = await openShop()
    // A service in this process could not answer while this waits.
    await shop.stop()
    const ask = (words: string) => {
      const { status, stdout, stderr } = withoutTerminal(shop, `${PROGRAM} ${words}`)
      return [status, stdout, stderr]
    }
    expect(ask('shop tenants add')).toEqual([2, '', 'Error: <tenant> is missing\n'])
    expect(ask('shop acme accounts add')).toEqual([
      2,
      '',
      'Error: <account> is missing: give an id and --host or --provider\n',
    ])
    expect(ask('shop acme accounts add main --host h --user me')).toEqual([
      2,
      '',
      'Error: --password-file is missing\n',
    ])
    expect(ask('shop tenants delete acme')).toEqual([2, '', 'Error: this needs a yes: add --yes\n'])
  })

  it('a reader that goes early ends a long answer quietly', async () => {
    const shop = await openShop()
    const ids = Array.from({ length: 300 }, (_, i) => `account-${i}`)
    const made = ids.map(id => shop.service!.call('POST', '/account', { id, tenant_id: 'acme', host: 'h.example' }))
    for (const { status } of await Promise.all(made)) expect(status).toBe(200)
    await shop.stop()
    const whole = withoutTerminal(shop, `${PROGRAM} shop acme accounts list --json`)
    // The premise: more than a pipe holds.
    expect(whole.stdout.length).toBeGreaterThan(100_000)
    expect(JSON.parse(whole.stdout).accounts).toHaveLength(300)
    const { stdout, stderr } = withoutTerminal(
      shop,
      `${PROGRAM} shop acme accounts list --json | head -c 1; echo " \${PIPESTATUS[*]}"`,
    )
    expect([stdout, stderr]).toEqual(['{ 0 0\n', ''])
  })
})
