/** `mail-proxy <instance> <tenant> accounts …`: the SMTP accounts of a tenant; without a tenant, the list of all. */
import type { Command } from 'commander'
import { withApi } from '../../api.js'
import { createAsk } from '../../ask.js'
import { type Place, type TenantPlace, withExamples, withJson } from '../../command.js'
import { CliError, ExitWith, UsageError } from '../../errors.js'
import { show } from '../../output/show.js'
import { addAccountAdd } from './add.js'
import { deleteAccount, getAccount, getTenant, testLogin, waitingBehind } from './calls.js'
import { type AccountFlags, accountFields, addAccountFields } from './fields.js'
import { type Account, accountsText, accountText, loginText } from './text.js'

interface Json {
  readonly json?: boolean
}

export function addAccounts(program: Command, place: TenantPlace): void {
  const accounts = program.command('accounts').description('the SMTP accounts of this tenant')
  addListing(accounts, place)
  addShow(accounts, place)
  addAccountAdd(accounts, place)
  addUpdate(accounts, place)
  addDelete(accounts, place)
  addTest(accounts, place)
  addPause(accounts, place)
  addResume(accounts, place)
}

/** `mail-proxy <instance> accounts list`. */
export function addAllAccounts(program: Command, place: Place): void {
  addListing(
    program
      .command('accounts')
      .description('the SMTP accounts of all tenants; those of one: <instance> <tenant> accounts'),
    place,
  )
}

function addListing(accounts: Command, { io, instance, tenant }: Place): void {
  const command = accounts
    .command('list')
    .description(tenant === null ? 'the accounts of all tenants' : 'its accounts with limits and state')
    .option('--paused', 'only those that are paused')
    .action(async (options: Json & { paused?: boolean }) => {
      const all = await withApi(io, instance, async api => {
        if (tenant !== null) await getTenant(api, tenant)
        return api.call<{ accounts: Account[] }>('GET', '/accounts', { query: { tenant_id: tenant } })
      })
      const found = options.paused ? all.accounts.filter(each => each.paused) : all.accounts
      show(io, options, { accounts: found }, () => {
        if (options.paused && found.length === 0) return 'no account is paused\n'
        return accountsText(io, found, { instance, tenant })
      })
    })
  const words = tenant === null ? instance : `${instance} ${tenant}`
  withExamples(withJson(command), [`mail-proxy ${words} accounts list`, `mail-proxy ${words} accounts list --paused`])
}

function addShow(accounts: Command, { io, instance, tenant }: TenantPlace): void {
  const command = accounts
    .command('show')
    .description('one account with all its settings, secrets left out')
    .argument('<account>', 'id of the account')
    .action(async (id: string, options: Json) => {
      const account = await withApi(io, instance, api => getAccount(api, tenant, id))
      show(io, options, account, () => accountText(io, account))
    })
  withExamples(withJson(command), [`mail-proxy ${instance} ${tenant} accounts show main`])
}

function addUpdate(accounts: Command, { io, instance, tenant }: TenantPlace): void {
  const command = addAccountFields(accounts.command('update'))
    .description('change the fields given; an empty value sets one back')
    .argument('<account>', 'id of the account')
    .action(async (id: string, flags: AccountFlags & Json) => {
      const fields = await accountFields(io, flags)
      if (Object.keys(fields).length === 0) throw new UsageError('nothing to change was given; see --help')
      await withApi(io, instance, async api => {
        await getAccount(api, tenant, id)
        await api.call('POST', '/account', { body: { id, tenant_id: tenant, ...fields } })
      })
      show(io, flags, { id, tenant_id: tenant, changed: Object.keys(fields) }, () => `account ${id} is changed\n`)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} ${tenant} accounts update main --limit-per-hour 1000`,
    `mail-proxy ${instance} ${tenant} accounts update main --password-file secret.txt`,
    `mail-proxy ${instance} ${tenant} accounts update main --limit-per-day ''   # no limit any more`,
  ])
}

function addDelete(accounts: Command, { io, instance, tenant }: TenantPlace): void {
  const command = accounts
    .command('delete')
    .description('delete an account; what waits behind it becomes errors, which are reported')
    .argument('<account>', 'id of the account')
    .option('-y, --yes', 'do not ask')
    .action(async (id: string, options: Json & { yes?: boolean }) => {
      const waits = await withApi(io, instance, async api => {
        await getAccount(api, tenant, id)
        return waitingBehind(api, tenant, id)
      })
      const lost = waits === 1 ? '1 waiting message becomes an error' : `${waits} waiting messages become errors`
      const question = `Delete account ${id} of ${tenant}? ${lost}.`
      if (!options.yes && !(await createAsk(io).confirm(question, '--yes'))) throw new CliError('nothing was deleted')
      await withApi(io, instance, api => deleteAccount(api, tenant, id))
      show(io, options, { id, tenant_id: tenant, deleted: true, waiting_messages: waits }, () => {
        return `account ${id} is deleted${waits === 0 ? '' : `; ${lost}`}\n`
      })
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} ${tenant} accounts delete main`,
    `mail-proxy ${instance} ${tenant} accounts delete main --yes`,
  ])
}

function addTest(accounts: Command, { io, instance, tenant }: TenantPlace): void {
  const command = accounts
    .command('test')
    .description('connect and log in as a delivery would, send nothing; shows the conversation; exit 1 when it fails')
    .argument('<account>', 'id of the account')
    .action(async (id: string, options: Json) => {
      const test = await withApi(io, instance, async api => {
        await getAccount(api, tenant, id)
        return testLogin(api, tenant, id)
      })
      show(io, options, test, () => loginText(io, test))
      if (!test.ok) throw new ExitWith(1)
    })
  withExamples(withJson(command), [`mail-proxy ${instance} ${tenant} accounts test main`])
}

function addPause(accounts: Command, { io, instance, tenant }: TenantPlace): void {
  const command = accounts
    .command('pause')
    .description('send nothing through an account until it is resumed')
    .argument('<account>', 'id of the account')
    .option('--reason <text>', 'shown to all who may see the account')
    .action(async (id: string, options: Json & { reason?: string }) => {
      await withApi(io, instance, api =>
        api.call('POST', `/account/${encodeURIComponent(id)}/pause`, {
          query: { tenant_id: tenant },
          body: { reason: options.reason },
        }),
      )
      show(io, options, { id, tenant_id: tenant, paused: true }, () => `account ${id} is paused\n`)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} ${tenant} accounts pause main --reason 'The provider moves on Saturday'`,
  ])
}

function addResume(accounts: Command, { io, instance, tenant }: TenantPlace): void {
  const command = accounts
    .command('resume')
    .description('send through a paused account again')
    .argument('<account>', 'id of the account')
    .action(async (id: string, options: Json) => {
      const path = `/account/${encodeURIComponent(id)}/resume`
      await withApi(io, instance, api => api.call('POST', path, { query: { tenant_id: tenant } }))
      show(io, options, { id, tenant_id: tenant, paused: false }, () => `account ${id} sends again\n`)
    })
  withExamples(withJson(command), [`mail-proxy ${instance} ${tenant} accounts resume main`])
}
