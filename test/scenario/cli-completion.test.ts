/** Completion: what can follow the words typed so far, and the shells that ask for it, each as it is installed. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CliInstance, openCliInstance } from '../support/cli-instance.js'
import { createPostgresDatabase } from '../support/postgres-server.js'
import { MAIN } from '../support/process.js'
import { hasScript, openTerminal, type Terminal } from '../support/terminal.js'

const has = (shell: string) => spawnSync(shell, ['-c', 'exit 0']).status === 0
const hasZsh = has('zsh')
const hasFish = has('fish')
for (const [shell, there] of [
  ['zsh', hasZsh && hasScript],
  ['fish', hasFish],
] as const) {
  if (!there) console.warn(`skipped: completion in ${shell}, which is not installed here`)
}

async function openShop(env: Record<string, string> = {}): Promise<CliInstance> {
  const shop = await openCliInstance(env)
  await shop.line('shop tenants add acme')
  await shop.line('shop tenants add acorn')
  await shop.line('shop acme accounts add main --host smtp.example.com')
  await shop.line('shop acme accounts add mail --host smtp.example.com')
  return shop
}

/** Values in the order told. */
async function candidates(shop: CliInstance, ...words: string[]): Promise<string[]> {
  const { code, out, err } = await shop.run(['complete', '--', ...words])
  expect([code, err]).toEqual([0, ''])
  return out.split('\n').flatMap(line => (line === '' ? [] : [line.split('\t')[0]!]))
}

/** On a busy machine ids may come too late for a key; then there are none. */
const PATIENT = { timeout: 20_000 }

const STATES = ['running instance', 'stopped instance', 'stopped instance on PostgreSQL']

describe.each(STATES)('the candidates of a %s', { timeout: 60_000 }, state => {
  it('are commands, instances, tenants, accounts, options and their values', async () => {
    const shop = await openShop(state.includes('PostgreSQL') ? { GMP_DB_PATH: await createPostgresDatabase() } : {})
    if (state.startsWith('stopped')) await shop.stop()
    const following = (...words: string[]) => candidates(shop, ...words)
    expect(await following('sh')).toEqual(['shop'])
    expect(await following('st')).toEqual(['start', 'stop', 'status'])
    expect(await following('stop', '')).toEqual(['shop'])
    expect(await following('shop', 'ten')).toEqual(['tenants'])
    await expect
      .poll(() => following('shop', 'ac'), PATIENT)
      .toEqual(expect.arrayContaining(['accounts', 'acme', 'acorn']))
    await expect.poll(() => following('shop', 'aco'), PATIENT).toEqual(['acorn'])
    expect(await following('shop', 'acme', 'accounts', 'a')).toEqual(['add'])
    await expect.poll(() => following('shop', 'acme', 'accounts', 'show', 'ma'), PATIENT).toEqual(['mail', 'main'])
    expect(await following('shop', 'acorn', 'accounts', 'show', '')).toEqual([])
    await expect.poll(() => following('shop', '--tenant', 'aco'), PATIENT).toEqual(['acorn'])
    await expect
      .poll(() => following('shop', '--tenant', 'acme', 'accounts', 'show', 'mai'), PATIENT)
      .toEqual(['mail', 'main'])
    await expect.poll(() => following('shop', 'tenants', 'show', 'ac'), PATIENT).toEqual(['acme', 'acorn'])
    // A new one is not called like one that is there.
    expect(await following('shop', 'acme', 'accounts', 'add', 'ma')).toEqual([])
    expect(await following('shop', 'acme', 'accounts', 'list', '--p')).toEqual(['--paused'])
    expect(await following('shop', 'acme', 'accounts', 'list', '--paused', '--')).toEqual(['--json', '--help'])
    expect(await following('shop', 'acme', 'accounts', 'add', '--provider', 'mail')).toEqual(['mailgun', 'mailgun-eu'])
    expect(await following('shop', 'acme', 'accounts', 'add', '--provider=mailgun-')).toEqual(['--provider=mailgun-eu'])
    expect(await following('shop', 'acme', 'accounts', 'add', '--password-file', '')).toEqual([':files'])
    expect(await following('completion', '')).toEqual(['bash', 'zsh', 'fish'])
    expect(await following('com')).toEqual(['completion'])
  })
})

it('nothing is said where nothing can be known', async () => {
  const shop = await openShop()
  await shop.stop()
  writeFileSync(join(shop.folder, 'mail_service.db'), 'no database')
  expect(await candidates(shop, 'shop', 'acc')).toEqual(['accounts'])
  expect(await candidates(shop, 'shop', 'acme', 'accounts', 'show', '')).toEqual([])
  expect(await candidates(shop, 'nobody', 'acc')).toEqual(['accounts'])
  writeFileSync(join(shop.folder, 'config.ini'), '[nonsense\n')
  expect(await candidates(shop, 'shop', 'acc')).toEqual(['accounts'])
})

describe('shells', { timeout: 60_000 }, () => {
  let shop: CliInstance
  let env: Record<string, string>

  async function openShell(): Promise<void> {
    shop = await openShop()
    // A shell run by this process waits for its end, so the service could not answer meanwhile.
    await shop.stop()
    const bin = join(shop.folder, 'bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'mail-proxy'), `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`, { mode: 0o755 })
    writeFileSync(join(shop.folder, 'secret-one.txt'), '')
    writeFileSync(join(shop.folder, 'secret-two.txt'), '')
    env = { ...shop.env, PATH: `${bin}:${process.env.PATH}`, TERM: 'xterm', LANG: 'C.UTF-8' }
  }

  const run = (shell: string, args: string[]) => {
    const { stdout, stderr, status } = spawnSync(shell, args, { env, cwd: shop.folder, encoding: 'utf8' })
    expect([status, stderr]).toEqual([0, ''])
    return stdout.trimEnd().split('\n')
  }

  it('bash: COMPREPLY holds what can follow, also behind = and for files', async () => {
    await openShell()
    const following = (...words: string[]) => {
      const quoted = words.map(word => `'${word}'`).join(' ')
      const script = `source <(mail-proxy completion bash)
        complete -p mail-proxy
        COMP_WORDS=(mail-proxy ${quoted}); COMP_CWORD=${words.length}; _mail_proxy
        printf '%s\\n' "\${COMPREPLY[@]}"`
      const [registered, ...reply] = run('bash', ['--norc', '-c', script])
      expect(registered).toBe('complete -F _mail_proxy mail-proxy')
      return reply
    }
    expect(following('sh')).toEqual(['shop'])
    expect(following('shop', 'ten')).toEqual(['tenants'])
    expect(following('shop', 'acme', 'accounts', 'a')).toEqual(['add'])
    expect(following('shop', 'acme', 'accounts', 'list', '--')).toEqual(['--paused', '--json', '--help'])
    await expect.poll(() => following('shop', 'acme', 'accounts', 'show', 'ma'), PATIENT).toEqual(['mail', 'main'])
    expect(following('shop', 'acme', 'accounts', 'add', '--provider', '=', 'mailgun-')).toEqual(['mailgun-eu'])
    expect(following('shop', 'acme', 'accounts', 'add', '--tls', '=')).toEqual(['always', 'auto', 'never'])
    expect(following('shop', 'acme', 'accounts', 'add', '--password-file', 'sec').toSorted()).toEqual([
      'secret-one.txt',
      'secret-two.txt',
    ])
  })

  it.skipIf(!hasFish)('fish: candidates with what they are', async () => {
    await openShell()
    const following = (line: string) => {
      const script = `mail-proxy completion fish | source; complete -C '${line}'`
      return run('fish', ['--no-config', '-c', script])
    }
    expect(following('mail-proxy sh')).toEqual(['shop\tinstance'])
    expect(following('mail-proxy shop acme accounts a')).toEqual([
      'add\ta new account; without an id, everything is asked for',
    ])
    await expect
      .poll(() => following('mail-proxy shop acme accounts show '), PATIENT)
      .toEqual(['mail\taccount', 'main\taccount'])
    expect(following('mail-proxy shop acme accounts list --p')).toEqual(['--paused\tonly those that are paused'])
    expect(following('mail-proxy shop acme accounts add --provider=mailgun-')).toEqual(['--provider=mailgun-eu'])
    expect(following('mail-proxy shop acme accounts add --password-file sec').map(each => each.split('\t')[0])).toEqual(
      ['secret-one.txt', 'secret-two.txt'],
    )
  })

  it.skipIf(!hasZsh || !hasScript)('zsh: the word is completed at the key', async () => {
    await openShell()
    const terminal = openZsh('compinit -u -D; source <(mail-proxy completion zsh)')
    await terminal.until('it is ready')
    terminal.type('mail-proxy sh\t')
    await terminal.until(/>> .*mail-proxy shop $/)
    terminal.type('ten\t')
    await terminal.until(/tenants $/)
    terminal.type('\x15mail-proxy shop acme accounts show \t')
    // First what both have in common, then both.
    await terminal.until('accounts show mai')
    terminal.type('\t')
    await terminal.until(/ma(il|in) +ma(il|in) +-- account/)
    terminal.type('\x15mail-proxy shop acme accounts add --password-file secret-o\t')
    await terminal.until('secret-one.txt')
    terminal.type('\x15exit\r')
    expect(await terminal.ended).toBe(0)
  })

  it.skipIf(!hasZsh || !hasScript)('zsh: the script works from a folder in $fpath too', async () => {
    await openShell()
    const terminal = openZsh('mail-proxy completion zsh > bin/_mail-proxy; fpath=($PWD/bin $fpath); compinit -u -D')
    await terminal.until('it is ready')
    for (const _ of ['loaded', 'called again']) {
      terminal.type('mail-proxy sh\t')
      await terminal.until(/mail-proxy shop $/)
      terminal.type('\x15')
    }
    terminal.type('exit\r')
    expect(await terminal.ended).toBe(0)
  })

  function openZsh(setup: string): Terminal {
    const terminal = openTerminal('exec zsh -f -i', { env: { ...env, PS1: '>> ', HOME: shop.folder } })
    terminal.type(`cd '${shop.folder}'; autoload -Uz compinit; ${setup}\r`)
    terminal.type('print "it "is ready\r')
    return terminal
  }
})
