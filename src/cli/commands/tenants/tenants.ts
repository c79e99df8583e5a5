/** `mail-proxy <instance> tenants …`: the organisations of an instance and their API keys. */
import type { Command } from 'commander'
import { type Api, ApiError, withApi } from '../../api.js'
import { createAsk } from '../../ask.js'
import { type Place, withExamples, withJson } from '../../command.js'
import { CliError, UsageError } from '../../errors.js'
import { show } from '../../output/show.js'
import { fields, table } from '../../output/table.js'
import { paintState } from '../../output/text.js'
import { unixTime } from '../../times.js'
import { addTenantFields, askTenantFields, type TenantFlags, tenantFields } from './fields.js'
import { getTenant, reportsTo, stateOf, type Tenant } from './record.js'

interface Json {
  readonly json?: boolean
}

export function addTenants(program: Command, place: Place): void {
  const tenants = program.command('tenants').description('the organisations of this instance')
  addListing(tenants, place)
  addShow(tenants, place)
  addAdd(tenants, place)
  addUpdate(tenants, place)
  addDelete(tenants, place)
  addKey(tenants, place)
}

function addListing(tenants: Command, { io, instance }: Place): void {
  const command = tenants
    .command('list')
    .description('all tenants')
    .option('--active', 'only those that may submit')
    .action(async (options: Json & { active?: boolean }) => {
      const { tenants: found } = await withApi(io, instance, api =>
        api.call<{ tenants: Tenant[] }>('GET', '/tenants', { query: { active_only: options.active } }),
      )
      show(io, options, { tenants: found }, () =>
        table(
          io,
          found,
          [
            { title: 'TENANT', of: each => each.id },
            { title: 'NAME', of: each => each.name },
            {
              title: 'STATE',
              of: stateOf,
              paint: (text, each) => (text === stateOf(each) ? paintState(io, text) : text),
            },
            { title: 'REPORTS TO', of: each => each.client_base_url },
            { title: 'SINCE', of: each => each.created_at.slice(0, 10) },
          ],
          `there is no tenant; \`mail-proxy ${instance} tenants add\` makes one`,
        ),
      )
    })
  withExamples(withJson(command), [`mail-proxy ${instance} tenants list --active`])
}

function addShow(tenants: Command, { io, instance }: Place): void {
  const command = tenants
    .command('show')
    .description('one tenant, secrets masked')
    .argument('<tenant>', 'id of the tenant')
    .action(async (id: string, options: Json) => {
      const tenant = await withApi(io, instance, api => getTenant(api, id))
      show(io, options, tenant, () =>
        fields(io, [
          ['tenant', tenant.id],
          ['name', tenant.name],
          ['state', stateOf(tenant)],
          ['suspended', tenant.suspended_batches?.join(', ').replace('*', 'all')],
          ['reports to', reportsTo(tenant)],
          ['authentication', tenant.client_auth?.method ?? 'none'],
          ['an hour', tenant.rate_limits?.hourly],
          ['a day', tenant.rate_limits?.daily],
          ['most queued', tenant.max_queued_messages],
          ['large files', tenant.large_file_config?.enabled ? tenant.large_file_config.action : undefined],
          ['since', tenant.created_at],
        ]),
      )
    })
  withExamples(withJson(command), [`mail-proxy ${instance} tenants show acme`])
}

function addAdd(tenants: Command, { io, instance }: Place): void {
  const command = addTenantFields(tenants.command('add'))
    .description('a new tenant; its API key is shown this once')
    .argument('[tenant]', 'id of the tenant: 1 to 64 of A-Z a-z 0-9 _ . -; left out, everything is asked for')
    .action(async (given: string | undefined, flags: TenantFlags & Json) => {
      const asked = given === undefined ? await askTenantFields(createAsk(io), flags) : { id: given, flags }
      const body = { id: asked.id, ...(await tenantFields(io, asked.flags)) }
      const { api_key: key } = await withApi(io, instance, async api => {
        if (await exists(api, asked.id)) {
          throw new CliError(`tenant ${asked.id} is there already; \`tenants update ${asked.id}\` changes it`)
        }
        return api.call<{ api_key: string }>('POST', '/tenant', { body })
      })
      show(
        io,
        flags,
        { id: asked.id, api_key: key },
        () => `tenant ${asked.id} is made\nAPI key (shown this once): ${key}\n`,
      )
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} tenants add`,
    `mail-proxy ${instance} tenants add acme --name 'Acme Inc.' --base-url https://app.acme.example`,
    `mail-proxy ${instance} tenants add acme --base-url https://app.acme.example --auth bearer --auth-token-file secret.txt`,
  ])
}

function addUpdate(tenants: Command, { io, instance }: Place): void {
  const command = addTenantFields(tenants.command('update'))
    .description('change the fields given; an empty value sets one back')
    .argument('<tenant>', 'id of the tenant')
    .action(async (id: string, flags: TenantFlags & Json) => {
      const body = await tenantFields(io, flags)
      if (Object.keys(body).length === 0) throw new CliError('nothing to change was given; see --help')
      await withApi(io, instance, async api => {
        await getTenant(api, id)
        // The form that knows null as "set back".
        await api.call('POST', '/tenant', { body: { id, ...body } })
      })
      show(io, flags, { id, changed: Object.keys(body) }, () => `tenant ${id} is changed\n`)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} tenants update acme --name 'Acme Ltd.'`,
    `mail-proxy ${instance} tenants update acme --inactive`,
    `mail-proxy ${instance} tenants update acme --limit-hourly 500 --limit-daily ''`,
  ])
}

function addDelete(tenants: Command, { io, instance }: Place): void {
  const command = tenants
    .command('delete')
    .description('delete a tenant with its accounts, messages and reports')
    .argument('<tenant>', 'id of the tenant')
    .option('-y, --yes', 'do not ask')
    .action(async (id: string, options: Json & { yes?: boolean }) => {
      await withApi(io, instance, async api => {
        await getTenant(api, id)
        const { pending_messages: waits } = await api.call<{ pending_messages: number }>('GET', '/status', {
          query: { tenant_id: id },
        })
        const question = `Delete tenant ${id} with its accounts, ${waits} waiting messages and unsent reports?`
        if (!options.yes && !(await createAsk(io).confirm(question, '--yes'))) throw new CliError('nothing was deleted')
        await api.call('DELETE', `/tenant/${encodeURIComponent(id)}`)
      })
      show(io, options, { id, deleted: true }, () => `tenant ${id} is deleted\n`)
    })
  withExamples(withJson(command), [`mail-proxy ${instance} tenants delete acme --yes`])
}

interface KeyOptions extends Json {
  readonly expires?: string
  readonly overlap?: string
  readonly revoke?: boolean
  readonly revokeOld?: boolean
}

function addKey(tenants: Command, { io, instance }: Place): void {
  const command = tenants
    .command('key')
    .description('a new API key for a tenant, shown this once; the one before ends now or after the overlap')
    .argument('<tenant>', 'id of the tenant')
    .option('--expires <time>', 'when the new key ends: Unix seconds or a date, as in 2027-06-30')
    .option('--overlap <seconds>', 'how long the keys before stay good')
    .option('--revoke', 'make none, end all')
    .option('--revoke-old', 'make none, end all but the one made last')
    .action(async (id: string, options: KeyOptions) => {
      if (options.revoke && options.revokeOld) throw new UsageError('--revoke and --revoke-old do not go together')
      const path = `/tenant/${encodeURIComponent(id)}/api-key`
      if (options.revoke) {
        await withApi(io, instance, api => api.call('DELETE', path))
        show(io, options, { id, revoked: true }, () => `all API keys of ${id} are ended\n`)
        return
      }
      if (options.revokeOld) {
        await withApi(io, instance, api => api.call('DELETE', `${path}?keep_newest=true`))
        show(io, options, { id, revoked_old: true }, () => `all API keys of ${id} but the last are ended\n`)
        return
      }
      const body = { expires_at: unixTime('--expires', options.expires), overlap_seconds: options.overlap }
      const { api_key: key } = await withApi(io, instance, api => api.call<{ api_key: string }>('POST', path, { body }))
      show(io, options, { id, api_key: key }, () => `${key}\n`)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} tenants key acme --overlap 86400`,
    `mail-proxy ${instance} tenants key acme --revoke-old`,
    `mail-proxy ${instance} tenants key acme --revoke`,
  ])
}

async function exists(api: Api, id: string): Promise<boolean> {
  try {
    await getTenant(api, id)
    return true
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false
    throw error
  }
}
