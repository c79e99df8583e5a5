import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import type { Ask } from '../../ask.js'
import { accountFields } from './fields.js'
import { askAccount } from './questions.js'

/** Answers by flag; Enter where none is given. At a real terminal: test/scenario/cli-terminal.test.ts. */
function answering(answers: Readonly<Record<string, string>>): { ask: Ask; asked: string[] } {
  const asked: string[] = []
  const answer = async ({ flag, initial, optional, check }: Parameters<Ask['text']>[0]) => {
    asked.push(flag)
    const text = answers[flag] ?? initial ?? ''
    const problem = text === '' ? (optional ? undefined : 'this is needed') : check?.(text)
    if (problem !== undefined) throw new Error(`${flag}: ${problem}`)
    return text
  }
  const ask: Ask = {
    possible: true,
    text: answer,
    secret: answer,
    choose: async (question, choices) => {
      const value = await answer({ ...question, initial: question.initial ?? choices[0]!.value })
      return choices.find(each => each.value === value)!.value
    },
    confirm: async (_question, flag) => {
      asked.push(flag)
      return true
    },
    tell: async () => {},
  }
  return { ask, asked }
}

const io = { stdin: Readable.from([]) }

it('Gmail asks for server, user and password, and suggests its limits', async () => {
  const { ask, asked } = answering({
    '--provider': 'gmail',
    '--user': 'me@gmail.com',
    '--password-file': 'app-password',
  })
  const { id, flags, test } = await askAccount(ask, {}, [])
  expect(asked).toEqual([
    '--provider',
    '<account>',
    '--host',
    '--port',
    '--tls',
    '--user',
    '--auth-method',
    '--password-file',
    '--limit-per-minute',
    '--limit-per-hour',
    '--limit-per-day',
    '--test',
  ])
  expect([id, test]).toEqual(['main', true])
  expect(await accountFields(io, flags)).toEqual({
    host: 'smtp.gmail.com',
    port: '587',
    use_tls: true,
    user: 'me@gmail.com',
    password: 'app-password',
    limit_per_minute: '0',
    limit_per_hour: '0',
    limit_per_day: '500',
  })
})

it('Microsoft 365 takes OAuth2 at Enter, and asks for what its grant needs', async () => {
  const login = { '--user': 'me@example.com', '--oauth-tenant': 'example.com', '--oauth-client-id': 'an-id' }
  const forUser = answering({ ...login, '--provider': 'microsoft365', '--oauth-refresh-token-file': 'a-token' })
  const { flags } = await askAccount(forUser.ask, {}, [])
  expect(forUser.asked).not.toContain('--password-file')
  expect(await accountFields(io, flags)).toMatchObject({
    auth_method: 'oauth2',
    oauth2: {
      provider: 'microsoft',
      tenant: 'example.com',
      grant_type: 'refresh_token',
      client_id: 'an-id',
      refresh_token: 'a-token',
    },
    user: 'me@example.com',
  })
  const byItself = answering({
    ...login,
    '--provider': 'microsoft365',
    '--oauth-grant': 'client_credentials',
    '--oauth-client-secret-file': 'a-secret',
  })
  const fields = await accountFields(io, (await askAccount(byItself.ask, {}, [])).flags)
  expect(byItself.asked).not.toContain('--oauth-refresh-token-file')
  expect(fields.oauth2).toEqual({
    provider: 'microsoft',
    tenant: 'example.com',
    grant_type: 'client_credentials',
    client_id: 'an-id',
    client_secret: 'a-secret',
  })
})

it('what the flags say is not asked; an id that is taken is no suggestion', async () => {
  const given = {
    provider: 'ses',
    region: 'eu-west-1',
    port: '2587',
    user: 'AKIA',
    passwordFile: '-',
    limitPerDay: '9',
  }
  const { ask, asked } = answering({ '<account>': 'second' })
  const { id, flags } = await askAccount(ask, given, ['main'])
  expect(asked).toEqual(['<account>', '--host', '--tls', '--limit-per-minute', '--limit-per-hour', '--test'])
  expect(id).toBe('second')
  expect(await accountFields({ stdin: Readable.from(['the-password\n']) }, flags)).toMatchObject({
    host: 'email-smtp.eu-west-1.amazonaws.com',
    port: '2587',
    password: 'the-password',
    limit_per_day: '9',
    max_recipients_per_transaction: '50',
  })
  await expect(askAccount(answering({ '<account>': 'main' }).ask, given, ['main'])).rejects.toThrow('one already')
})

it('settings of OAuth2 alone mean that it is wanted, with the provider’s tokens', async () => {
  const flags = { oauthClientId: 'an-id', oauthScope: '' }
  expect(await accountFields(io, flags)).toEqual({ auth_method: 'oauth2', oauth2: { client_id: 'an-id', scope: null } })
  expect(await accountFields(io, { authMethod: 'password' })).toEqual({ auth_method: 'password' })
  await expect(accountFields(io, { passwordFile: '-', oauthRefreshTokenFile: '-' })).rejects.toThrow(
    'only one secret can come from standard input',
  )
})
