/** `mail-proxy <instance> <tenant> accounts add`: from flags, or asked for step by step; its login tested on demand. */
import type { Command } from 'commander'
import { withApi } from '../../api.js'
import { type Ask, createAsk } from '../../ask.js'
import { type TenantPlace, withExamples, withJson } from '../../command.js'
import { CliError, ExitWith, UsageError } from '../../errors.js'
import { show } from '../../output/show.js'
import { printable } from '../../output/text.js'
import { accountExists, deleteAccount, getAccount, getAccounts, getTenant, testLogin } from './calls.js'
import { type AccountFlags, accountFields, addAccountFields, addProvider, filledBy, providerOf } from './fields.js'
import { wantsOAuth } from './oauth.js'
import type { Provider } from './providers.js'
import { type AskedAccount, askAccount } from './questions.js'
import { type Account, type LoginTest, limitsOf, loginText } from './text.js'

interface Options extends AccountFlags {
  readonly test?: boolean
  readonly json?: boolean
}

export function addAccountAdd(accounts: Command, place: TenantPlace): void {
  const { io, instance, tenant } = place
  const command = addAccountFields(addProvider(accounts.command('add')))
    .description('a new account; without an id, everything is asked for')
    .argument('[account]', 'id of the account: 1 to 64 of A-Z a-z 0-9 _ . -')
    .option('--test', 'log in once it is saved; exit 1 when that fails')
    .action(async (given: string | undefined, flags: Options) => {
      const ask = createAsk(io)
      const asked = given === undefined ? await askWhole(ask, place, flags) : await complete(ask, given, flags)
      const { account, test } = await save(place, asked, await accountFields(io, asked.flags))
      if (test?.ok === false && given === undefined) await keepOrRemove(ask, place, asked.id, test)
      show(io, flags, { ...account, test }, () => savedText(place, account, providerOf(asked.flags), test))
      if (test?.ok === false) throw new ExitWith(1)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} ${tenant} accounts add`,
    `mail-proxy ${instance} ${tenant} accounts add main --provider gmail --user me@gmail.com --password-file secret.txt`,
    `mail-proxy ${instance} ${tenant} accounts add office --provider microsoft365 --user me@example.com --oauth-tenant example.com --oauth-client-id 11111111-2222-3333-4444-555555555555 --oauth-refresh-token-file token.txt`,
    `mail-proxy ${instance} ${tenant} accounts add bulk --provider ses --region eu-west-1 --user AKIA123 --password-file secret.txt`,
    `mail-proxy ${instance} ${tenant} accounts add local --host 192.0.2.10 --port 25 --tls auto --test`,
  ])
}

async function askWhole(ask: Ask, { io, instance, tenant }: TenantPlace, flags: Options): Promise<AskedAccount> {
  if (!ask.possible) throw new UsageError('<account> is missing: give an id and --host or --provider')
  // First of all, so that no answer is typed in vain.
  const there = await withApi(io, instance, api => getAccounts(api, tenant))
  return askAccount(
    ask,
    flags,
    there.map(each => each.id),
  )
}

/** What was given, with what the provider knows. A password that is missing is asked for where somebody is there. */
async function complete(ask: Ask, id: string, given: Options): Promise<AskedAccount> {
  const flags = filledBy(providerOf(given), given)
  if (flags.host === undefined) throw new UsageError('--host is missing, or --provider')
  const hasPassword = flags.password !== undefined || flags.passwordFile !== undefined
  const needsPassword = flags.user !== undefined && !hasPassword && !wantsOAuth(flags)
  const password = needsPassword ? await ask.secret({ flag: '--password-file', label: 'Password' }) : flags.password
  return { id, flags: { ...flags, password }, test: given.test ?? false }
}

async function save(
  { io, instance, tenant }: TenantPlace,
  { id, test }: AskedAccount,
  fields: Readonly<Record<string, unknown>>,
): Promise<{ readonly account: Account; readonly test: LoginTest | undefined }> {
  return withApi(io, instance, async api => {
    await getTenant(api, tenant)
    if (await accountExists(api, tenant, id)) {
      throw new CliError(`account ${id} is there already; \`accounts update ${id}\` changes it`)
    }
    await api.call('POST', '/account', { body: { id, tenant_id: tenant, ...fields } })
    const account = await getAccount(api, tenant, id)
    return { account, test: test ? await testLogin(api, tenant, id) : undefined }
  })
}

/** Whoever breaks off here is left with nothing changed, as at every question. */
async function keepOrRemove(
  ask: Ask,
  { io, instance, tenant }: TenantPlace,
  id: string,
  { error = 'unknown' }: LoginTest,
): Promise<void> {
  const remove = () => withApi(io, instance, api => deleteAccount(api, tenant, id))
  await ask.tell(printable(`The login failed: ${error}`))
  let keeps: boolean
  try {
    keeps = await ask.confirm('Keep the account all the same?', '--test', { initial: true })
  } catch (error) {
    await remove()
    throw error
  }
  if (keeps) return
  await remove()
  throw new CliError('the login failed and the account was not kept')
}

function savedText(
  { io, instance, tenant }: TenantPlace,
  account: Account,
  provider: Provider | undefined,
  test: LoginTest | undefined,
): string {
  const { id, host, port } = account
  const limits = limitsOf(account)
  const lines = [
    `account ${id} is saved: ${host}:${port}`,
    ...(limits === '' || provider === undefined ? [] : [`limits ${limits}; suggested: ${provider.limitsFrom}`]),
    ...(test === undefined ? [`\`mail-proxy ${instance} ${tenant} accounts test ${id}\` tries its login`] : []),
  ]
  return `${lines.join('\n')}\n${test === undefined ? '' : loginText(io, test)}`
}
