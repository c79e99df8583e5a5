/** `mail-proxy <instance> [tenant] run-now`: look at the queue and at the reports at once. */
import type { Command } from 'commander'
import { withApi } from '../api.js'
import { type Place, withExamples, withJson } from '../command.js'
import { CliError } from '../errors.js'
import { show } from '../output/show.js'

export function addRunNow(program: Command, { io, instance, tenant }: Place): void {
  const quiet = tenant === null ? '' : "; also ends the do-not-disturb of the tenant's application"
  const command = program
    .command('run-now')
    .description(`look at the queue and the reports now, whatever rules say${quiet}`)
    .action(async (options: { json?: boolean }) => {
      const via = await withApi(io, instance, async api => {
        if (api.via === 'database' && api.config.database.dialect === 'sqlite') {
          throw new CliError(`${instance} does not run, so nothing is there to wake: \`mail-proxy start ${instance}\``)
        }
        // The command itself takes any id.
        if (tenant !== null) await api.call('GET', `/tenant/${encodeURIComponent(tenant)}`)
        await api.call('POST', '/commands/run-now', { query: { tenant_id: tenant } })
        return api.via
      })
      show(io, options, { instance, tenant, told: via === 'service' ? 'service' : 'other processes' }, () =>
        via === 'service'
          ? `${tenant ?? instance} is looked at now\n`
          : `${instance} does not run here; other processes on its database were told\n`,
      )
    })
  withExamples(withJson(command), [`mail-proxy ${tenant === null ? instance : `${instance} ${tenant}`} run-now`])
}
