/** `mail-proxy <instance> command-log …`: which commands changed something, when, and what they were answered. */
import type { Command } from 'commander'
import { withApi } from '../api.js'
import { type Place, withExamples, withJson } from '../command.js'
import { UsageError } from '../errors.js'
import { show } from '../output/show.js'
import { table } from '../output/table.js'
import { paint, time } from '../output/text.js'
import { unixTime } from '../times.js'

interface Logged {
  readonly id: number
  readonly command_ts: number
  readonly endpoint: string
  readonly tenant_id?: string
  readonly payload: Readonly<Record<string, unknown>>
  readonly response_status: number
}

interface Flags {
  readonly since?: string
  readonly until?: string
  readonly tenant?: string
  readonly endpoint?: string
  readonly limit?: string
  readonly json?: boolean
}

export function addCommandLog(program: Command, place: Place): void {
  const log = program.command('command-log').description('the commands that changed something')
  addListing(log, place)
  addExport(log, place)
}

function addSpan(command: Command): Command {
  return command
    .option('--since <time>', 'from then on: Unix seconds, a date as in 2027-06-30T08:00, or 2h for two hours ago')
    .option('--until <time>', 'up to then')
    .option('--tenant <tenant>', 'only those of this tenant')
}

function addListing(log: Command, { io, instance }: Place): void {
  const command = addSpan(log.command('list'))
    .description('commands, the newest first')
    .option('--endpoint <name>', 'only commands whose name has this in it, as in Tenant')
    .option('--limit <n>', 'how many at most', '50')
    .action(async (flags: Flags) => {
      if (!/^[1-9]\d{0,4}$/.test(flags.limit ?? '')) {
        throw new UsageError(`--limit is "${flags.limit}": it should be a whole number from 1 to 10000`)
      }
      const query = { ...spanOf(flags), endpoint_filter: flags.endpoint, limit: flags.limit }
      const { commands } = await withApi(io, instance, api =>
        api.call<{ commands: readonly Logged[] }>('GET', '/command-log', { query }),
      )
      show(io, flags, { commands }, () =>
        table(
          io,
          commands,
          [
            { title: 'WHEN', of: each => time(each.command_ts), whole: true },
            { title: 'COMMAND', of: each => each.endpoint, whole: true },
            { title: 'TENANT', of: each => each.tenant_id },
            {
              title: 'ANSWER',
              of: each => each.response_status,
              whole: true,
              paint: (text, each) => (each.response_status < 400 ? text : paint(io, 'red', text)),
            },
            { title: 'WITH', of: each => JSON.stringify(each.payload) },
          ],
          'no command is logged for this',
        ),
      )
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} command-log list --since 1d --tenant acme`,
    `mail-proxy ${instance} command-log list --endpoint Account --json`,
  ])
}

function addExport(log: Command, { io, instance }: Place): void {
  const command = addSpan(log.command('export'))
    .description('the same in a form to be replayed, as JSON, the oldest first')
    .action(async (flags: Flags) => {
      const { commands } = await withApi(io, instance, api =>
        api.call<{ commands: readonly unknown[] }>('GET', '/command-log/export', { query: spanOf(flags) }),
      )
      // A program reads it, or a file keeps it: JSON also without the flag.
      show(io, { json: true }, { commands }, () => '')
    })
  withExamples(withJson(command), [`mail-proxy ${instance} command-log export --since 2027-01-01 > commands.json`])
}

function spanOf({ since, until, tenant }: Flags) {
  return { since_ts: unixTime('--since', since), until_ts: unixTime('--until', until), tenant_id: tenant }
}
