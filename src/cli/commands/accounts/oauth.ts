/** The login with access tokens (OAuth2) on the command line: its flags, its questions, and what the API gets. */
import { type Command, Option } from 'commander'
import { type Ask, secretFromFile } from '../../ask.js'
import type { CliIo } from '../../context.js'
import type { AccountFlags } from './fields.js'
import type { Provider } from './providers.js'

/** Flags by their names in camel case. */
export interface OAuthFlags {
  readonly authMethod?: 'password' | 'oauth2'
  readonly oauthProvider?: string
  readonly oauthTenant?: string
  readonly oauthTokenUrl?: string
  readonly oauthGrant?: Grant
  readonly oauthClientId?: string
  readonly oauthClientSecretFile?: string
  readonly oauthRefreshTokenFile?: string
  readonly oauthScope?: string
  readonly oauthClientAuth?: string
  /** Typed unseen. */
  readonly oauthClientSecret?: string
  readonly oauthRefreshToken?: string
}

export type Grant = 'refresh_token' | 'client_credentials'

export function addOAuth(command: Command): Command {
  const choice = (flags: string, about: string, choices: string[]) =>
    command.addOption(new Option(flags, about).choices(choices))
  choice('--auth-method <how>', 'log in with a password (so it is at first) or with access tokens', [
    'password',
    'oauth2',
  ])
  choice('--oauth-provider <name>', 'whose tokens; or --oauth-token-url', ['google', 'microsoft'])
  command
    .option('--oauth-tenant <id>', 'directory of microsoft: its id or domain, or common, organizations, consumers')
    .option('--oauth-token-url <url>', 'token endpoint of another provider')
    .option('--oauth-client-id <id>', 'the registered application')
    .option('--oauth-client-secret-file <file>', 'file with its secret; - is standard input')
    .option('--oauth-refresh-token-file <file>', 'file with the refresh token; - is standard input')
  choice('--oauth-grant <type>', 'what tokens are asked for with (refresh_token)', [
    'refresh_token',
    'client_credentials',
  ])
  command.option('--oauth-scope <text>', 'scopes, where they are not those of the provider')
  return choice('--oauth-client-auth <how>', 'where the secret stands in a request (client_secret_post)', [
    'client_secret_post',
    'client_secret_basic',
  ])
}

/** It was said, or one of its settings was. */
export function wantsOAuth(flags: AccountFlags): boolean {
  if (flags.authMethod !== undefined) return flags.authMethod === 'oauth2'
  return Object.entries(flags).some(([name, value]) => name.startsWith('oauth') && value !== undefined)
}

/** Settings alone mean that it is wanted; an empty value sets one back. */
export async function oauthFields(
  io: Pick<CliIo, 'stdin'>,
  flags: AccountFlags,
): Promise<{ readonly auth_method?: string; readonly oauth2?: Readonly<Record<string, unknown>> }> {
  const secret = async (typed: string | undefined, file: string | undefined) =>
    file === undefined ? typed : secretFromFile(io, file)
  const given = {
    provider: flags.oauthProvider,
    tenant: flags.oauthTenant,
    token_url: flags.oauthTokenUrl,
    grant_type: flags.oauthGrant,
    client_id: flags.oauthClientId,
    client_secret: await secret(flags.oauthClientSecret, flags.oauthClientSecretFile),
    refresh_token: await secret(flags.oauthRefreshToken, flags.oauthRefreshTokenFile),
    scope: flags.oauthScope,
    client_auth_method: flags.oauthClientAuth,
  }
  const set = Object.entries(given).flatMap(([field, value]) => (value === undefined ? [] : [[field, value || null]]))
  return {
    auth_method: flags.authMethod ?? (set.length === 0 ? undefined : 'oauth2'),
    oauth2: set.length === 0 ? undefined : Object.fromEntries(set),
  }
}

/** With a password or with tokens: asked where the provider has both and the flags say neither. */
export async function askMethod(ask: Ask, { oauth }: Provider, given: AccountFlags): Promise<'password' | 'oauth2'> {
  if (wantsOAuth(given)) return 'oauth2'
  const isPassword = given.password !== undefined || given.passwordFile !== undefined
  if (isPassword || given.authMethod === 'password' || oauth === undefined) return 'password'
  return ask.choose(
    { flag: '--auth-method', label: 'Log in with', initial: oauth === 'microsoft' ? 'oauth2' : 'password' },
    [
      { value: 'password', label: 'a password', hint: oauth === 'google' ? 'an app password' : undefined },
      { value: 'oauth2', label: 'access tokens (OAuth2)', hint: 'of an application that you registered there' },
    ],
  )
}

export async function askOAuth(ask: Ask, { oauth }: Provider, given: AccountFlags): Promise<OAuthFlags> {
  await ask.tell('docs/oauth2.md tells how to register the application and get what is asked for now.')
  const grant = given.oauthGrant ?? (oauth === 'microsoft' ? await askGrant(ask) : 'refresh_token')
  const tenant =
    given.oauthTenant ??
    (oauth === 'microsoft'
      ? await ask.text({ flag: '--oauth-tenant', label: 'Directory (tenant) id or domain' })
      : undefined)
  const clientId =
    given.oauthClientId ?? (await ask.text({ flag: '--oauth-client-id', label: 'Id of the application (client id)' }))
  const needsSecret = grant === 'client_credentials'
  const clientSecret =
    given.oauthClientSecretFile === undefined
      ? await ask.secret({
          flag: '--oauth-client-secret-file',
          label: needsSecret ? 'Its secret' : 'Its secret (may stay empty)',
          optional: !needsSecret,
        })
      : undefined
  const refreshToken =
    grant === 'refresh_token' && given.oauthRefreshTokenFile === undefined
      ? await ask.secret({ flag: '--oauth-refresh-token-file', label: 'Refresh token' })
      : undefined
  return {
    authMethod: 'oauth2',
    oauthProvider: given.oauthProvider ?? (given.oauthTokenUrl === undefined ? oauth : undefined),
    oauthGrant: grant,
    oauthTenant: tenant,
    oauthClientId: clientId,
    oauthClientSecret: clientSecret || undefined,
    oauthRefreshToken: refreshToken,
  }
}

function askGrant(ask: Ask): Promise<Grant> {
  return ask.choose<Grant>({ flag: '--oauth-grant', label: 'The application acts', initial: 'refresh_token' }, [
    { value: 'refresh_token', label: 'for a user who agreed', hint: 'refresh token' },
    { value: 'client_credentials', label: 'by itself', hint: 'client credentials' },
  ])
}
