/** `mail-proxy <instance> migrate`: brings the database to this version's schema, or tells what that would do. */
import type { Command } from 'commander'
import { migrate, migrationStatus, refuseNewer } from '../../db/migrate.js'
import { withExamples, withJson } from '../command.js'
import type { CliIo } from '../context.js'
import { databaseMayExist, withInstanceDatabase } from '../database.js'
import { settingsOfKnownInstance } from '../settings.js'

interface MigrateOptions {
  readonly status?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

export function addMigrate(program: Command, io: CliIo, instance: string): void {
  const command = program
    .command('migrate')
    .description('bring the database to the schema of this version')
    .option('--status', 'only tell which schema the database has')
    .option('--dry-run', 'only tell what would be applied')
    .action(async (options: MigrateOptions) => {
      const { config } = settingsOfKnownInstance(io, instance)
      const looksOnly = options.status === true || options.dryRun === true
      if (looksOnly && !databaseMayExist(config)) {
        io.out(options.json ? '{"current":0,"latest":null,"applied":0}\n' : 'there is no database yet\n')
        return
      }
      const outcome = await withInstanceDatabase(config, { exclusive: !looksOnly }, async db => {
        const before = await migrationStatus(db)
        if (looksOnly) return { ...before, applied: 0 }
        const after = await migrate(db)
        return { ...after, applied: after.current - before.current }
      })
      if (options.dryRun) refuseNewer(outcome)
      io.out(options.json ? `${JSON.stringify(outcome)}\n` : `${asText(outcome, options)}\n`)
    })
  withExamples(withJson(command), [
    `mail-proxy ${instance} migrate --status`,
    `mail-proxy ${instance} migrate --dry-run`,
    `mail-proxy ${instance} migrate`,
  ])
}

function asText(
  { current, latest, applied }: { current: number; latest: number; applied: number },
  { status, dryRun }: MigrateOptions,
): string {
  if (dryRun) {
    return current === latest ? 'nothing to apply' : `would apply migrations ${current + 1} to ${latest}`
  }
  if (status) return `schema ${current} of ${latest}`
  return applied === 0 ? `schema ${current}, nothing to apply` : `schema ${current}, ${applied} applied`
}
